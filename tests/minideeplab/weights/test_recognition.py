"""Which layout a file has, whatever class was around the network; and what is said where it has none."""

import re
import time

import numpy as np
import pytest

from minideeplab import models
from minideeplab.data import IMAGE_MEAN, IMAGE_STD
from minideeplab.errors import CheckpointError
from minideeplab.files.refusal import Refusal
from minideeplab.weights import load_pretrained, nearest_layouts, recognition, save_torchvision_npz
from minideeplab.weights.layouts import LAYOUTS, Layout
from minideeplab.weights.raw_arrays import Weights, is_counter

NETWORKS = {
    "resnet18": {},
    "torchvision-fcn_resnet50": {"auxiliary": True},
    "torchvision-deeplabv3_resnet50": {"auxiliary": True, "head_width": 8},
    "torchvision-deeplabv3_mobilenet_v3_large": {"auxiliary": True, "head_width": 8, "width": 1 / 4},
    "torchvision-lraspp_mobilenet_v3_large": {"head_width": 8, "width": 1 / 4},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{name: (network, its arrays as torchvision has them)}."""
    found = {}
    for name, options in NETWORKS.items():
        path = tmp_path_factory.mktemp("files") / "weights.npz"
        model = models.build(name, **{"num_classes": 4, "width": 1 / 32, "seed": 5} | options)
        save_torchvision_npz(path, model)
        with np.load(path) as file:
            found[name] = model, dict(file)
    return found


def prefixed(arrays, prefix):
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def loaded(tmp_path, arrays):
    np.savez(tmp_path / "weights.npz", **arrays)
    return load_pretrained(tmp_path / "weights.npz").state_dict()


def equal(found, model):
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


# ---------------------------------------------------------------- what is recognised


@pytest.mark.parametrize("prefix", ["backbone.", "model.backbone.", "module.segmenter.", "my.own.net.", "base."])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_class_around_a_network_may_call_it_anything(tmp_path, files, name, prefix):
    model, arrays = files[name]
    equal(loaded(tmp_path, prefixed(arrays, prefix)), model)


def test_a_backbone_by_its_name_is_a_classifier_without_its_head(tmp_path, files):
    model, arrays = files["torchvision-fcn_resnet50"]
    backbone = {name: array for name, array in arrays.items() if name.startswith("backbone.")}
    with pytest.warns(UserWarning, match="a backbone without a classifier"):
        found = loaded(tmp_path, prefixed(backbone, "net."))
    for name, array in model.state_dict().items():
        if name.startswith("backbone."):
            np.testing.assert_array_equal(found[name], array)


BESIDE = {
    "weights of a loss": {"criterion.weight": np.ones(4)},
    "weights of several": {"loss_fn.ce.weight": np.ones(4), "val_loss.pos_weight": np.ones(1)},
    "a loss in it": {"model.criterion.weight": np.ones(4)},
    "a metric": {"train_metrics.iou.confmat": np.ones((4, 4))},
    "a counter": {"n_averaged": np.array(3), "model.bn1.num_batches_tracked": np.array(3)},
    "our mean and deviation": {
        "mean": IMAGE_MEAN.reshape(1, 3, 1, 1),
        "normalize.std": IMAGE_STD.astype(np.float64) + 1e-9,
    },
    "a text": {"note": np.array("text")},
}


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.parametrize("prefix", ["model.", ""])
def test_what_a_training_module_keeps_lies_beside(tmp_path, files, kind, prefix):
    model, arrays = files["resnet18"]
    beside = {name.replace("model.", prefix): array for name, array in BESIDE[kind].items()}
    equal(loaded(tmp_path, beside | prefixed(arrays, prefix)), model)


@pytest.mark.parametrize("array", [np.array([0.5, 0.5, 0.5]), 255 * IMAGE_MEAN])
def test_a_network_for_other_images_is_not_taken_for_one_for_ours(tmp_path, files, array):
    with pytest.raises(CheckpointError, match="only in the file: 'mean'\n"):
        loaded(tmp_path, prefixed(files["resnet18"][1], "model.") | {"mean": array})


# ---------------------------------------------------------------- what is not


def refusal(tmp_path, arrays):
    with pytest.raises(CheckpointError) as caught:
        loaded(tmp_path, arrays)
    return str(caught.value).removeprefix(f"{tmp_path / 'weights.npz'}: ")


def followed(tmp_path, monkeypatch, message):
    """What the code in the message makes of the file."""
    monkeypatch.chdir(tmp_path)
    code = message[message.rindex(":\n  import numpy\n") + 2 :]
    exec(re.sub("(?m)^  ", "", code), {})
    return load_pretrained("renamed.npz").state_dict()


RENAMED = {
    "a head": [("classifier.", "head.")],
    "a backbone": [("backbone.", "trunk.")],
    "head and backbone": [("backbone.", "encoder."), ("classifier.", "seg_head.")],
    "inner layers": [(".downsample.", ".shortcut."), ("classifier.", "decoder.")],
    "under a prefix": [("", "task.net."), ("classifier.", "head.")],
}


@pytest.mark.parametrize("kind", RENAMED)
@pytest.mark.parametrize("name", list(NETWORKS)[1:])
def test_the_code_in_the_message_renames_the_arrays(tmp_path, monkeypatch, files, kind, name):
    model, arrays = files[name]
    for old, new in RENAMED[kind]:
        arrays = {re.sub(rf"^{old}" if not old else re.escape(old), new, key): array for key, array in arrays.items()}
    message = refusal(tmp_path, arrays)
    assert message.startswith("no known layout has its ")
    assert 4 <= len(re.findall(r"\n  .*:\n    \d+ of \d+ names match", message)) <= 5
    equal(followed(tmp_path, monkeypatch, message), model)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "deeplabv3" in name])
def test_a_network_without_its_last_layer_is_recognised_and_refused(tmp_path, files, name):
    arrays = {key.replace("classifier.4.", "logits."): array for key, array in files[name][1].items()}
    message = "it has no 'classifier.4.weight', from whose shape the number of classes is read; give a file of a whole"
    assert refusal(tmp_path, arrays).startswith(message)


def test_of_two_networks_one_can_be_kept(tmp_path, monkeypatch, files):
    model, arrays = files["torchvision-deeplabv3_resnet50"]
    both = prefixed(arrays, "student.") | prefixed({name: array + 1 for name, array in arrays.items()}, "teacher.")
    message = refusal(tmp_path, both)
    assert f"{len(arrays)} of {len(arrays)} names match, without 'student.'" in message
    equal(followed(tmp_path, monkeypatch, message), model)


def test_the_message_has_a_hundred_columns(tmp_path, files):
    arrays = prefixed(files["torchvision-deeplabv3_resnet50"][1], "\x1b[31mseg.")
    arrays = {name.replace("classifier", "head_of_a_long_name" * 2): array for name, array in arrays.items()}
    for message in (refusal(tmp_path, arrays), refusal(tmp_path, {"x" * 500: np.ones(1), "\n" * 99: np.ones(1)})):
        lines = [line for line in message.splitlines() if str(tmp_path) not in line]
        assert max(map(len, lines)) <= 100, max(lines, key=len)
        assert message.isascii() and "\x1b" not in message


def test_of_another_network_no_code_is_said(tmp_path):
    """A network whose names are only by chance those of a layout cannot be renamed into it."""
    names = ["conv1.weight", "bn1.weight", *(f"down{i}.{part}" for i in range(20) for part in ("weight", "bias"))]
    message = refusal(tmp_path, {name: np.zeros(2) for name in names})
    assert "names match" in message and "it is none of these networks" in message and "import numpy" not in message


def test_only_whole_names_are_counters(tmp_path):
    names = ["n_averaged", "a.num_batches_tracked", "my_n_averaged", "a.my_num_batches_tracked", "n_averaged.w"]
    assert [is_counter(name) for name in names] == [True, True, False, False, False]
    message = refusal(tmp_path, {name: np.zeros(2) for name in names})
    assert "no known layout has its 3 arrays\n  'my_n_averaged', 'a.my_num_batches_tracked'" in message


def test_where_no_name_is_known_the_layouts_are_listed(tmp_path):
    message = refusal(tmp_path, {f"encoder.{i}.kernel": np.zeros(2) for i in range(7)})
    assert all(layout.title in message for layout in LAYOUTS) and "no name is one of a known layout" in message


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_each_layout_is_nearest_to_its_own_files(layout):
    for names in nearest_layouts._expected(layout)[::3]:
        best = nearest_layouts.nearest([f"x.{name}" for name in names])[0]
        assert best.layout is layout and best.missing == best.unknown == [] and best.prefix == "x."
    assert nearest_layouts._expected(layout)


@pytest.mark.parametrize(
    ("names", "program"),
    [
        (["backbone.stem.0.weight", "decode_head.conv_seg.weight"], "mmsegmentation"),
        (["encoder.layer1.0.conv1.weight", "segmentation_head.0.weight"], "segmentation_models.pytorch"),
        (["backbone.res2.0.conv1.weight", "sem_seg_head.predictor.weight"], "detectron2"),
        (["segformer.encoder.block.weight", "decode_head.linear_c.0.proj.weight"], "Hugging Face's transformers"),
        (["backbone.body.conv1.weight", "roi_heads.x.weight"], "torchvision's detection"),
        (["aspp0/weights", "xception_65/exit_flow/block2/unit_1/weights"], "TensorFlow's DeepLab"),
    ],
)
def test_names_of_other_programs_are_known(tmp_path, names, program):
    message = refusal(tmp_path, {name: np.zeros(1) for name in names})
    assert f"the names look like those of {program}, which are not known here" in message


def test_a_resnet_with_another_head_says_whose_it_looks_like(tmp_path, files):
    """The marks of a ResNet are there, and a head that none has."""
    arrays = files["resnet18"][1] | {"layer5.conv2d_list.0.weight": np.zeros((4, 16, 3, 3), np.float32)}
    message = refusal(tmp_path, prefixed(arrays, "Scale."))
    assert "recognised as torchvision's resnet18" in message and "speedinghzl/Pytorch-Deeplab" in message


# ---------------------------------------------------------------- cost


@pytest.mark.parametrize(
    "names",
    [
        [f"a{i}.b{i % 7}.c.d.weight" for i in range(40_000)],
        [f"backbone.layer1.{i}.conv1.weight" for i in range(3000)],
        ["a." * 10**6 + str(i) for i in range(5)],
        ["classifier." * 10**4 + f"{i}.weight" for i in range(50)],
        ["loss" * 4096 + f"!{i}" for i in range(20)],
    ],
    ids=["many", "near", "megabytes", "megabytes of a known one", "as of losses"],
)
def test_hostile_names_cost_little(names):
    one = np.zeros(1, np.float32)
    nearest_layouts.nearest(["x"])  # makes the names of all layouts, once
    start = time.perf_counter()
    with pytest.raises(Refusal) as caught:
        recognition.recognise(Weights(dict.fromkeys(names, one)))
    assert time.perf_counter() - start < 10 and len(str(caught.value)) < 5000


def test_a_layout_that_names_no_network_is_passed_over(monkeypatch):
    bare = Layout("bare", marks=("never",), rules=(), describe=lambda shapes: ("", {}))
    monkeypatch.setattr(nearest_layouts, "LAYOUTS", (bare, *LAYOUTS))
    assert "bare" not in [match.layout.title for match in nearest_layouts.nearest(["backbone.conv1.weight"])]
