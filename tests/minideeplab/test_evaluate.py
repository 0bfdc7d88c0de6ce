"""The evaluation command and function, on an untrained network."""

import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from strategies import SIMULATED

import minideeplab
from minideeplab import Tensor, evaluate, models, no_grad
from minideeplab.data import SHAPE_CLASSES, normalise, open_dataset, voc_colour_map, write_synthetic
from minideeplab.errors import CheckpointError, DataError, UsageError
from minideeplab.evaluation import ConfusionMatrix, trimap
from minideeplab.evaluation.predictor import SMALLEST_SIDE, Predictor
from minideeplab.weights import Checkpoint, load_trained, save_torchvision_npz


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
    assert content["precision"] == "float32"
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
    assert "on 1 image of" in capsys.readouterr().out
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
        present = by_hand.classes_present()
        some = "" if present == 7 else f" ({present} of 7 classes present)"
        near = f"mIoU within {width} pixel{'s' * (width > 1)} of a boundary: {100 * by_hand.mean_iou():.2f}{some}\n"
        assert near in out and scores["trimap_classes_present"][str(width)] == present


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
    near = []
    for crf in (None, "pydensecrf"):
        present = results[crf, 3].classes_present()
        some = "" if present == 7 else f" ({present} of 7 classes present)"
        near.append(f"{100 * results[crf, 3].mean_iou():.2f}{some}")
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


# -------------------------------------------------------------------- the function, and what it writes


def test_the_function_says_what_the_command_says(data, varied, tmp_path, capsys):
    options = ["--trimap", "1", "5", "--boundary-f1", "--flip", "--scales", "0.5", "1", "--fusion", "max"]
    told = scores_of(varied, data, tmp_path, *options)
    out = capsys.readouterr().out
    found = minideeplab.evaluate(
        varied, data, trimap=(1, 5), boundary_f1=True, flip=True, scales=(0.5, 1), fusion="max", progress=False
    )
    assert found.to_json() | {"data": ""} == told | {"data": ""}
    assert found.mean_iou == told["mean_iou"] and found.trimap == {1: told["trimap"]["1"], 5: told["trimap"]["5"]}
    assert found.boundary_f1 == told["boundary_f1"] and str(found) in out
    assert [score.id for score in found.images] == [each["id"] for each in told["per_image"]] and len(found.images) == 2
    assert "frequency-weighted IoU" in out and "boundary F1" in out and "mean over images of their mIoU" in out
    printed = capsys.readouterr()
    assert printed.out == "" and "evaluate" not in printed.err  # of the function without progress


def test_fusion_and_output_stride_change_the_labels(data, varied):
    def counts(**options):
        return evaluate(varied, data, scales=(0.5, 1), progress=False, **options).confusion.counts

    plain = counts()
    for options in ({"fusion": "max"}, {"output_stride": 8}):
        assert (counts(**options) != plain).any()
    np.testing.assert_array_equal(counts(output_stride=16), plain)


def test_a_network_a_run_and_an_opened_data_set_are_taken_as_they_are(data, varied):
    dataset = open_dataset(str(data), "auto", "val", 1)
    trained, run = load_trained(varied), SimpleNamespace(checkpoint=Path(varied))
    expected = evaluate(varied, dataset, progress=False).confusion.counts
    for checkpoint in (trained, trained.model, run):
        found = evaluate(checkpoint, dataset, progress=False)
        np.testing.assert_array_equal(found.confusion.counts, expected)
    with pytest.raises(TypeError, match="expected a file, a run, a Trained or a network, got int"):
        evaluate(5, dataset, progress=False)


def test_bad_input_is_an_exception_of_the_function(data, varied, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        evaluate(tmp_path / "none.npz", data)
    with pytest.raises(DataError, match="no such split"):
        evaluate(varied, data, split="nothing")
    with pytest.raises(ValueError, match="fusion must be one of mean, max, got 'sum'"):
        evaluate(varied, data, fusion="sum")
    with pytest.raises(UsageError, match="--output-stride 64"):
        evaluate(varied, data, output_stride=64)


def test_tables_pictures_and_the_curve(data, varied, tmp_path, capsys):
    pictures, table, plot = tmp_path / "pictures", tmp_path / "scores.csv", tmp_path / "curve.png"
    arguments = ["--pictures", pictures, "--csv", table, "--plot", plot, "--worst", "1", "--trimap", "2", "10"]
    assert evaluate.main(["--checkpoint", varied, "--data", str(data), *map(str, arguments)]) == 0
    printed = capsys.readouterr()
    assert "warning" not in printed.err and f"tables in {table} and {tmp_path / 'scores_images.csv'}" in printed.out
    ids = open_dataset(str(data), "auto", "val", None).ids
    assert {path.name for path in pictures.iterdir()} == {"samples", "confusion.png", "worst.png", "trimap.png"}
    assert {path.stem for path in (pictures / "samples").iterdir()} == set(ids)
    rows = list(csv.DictReader(table.open()))
    confusion = confusion_by_hand(varied, data)
    assert [row["class"] for row in rows] == list(SHAPE_CLASSES)
    assert [float(row["iou"]) if row["iou"] else math.nan for row in rows] == pytest.approx(
        confusion.iou(), nan_ok=True
    )
    rows = list(csv.DictReader((tmp_path / "scores_images.csv").open()))
    assert [row["id"] for row in rows] == list(ids) and all(0 <= float(row["mean_iou"]) <= 1 for row in rows)
    assert Image.open(plot).size[0] > 300


def test_a_curve_needs_widths(data, varied, capsys, tmp_path):
    plot = str(tmp_path / "curve.png")
    assert evaluate.main(["--checkpoint", varied, "--data", str(data), "--plot", plot]) == 2
    assert "--plot draws the curve of --trimap; add widths" in capsys.readouterr().err


def test_a_picture_that_fails_costs_no_score(data, varied, tmp_path, capsys, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minideeplab.evaluate.save_worst", fail)
    monkeypatch.setattr("minideeplab.figures.save_comparison", fail)
    scores = scores_of(varied, data, tmp_path, "--pictures", str(tmp_path / "pictures"))
    assert scores["images"] == 2
    assert capsys.readouterr().err.count("could not be drawn (OSError: [Errno 28] No space left on device)") == 3


def test_a_split_without_masks_is_submitted_and_not_scored(data, varied, tmp_path, capsys):
    root = tmp_path / "test set"
    shutil.copytree(data, root)
    for mask in (root / "SegmentationClass").iterdir():
        mask.unlink()
    arguments = ["--checkpoint", varied, "--data", str(root)]
    assert evaluate.main(arguments) == 3
    assert "no such file" in capsys.readouterr().err
    out = tmp_path / "submission"
    assert evaluate.main([*arguments, "--submission", str(out), "--pictures", str(tmp_path / "pictures")]) == 0
    printed = capsys.readouterr()
    assert (
        f"2 predictions in {out}" in printed.out
        and "mIoU" not in printed.out
        and "no scores" in printed.out
        and "warning" not in printed.err
    )
    model, dataset = load_trained(varied).model, open_dataset(str(data), "auto", "val", None)
    for number, sample in enumerate(dataset.ids):
        with Image.open(out / f"{sample}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), Predictor(model).labels(dataset.image(number)))


def test_published_weights_are_scored_with_the_names_of_the_data_set(data, tmp_path, capsys):
    path = tmp_path / "weights.npz"
    network = {"num_classes": len(SHAPE_CLASSES), "width": 0.125, "auxiliary": False}
    save_torchvision_npz(path, models.build("torchvision-fcn_resnet50", **network))
    assert evaluate.main(["--checkpoint", str(path), "--data", str(data), "--limit", "1"]) == 0
    printed = capsys.readouterr()
    assert "note: the file names no classes; its 7 are taken for those of the data set" in printed.err
    assert "torchvision-fcn_resnet50 of" in printed.out and "\ndisc " in printed.out


def test_images_are_said_to_be_seen_in_tiles(data, varied, capsys, monkeypatch):
    assert evaluate.main(["--checkpoint", varied, "--data", str(data), "--tile", "64"]) == 0
    assert "2 images were seen in tiles of 64 pixels\n" in capsys.readouterr().out
    monkeypatch.setattr("minideeplab.evaluation.tiles.LARGEST_WHOLE", 1000)
    found = evaluate(varied, data, limit=1, progress=False)
    assert str(found).endswith("\n1 image was seen in tiles of 769 pixels; --tile whole sees an image at once")


def test_reading_the_files_is_work_that_is_seen(data, varied, capsys, monkeypatch):
    monkeypatch.setattr("minideeplab.cli.progress.PLAIN_INTERVAL", -1.0)
    assert evaluate.main(["--checkpoint", varied, "--data", str(data)]) == 0
    assert "checking 'val'  1/2" in capsys.readouterr().err


def test_masks_that_are_read_otherwise_than_in_training_are_told(data, tmp_path, capsys):
    """Void and the label map of training belong to the scores; with the options that the sentence names it is gone."""
    model = models.build("deeplabv3plus", num_classes=len(SHAPE_CLASSES), width=0.125, head_width=16)
    stored = json.dumps({str(label): label for label in range(7)} | {"1": 2, "2": 1, "255": 0})
    args = {"ignore_index": 0, "label_map": stored}
    path = tmp_path / "best.npz"
    Checkpoint(model.config, model.state_dict(), list(SHAPE_CLASSES), voc_colour_map(), 0, args=args).save(path)
    arguments = ["--checkpoint", str(path), "--data", str(data), "--limit", "1"]
    assert evaluate.main(arguments) == 0
    said = capsys.readouterr().err
    assert "void was label 0 in training, so class 'background' was not learnt, and is 255 here" in said
    assert "add --ignore-index 0 to score as validation did" in said and f"add --label-map '{stored}'" in said
    assert evaluate.main([*arguments, "--ignore-index", "0"]) == 0
    said = capsys.readouterr().err
    assert "void was" not in said and "add --label-map" in said
    assert evaluate.main([*arguments, "--ignore-index", "0", "--label-map", stored]) == 0
    assert "was" not in capsys.readouterr().err
    with pytest.warns(UserWarning, match="add --ignore-index 0"):
        evaluate(path, data, limit=1, progress=False, label_map=stored)
