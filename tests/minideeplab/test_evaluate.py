"""The evaluation command, on an untrained network."""

import json

import numpy as np
import pytest
from strategies import SIMULATED

from minideeplab import Tensor, evaluate, models, no_grad
from minideeplab.data import SHAPE_CLASSES, normalise, open_dataset, voc_colour_map, write_synthetic
from minideeplab.evaluation import ConfusionMatrix, trimap
from minideeplab.evaluation.predictor import SMALLEST_SIDE, Predictor
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


@pytest.fixture(scope="module")
def varied(data, tmp_path_factory):
    """A network whose logits have mean 0 and deviation 1 in each class: many labels occur."""
    path = tmp_path_factory.mktemp("weights") / "varied.npz"
    model = models.build("deeplabv3plus", num_classes=len(SHAPE_CLASSES), width=0.125, head_width=16)
    model.eval()
    logits = Predictor(model)(open_dataset(str(data), "auto", "val", None).image(0)).scores.numpy()[0]
    mean, deviation = logits.mean(axis=(0, 1)), logits.std(axis=(0, 1))
    head = model.head
    head.weight.data, head.bias.data = head.weight.numpy() / deviation, (head.bias.numpy() - mean) / deviation
    Checkpoint(model.config, model.state_dict(), list(SHAPE_CLASSES), voc_colour_map()).save(path)
    return str(path)


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


def test_a_folder_that_takes_no_file_is_known_before_the_work(data, checkpoint, tmp_path, capsys, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    arguments = ["--checkpoint", checkpoint, "--data", str(data), "--json", str(tmp_path / "scores.json")]
    assert evaluate.main(arguments) == 2
    assert "no file can be written in this folder (Permission denied)" in capsys.readouterr().err


def test_tiles_and_scales_are_named_as_options(data, checkpoint, capsys):
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data), "--tile", "10"]) == 2
    assert "error: --tile must be a whole number of at least 33 pixels, got 10" in capsys.readouterr().err


def test_limit_and_split(data, checkpoint, capsys):
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data), "--limit", "1"]) == 0
    assert "on 1 images of" in capsys.readouterr().out
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data), "--split", "test"]) == 3
    assert "test" in capsys.readouterr().err


def confusion_by_hand(checkpoint, data, crf=None, width=None):
    model = Checkpoint.load(checkpoint).build_model(checkpoint)
    confusion, dataset = ConfusionMatrix(len(SHAPE_CLASSES)), open_dataset(str(data), "auto", "val", None)
    for i in range(len(dataset)):
        image, truth = dataset.sample(i)
        confusion.update(truth if width is None else trimap(truth, width), Predictor(model, crf=crf).labels(image))
    return confusion


def scores_of(checkpoint, data, folder, *options):
    path = folder / "scores.json"
    assert evaluate.main(["--checkpoint", checkpoint, "--data", str(data), "--json", str(path), *options]) == 0
    return json.loads(path.read_text())


def test_trimaps_score_the_pixels_near_boundaries(data, varied, tmp_path, capsys):
    scores = scores_of(varied, data, tmp_path, "--trimap", "1", "5")
    out = capsys.readouterr().out
    whole = confusion_by_hand(varied, data)
    assert scores["confusion"] == whole.counts.tolist()
    assert set(scores["trimap"]) == {"1", "5"} and "trimap_without_crf" not in scores
    assert (whole.counts.sum(axis=0) > 0).sum() > 3
    for width in (1, 5):
        by_hand = confusion_by_hand(varied, data, width=width)
        assert 0 < by_hand.counts.sum() < whole.counts.sum()
        assert scores["trimap"][str(width)] == by_hand.mean_iou()
        assert f"mIoU within {width} pixel{'s' * (width > 1)} of a boundary: {100 * by_hand.mean_iou():.2f}\n" in out


@pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
def test_with_a_crf_scores_are_those_of_its_labels_beside_those_without(data, varied, tmp_path, capsys):
    scores = scores_of(varied, data, tmp_path, "--crf", "pydensecrf", "--trimap", "3")
    out = capsys.readouterr().out
    results = {
        (crf, width): confusion_by_hand(varied, data, crf, width) for crf in (None, "pydensecrf") for width in (None, 3)
    }
    assert scores["crf"] == "pydensecrf"
    assert scores["confusion"] == results["pydensecrf", None].counts.tolist() != results[None, None].counts.tolist()
    assert scores["mean_iou"] == results["pydensecrf", None].mean_iou()
    assert scores["mean_iou_without_crf"] == results[None, None].mean_iou()
    assert scores["trimap"] == {"3": results["pydensecrf", 3].mean_iou()}
    assert scores["trimap_without_crf"] == {"3": results[None, 3].mean_iou()}
    near = [f"{100 * results[crf, 3].mean_iou():.2f}" for crf in (None, "pydensecrf")]
    assert f"mIoU within 3 pixels of a boundary: {near[0]}, {near[1]} with CRF\n" in out
    assert f"without the CRF: {results[None, None].summary()}\n{results['pydensecrf', None].summary()}\n" in out


def test_without_a_crf_nothing_is_said_of_it(data, checkpoint, tmp_path, capsys):
    scores = scores_of(checkpoint, data, tmp_path)
    assert not {"crf", "mean_iou_without_crf", "trimap", "trimap_without_crf"} & set(scores)
    out = capsys.readouterr().out
    assert "CRF" not in out and "boundary" not in out


@pytest.mark.parametrize(("option", "value"), [("--trimap", "0"), ("--crf", "deeplab"), ("--trimap", "two")])
def test_wrong_crfs_and_trimaps_are_refused(data, checkpoint, capsys, option, value):
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["--checkpoint", checkpoint, "--data", str(data), option, value])
    assert option in capsys.readouterr().err


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
    labels = Predictor(model).labels(image)
    assert labels.shape == size and labels.dtype == np.uint8
    if min(size) >= SMALLEST_SIDE:
        with no_grad():
            logits = model(Tensor(normalise(image)[None])).numpy()
        np.testing.assert_array_equal(labels, logits[0].argmax(axis=-1))
