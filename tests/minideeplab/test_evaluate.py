"""The evaluation command, on an untrained network."""

import json

import numpy as np
import pytest

from minideeplab import Tensor, evaluate, models, no_grad
from minideeplab.data import SHAPE_CLASSES, normalise, voc_colour_map, write_synthetic
from minideeplab.inference import SMALLEST_SIDE, predict_labels
from minideeplab.weights import Checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    write_synthetic(root, train=1, val=2)
    return root


def write_checkpoint(path, class_names=SHAPE_CLASSES):
    model = models.build("deeplabv3plus", num_classes=len(class_names), width=0.125, head_width=16)
    Checkpoint(model.config, model.state_dict(), list(class_names), voc_colour_map()).save(path)
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "best.npz")


def test_table_and_json_agree(data, checkpoint, tmp_path, capsys):
    scores = tmp_path / "scores.json"
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data), "--json", str(scores)]) == 0
    out = capsys.readouterr().out
    content = json.loads(scores.read_text())
    confusion = np.array(content["confusion"])
    assert content["images"] == 2 and content["split"] == "val" and content["classes"] == list(SHAPE_CLASSES)
    assert content["pixel_accuracy"] == np.trace(confusion) / confusion.sum()
    for name in SHAPE_CLASSES:
        assert f"\n{name} " in out
    assert f"mIoU {100 * content['mean_iou']:.2f} ({content['classes_present']} of 7 classes present)" in out


def test_places_for_results_are_known_to_be_good_before_the_work(data, checkpoint, tmp_path, capsys):
    """The folder is made, or the command ends at once: no score is computed for nothing."""
    arguments = ["--checkpoint", checkpoint, "--data", str(data), "--json"]
    assert evaluate.main([*arguments, str(tmp_path / "new" / "scores.json")]) == 0
    assert (tmp_path / "new" / "scores.json").exists()
    for wrong in (tmp_path, checkpoint, tmp_path / "new" / "scores.json" / "scores.json"):
        assert evaluate.main([*arguments, str(wrong)]) == 2
        assert "error: --json " in capsys.readouterr().err


def test_limit_and_split(data, checkpoint, capsys):
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data), "--limit", "1"]) == 0
    assert "on 1 images of" in capsys.readouterr().out
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data), "--split", "test"]) == 3
    assert "test" in capsys.readouterr().err


def test_another_number_of_classes_is_refused(data, tmp_path, capsys):
    checkpoint = write_checkpoint(tmp_path / "two.npz", ("ground", "cat"))
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data)]) == 4
    error = capsys.readouterr().err
    assert "trained on 2 classes (ground, cat)" in error and "has 7 (background, disc" in error


def test_other_class_names_are_refused(data, tmp_path, capsys):
    checkpoint = write_checkpoint(tmp_path / "other.npz", ("background", "ball", *SHAPE_CLASSES[2:]))
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data)]) == 4
    assert "label 1 as 'ball', which is 'disc'" in capsys.readouterr().err


def test_usage_errors_exit_with_2(data, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["--data", str(data)])
    assert "--checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (20, 70), (33, 33), (64, 47)])
def test_images_of_any_size_keep_it(checkpoint, size):
    model = Checkpoint.load(checkpoint).build_model(checkpoint)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    labels = predict_labels(model, image)
    assert labels.shape == size and labels.dtype == np.uint8
    if min(size) >= SMALLEST_SIDE:
        with no_grad():
            logits = model(Tensor(normalise(image)[None])).numpy()
        np.testing.assert_array_equal(labels, logits[0].argmax(axis=-1))
