"""What a run warns of."""

import math
import re
import types

import numpy as np
import pytest
from train_runs import command
from voc_folder import make_set

from minideeplab import Tensor, models
from minideeplab.evaluation import ConfusionMatrix
from minideeplab.nn import BatchNorm2d
from minideeplab.nn.module import observing
from minideeplab.train import command as train
from minideeplab.train.arguments import train_parser
from minideeplab.train.warnings import Watch, _small_views, norms_of_one_value


@pytest.mark.parametrize("name", ["deeplabv3plus", "deeplabv3", "pspnet", "deeplabv2-largefov", "segnet", "resnet18"])
@pytest.mark.parametrize(("batch", "side"), [(1, 33), (1, 65), (2, 33)])
def test_norms_of_one_value_are_those_that_see_one(name, batch, side):
    """Against a run of the network on numbers."""
    options = {"dense": True} if name == "resnet18" else {}
    model = models.build(name, num_classes=3, width=1 / 16, **options)
    names, found = {id(module): key for key, module in model.named_modules()}, []

    def observe(module, inputs):
        if isinstance(module, BatchNorm2d) and math.prod(inputs[0].shape[:3]) == 1:
            found.append(names[id(module)])
        return module.forward(*inputs)

    with observing(observe):
        model.loss(Tensor(np.zeros((batch, side, side, 3), np.float32)), np.zeros((batch, side, side), np.uint8))
    assert norms_of_one_value(model.config, batch, side) == found
    if batch == 1 and name in ("deeplabv3plus", "deeplabv3", "pspnet"):
        assert found


def test_a_batch_of_one_is_warned_of(data, tmp_path, capsys):
    arguments = command(data, tmp_path / "out", "--batch-size", 1, "--stop-after", 1)
    assert train.main(arguments) == 0
    log = (tmp_path / "out" / "log.txt").read_text()
    warning = (
        "warning: with --batch-size 1 and crops of 65 the batch norm 'aspp.image_pooling.norm' sees one value of each"
    )
    assert warning in log and "Take --batch-size 2 or more" in log
    assert train.main(command(data, tmp_path / "two", "--stop-after", 1)) == 0
    assert "batch norm" not in (tmp_path / "two" / "log.txt").read_text()


class Counted:
    """A training set of two classes, 3 of 4 pixels background."""

    class_names, ignore_index = ("background", "thing"), 255

    class counts:
        pixels, labelled, void_share = [300, 100] + [0] * 254, 400, 0.125


def watch(*arguments):
    return Watch(train_parser().parse_args(["--data", "my photos", *arguments]), Counted())


def confusion(*predicted):
    found = ConfusionMatrix(2)
    found.counts[0] = predicted
    return found


def test_void_batches_are_counted_and_said_once():
    seen = watch()
    for weight in (1.0, 0.0, 0.0, 5.0):
        seen.add_batch(weight)
    (sentence,) = seen.sentences(None)
    assert sentence.startswith("2 of the last 4 batches had no labelled pixel: they taught nothing. 12.50 % of the")
    assert seen.sentences(None) == []
    seen.add_batch(0.0)
    assert seen.sentences(None)[0].startswith("1 of the last 1 batches")


def test_one_class_is_said_after_three_validations_with_what_to_do():
    seen = watch("--lr", "0.02")
    assert [seen.sentences(confusion(999, 1)) for _ in range(2)] == [[], []]
    (sentence,) = seen.sentences(confusion(1000, 0))
    assert sentence.startswith("the network predicts only 'background': over 99.50 % of the pixels, 3 validations in a")
    assert "In the training masks it has 75.00 %" in sentence
    assert "--class-weights root, or with a higher rate such as --lr 0.06" in sentence
    assert re.search(r"minideeplab\.inspect_data --data 'my photos' --split train$", sentence)
    assert [len(seen.sentences(confusion(1000, 0))) for _ in range(4)] == [0, 0, 1, 0]
    seen = watch("--class-weights", "root")
    assert "--class-weights" not in [seen.sentences(confusion(1000, 0)) for _ in range(3)][-1][0]


@pytest.mark.parametrize("shares", [[(1000, 0), (1000, 0), (994, 6)], [(1000, 0), (0, 1000), (1000, 0)]])
def test_less_than_nearly_all_or_another_class_is_no_news(shares):
    seen = watch()
    assert [seen.sentences(confusion(*share)) for share in shares] == [[], [], []]


def test_a_run_says_which_batches_were_void(tmp_path):
    masks = [np.full((70, 90), 255), np.zeros((70, 90)), np.full((70, 90), 255), np.ones((70, 90))]
    data = make_set(tmp_path / "data", "abcd", ("background", "thing"), masks=masks, splits=("train", "val"))
    arguments = [*command(data, tmp_path / "out"), "--batch-size", "1", "--scale-range", "1", "1"]
    assert train.main(arguments) == 0
    log = (tmp_path / "out" / "log.txt").read_text()
    said = re.findall(r"warning: (\d) of the last (\d) batches had no labelled pixel.*50\.00 % of the training", log)
    assert said == [("2", "4"), ("2", "4")]


@pytest.mark.parametrize(("side", "said"), [(2000, True), (600, False)])
def test_crops_that_show_a_detail_are_warned_of(side, said):
    args = train_parser().parse_args(["--crop-size", "129", "--scale-range", "0.5", "1.5"])
    train_set = types.SimpleNamespace(counts=types.SimpleNamespace(sizes=[(9, 9), (side + 500, side), (9000, 9000)]))
    found = _small_views(args, train_set)
    assert (found is not None) == said
    if said:
        assert (
            "(2000 x 2500 pixels, the median): a crop of 129 at a scale of 1 shows 6.45 % of the shorter side" in found
        )
        assert found.endswith("--convert NEW --longest-side 322")
