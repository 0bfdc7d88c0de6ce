"""The prediction command and function, on an untrained network."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from container_files import Made
from PIL import Image
from strategies import SIMULATED

import minideeplab
from minideeplab import figures, models, predict
from minideeplab.crf import refine
from minideeplab.data import SHAPE_CLASSES, read_image, voc_colour_map
from minideeplab.errors import DataError
from minideeplab.evaluation import Predictor
from minideeplab.evaluation.metrics import ConfusionMatrix
from minideeplab.weights import Checkpoint, load_trained, save_torchvision_npz

CLASSES = SimpleNamespace(class_names=SHAPE_CLASSES, palette=voc_colour_map(), ignore_index=255)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.npz"
    model = models.build("deeplabv3plus", num_classes=len(SHAPE_CLASSES), width=0.125, head_width=16)
    Checkpoint(model.config, model.state_dict(), list(SHAPE_CLASSES), voc_colour_map()).save(path)
    return str(path)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """A network whose logits have mean 0 and deviation 1 in each class: many labels occur."""
    path = tmp_path_factory.mktemp("weights") / "varied.npz"
    model = models.build("deeplabv3plus", num_classes=len(SHAPE_CLASSES), width=0.125, head_width=16)
    model.eval()
    logits = Predictor(model)(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).scores.numpy()[0]
    mean, deviation = logits.mean(axis=(0, 1)), logits.std(axis=(0, 1))
    head = model.head
    head.weight.data, head.bias.data = head.weight.numpy() / deviation, (head.bias.numpy() - mean) / deviation
    Checkpoint(model.config, model.state_dict(), list(SHAPE_CLASSES), voc_colour_map()).save(path)
    return str(path)


def write_image(path, height=40, width=50, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(checkpoint, out, *images):
    return predict.main(["--checkpoint", checkpoint, "--out", str(out), *map(str, images)])


def test_masks_hold_the_labels_and_the_palette(checkpoint, tmp_path):
    path = write_image(tmp_path / "photo.png")
    assert run(checkpoint, tmp_path / "out", path) == 0
    model = Checkpoint.load(checkpoint).build_model(checkpoint)
    with Image.open(tmp_path / "out" / "masks" / "photo.png") as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), Predictor(model).labels(read_image(path)))
        np.testing.assert_array_equal(np.reshape(mask.getpalette(), (256, 3)), voc_colour_map())
    assert (tmp_path / "out" / "overlays" / "photo.png").exists()


@pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
@pytest.mark.parametrize("preset", ["deeplab-v1", "pydensecrf"])
def test_with_a_crf_masks_hold_its_labels(varied, tmp_path, preset):
    path = write_image(tmp_path / "photo.png", 20, 41)  # a side that is padded for the network, not for the CRF
    assert predict.main(["--checkpoint", varied, "--out", str(tmp_path / "out"), str(path), "--crf", preset]) == 0
    model, image = Checkpoint.load(varied).build_model(varied), read_image(path)
    expected = refine(Predictor(model)(image).scores.numpy()[0], image, preset, kind="logits").argmax(axis=2)
    with Image.open(tmp_path / "out" / "masks" / "photo.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected)
    np.testing.assert_array_equal(Predictor(model, crf=preset).labels(image), expected)
    assert (Predictor(model).labels(image) != expected).any()


def test_an_unknown_crf_is_refused_with_the_choices(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--checkpoint", checkpoint, "--out", str(tmp_path), "photo.png", "--crf", "deeplab"])
    error = capsys.readouterr().err
    assert "--crf" in error and "deeplab-v1" in error and "pydensecrf" in error


def test_folders_and_equal_names(checkpoint, tmp_path, capsys):
    first, second = write_image(tmp_path / "a" / "x.png"), write_image(tmp_path / "b" / "x.jpg", 33, 35)
    write_image(tmp_path / "a" / "y.bmp", 20, 14)
    (tmp_path / "a" / "readme.txt").write_text("no image")
    assert run(checkpoint, tmp_path / "out", first.parent, second) == 0
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "out" / "masks").iterdir()}
    assert sizes == {"x.png": (50, 40), "y.png": (14, 20), "x-2.png": (35, 33)}
    said = capsys.readouterr().err
    assert f"note: {second} becomes x-2.png" in said and "not read as images: 1 .txt" in said


def test_bad_files_are_all_reported_and_the_good_ones_done(checkpoint, tmp_path, capsys):
    good = write_image(tmp_path / "good.png")
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty").mkdir()
    inputs = (tmp_path / "text.jpg", tmp_path / "missing.png", good, tmp_path / "empty")
    assert run(checkpoint, tmp_path / "out", *inputs) == 3
    captured = capsys.readouterr()
    assert "1 image segmented" in captured.out
    assert "error: 3 inputs could not be segmented:\n" in captured.err  # a first run announces the compilation before
    for name in ("text.jpg: not a", "missing.png: no such file", "empty: no image in this folder"):
        assert name in captured.err
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["good.png"]


def test_a_folder_that_cannot_be_made_and_a_checkpoint_that_is_a_folder(checkpoint, tmp_path, capsys):
    path = write_image(tmp_path / "photo.png")
    assert run(checkpoint, path / "out", path) == 2
    assert f"--out {path / 'out' / 'masks'}: no folder can be made there" in capsys.readouterr().err
    assert run(str(tmp_path), tmp_path / "out", path) == 4
    assert f"{tmp_path}: a folder; give a file in it, such as {tmp_path / 'best.npz'}" in capsys.readouterr().err


def test_a_damaged_checkpoint(tmp_path, capsys):
    (tmp_path / "best.npz").write_bytes(b"PK\x03\x04")
    assert run(str(tmp_path / "best.npz"), tmp_path / "out", "photo.jpg") == 4
    assert "best.npz: truncated, damaged" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (90, 120), (1000, 700)])
def test_overlays_of_any_size_keep_the_picture_and_add_a_legend(tmp_path, size):
    image = np.full((*size, 3), 200, np.uint8)
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2 :] = 2
    figures.save_overlay(tmp_path / "overlay.png", image, labels, CLASSES, alpha=0.5)
    overlay = read_image(tmp_path / "overlay.png")
    factor = max(1, -(-320 // max(size)))
    assert overlay.shape[0] > factor * size[0] and overlay.shape[1] >= factor * size[1]
    right = factor * size[1] - 1
    np.testing.assert_array_equal(overlay[0, right], [100, 164, 100])  # half of (200, 200, 200) and (0, 128, 0)
    if size[1] > 1:
        np.testing.assert_array_equal(overlay[0, 0], [200, 200, 200])  # the background keeps its colours
    assert (overlay[factor * size[0] :] != 255).any()


def test_confusion_picture_with_absent_classes(tmp_path):
    confusion = ConfusionMatrix(7)
    confusion.update(np.array([0, 1, 1], np.uint8), np.array([0, 1, 6], np.uint8))
    figures.save_confusion(tmp_path / "confusion.png", confusion, SHAPE_CLASSES)
    assert min(read_image(tmp_path / "confusion.png").shape[:2]) > 300


# -------------------------------------------------------------------- areas, probabilities, the function


def test_areas_are_those_of_the_masks(varied, tmp_path, capsys):
    paths = [write_image(tmp_path / f"photo {seed}.png", 40, 50 + seed, seed) for seed in (0, 1)]
    table = tmp_path / "tables" / "areas.csv"
    assert predict.main(["--checkpoint", varied, "--out", str(tmp_path), *map(str, paths), "--csv", str(table)]) == 0
    out = capsys.readouterr().out
    assert f"area of each class in {table}" in out and "s an image (median" in out
    rows = list(csv.DictReader(table.open()))
    assert list(rows[0]) == ["image", "height", "width", "label", "class", "pixels", "share"]
    assert len(rows) == 2 * len(SHAPE_CLASSES) and [row["class"] for row in rows[:7]] == list(SHAPE_CLASSES)
    for path in paths:
        with Image.open(tmp_path / "masks" / path.name) as mask:
            labels = np.asarray(mask)
        own = [row for row in rows if row["image"] == str(path)]
        assert [int(row["pixels"]) for row in own] == np.bincount(labels.ravel(), minlength=7).tolist()
        assert sum(float(row["share"]) for row in own) == pytest.approx(1)
        assert {(row["height"], row["width"]) for row in own} == {tuple(map(str, labels.shape))}


@pytest.mark.parametrize(("bits", "tile"), [(8, "auto"), (16, "33"), (16, "whole")])
def test_saved_probabilities_are_those_of_the_network_rounded(varied, tmp_path, bits, tile):
    path = write_image(tmp_path / "photo.png", 70, 50)
    options = ["--save-probabilities", str(bits), "--tile", tile]
    assert predict.main(["--checkpoint", varied, "--out", str(tmp_path / "out"), str(path), *options]) == 0
    stored = np.load(tmp_path / "out" / "probabilities" / "photo.npy", mmap_mode="r")
    assert stored.shape == (70, 50, 7) and stored.dtype == np.dtype(f"u{bits // 8}")
    side = None if tile in ("auto", "whole") else int(tile)
    expected = Predictor(load_trained(varied).model, tile=side)(read_image(path))
    assert abs(stored / (2**bits - 1) - expected.probabilities).max() <= 0.5 / (2**bits - 1) + 1e-6
    with Image.open(tmp_path / "out" / "masks" / "photo.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected.labels[0])
    names = (tmp_path / "out" / "probabilities" / "class_names.txt").read_text().splitlines()
    assert names == list(SHAPE_CLASSES)


def test_the_function_gives_an_object_for_each_image(varied, tmp_path, capsys):
    path = write_image(tmp_path / "photos" / "a.png", 40, 50)
    write_image(tmp_path / "photos" / "b.png", 36, 33, seed=1)
    array = read_image(path)
    [one] = minideeplab.predict(varied, path, progress=False)
    trained = load_trained(varied)
    [same] = predict(trained, array, progress=False)
    for source in (SimpleNamespace(checkpoint=Path(varied)), trained.model):
        [again] = predict(source, array, progress=False, class_names=SHAPE_CLASSES)
        np.testing.assert_array_equal(again.labels, same.labels)
        assert tuple(again.class_names) == SHAPE_CLASSES
    np.testing.assert_array_equal(one.labels, same.labels)
    assert one.path == path and same.path is None and one.seconds > 0
    assert [each.labels.shape for each in predict(varied, tmp_path / "photos", progress=False)] == [(40, 50), (36, 33)]
    areas = one.areas()
    assert list(areas) == list(SHAPE_CLASSES) and sum(pixels for pixels, _ in areas.values()) == 2000
    assert areas["disc"] == ((one.labels == 1).sum(), (one.labels == 1).mean())
    np.testing.assert_array_equal(one.probabilities.argmax(axis=-1), one.labels)
    one.save_overlay(tmp_path / "overlay.png")
    np.testing.assert_array_equal(np.asarray(one.overlay()), np.asarray(Image.open(tmp_path / "overlay.png")))
    one.save_mask(tmp_path / "mask.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), one.labels)
    with pytest.raises(ValueError, match="bits must be 8 or 16, got 32"):
        one.save_probabilities(tmp_path / "probabilities.npy", 32)
    printed = capsys.readouterr()
    assert printed.out == "" and "predict" not in printed.err


def test_the_function_raises_what_cannot_be_read_or_tells_it_and_goes_on(varied, tmp_path):
    good, bad = write_image(tmp_path / "good.png"), tmp_path / "bad.jpg"
    bad.write_text("no image")
    with pytest.raises(DataError, match=r"bad.jpg: not a"):
        list(predict(varied, [bad, good], progress=False))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no image in this folder"):
        predict(varied, tmp_path / "empty", progress=False)
    errors = []
    found = list(predict(varied, [bad, good, tmp_path / "empty"], on_error=errors.append, progress=False))
    assert [each.path for each in found] == [good] and len(errors) == 2
    with pytest.raises(ValueError, match="scales must be one or more numbers above 0"):
        predict(varied, good, scales=())


def test_folders_in_folders_are_said_to_be_left_out(varied, tmp_path, capsys):
    write_image(tmp_path / "photos" / "a.png")
    write_image(tmp_path / "photos" / "day 1" / "b.png")
    assert run(varied, tmp_path / "out", tmp_path / "photos") == 0
    assert "photos: 1 folder in it is not entered (day 1); name them, too, to" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["a.png"]


def test_names_stay_with_their_images_when_one_of_two_is_bad(varied, tmp_path):
    """a/x.png cannot be read: what is written as x-2.png is still b/x.png."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_text("no image")
    good = write_image(tmp_path / "b" / "x.png", 33, 47)
    assert run(varied, tmp_path / "out", tmp_path / "a" / "x.png", good) == 3
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["x-2.png"]


def test_published_weights_and_their_names(tmp_path, capsys):
    path, image = tmp_path / "weights.npz", write_image(tmp_path / "photo.png")
    network = {"num_classes": 21, "width": 0.125, "auxiliary": False}
    save_torchvision_npz(path, models.build("torchvision-fcn_resnet50", **network))
    assert run(str(path), tmp_path / "out", image) == 0
    assert "note: the file names no classes; 21 are taken for those of voc" in capsys.readouterr().err
    names = ["--class-names", "cityscapes"]
    assert predict.main(["--checkpoint", str(path), "--out", str(tmp_path), str(image), *names]) == 2
    assert "--class-names cityscapes: 19 names, but the network has 21 classes" in capsys.readouterr().err


def test_the_command_in_a_process_of_its_own(varied, tmp_path):
    """stderr in a file: plain lines, no bar, no warning of a module imported before; the exit code of bad data."""
    good, bad = write_image(tmp_path / "good.png"), tmp_path / "bad.jpg"
    bad.write_text("no image")
    arguments = ["--checkpoint", varied, "--out", str(tmp_path / "out"), "--threads", "1", str(good), str(bad)]
    with (tmp_path / "stderr.txt").open("w") as stderr:
        command = [sys.executable, "-m", "minideeplab.predict", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ)
    said = (tmp_path / "stderr.txt").read_text()
    assert done.returncode == 3 and done.stdout.startswith("1 image segmented: label masks in "), said
    assert "\r" not in said and "Warning" not in said and "Traceback" not in said
    assert "error: 1 input could not be segmented:\n  " in said


# ---------------------------------------------------------------- weights of others


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """{name: array} of a small FCN, and of a classifier, as torchvision has them."""
    found, path = {}, tmp_path_factory.mktemp("weights") / "weights.npz"
    for name in ("torchvision-fcn_resnet50", "resnet18"):
        save_torchvision_npz(path, models.build(name, num_classes=5, width=1 / 16))
        with np.load(path) as file:
            found[name] = dict(file)
    return found


LOADING = {
    "a state dict": lambda made: made.state(),
    "a whole model": lambda made: made.module(),
    "a checkpoint of Lightning": lambda made: {
        "epoch": 1,
        "state_dict": made.state("model.") | {"criterion.weight": made.tensor(np.ones(5, np.float32))},
        "hyper_parameters": made.value(SimpleNamespace(lr=0.1, folder=Path("runs"))),
        "optimizer_states": [{"state": {0: {"step": 3}}, "param_groups": []}],
    },
}


@pytest.mark.parametrize("kind", LOADING)
def test_weights_as_people_have_them(arrays, tmp_path, capsys, kind):
    made = Made(arrays["torchvision-fcn_resnet50"])
    made.write(tmp_path / "weights.pth", LOADING[kind](made))
    image = write_image(tmp_path / "a.png")
    assert run(str(tmp_path / "weights.pth"), tmp_path / "out", image) == 0
    assert np.asarray(Image.open(tmp_path / "out/masks/a.png")).shape == (40, 50)
    assert "the file names no classes" in capsys.readouterr().err


def test_weights_that_cannot_predict_say_what_to_do(arrays, tmp_path, capsys):
    image = write_image(tmp_path / "a.png")
    renamed = {
        name.replace("classifier.", "head."): array for name, array in arrays["torchvision-fcn_resnet50"].items()
    }
    for weights, message in (
        (
            arrays["resnet18"],
            "weights of resnet18, which classifies whole images; .*train --data DATA --backbone resnet18 --init-from",
        ),
        (renamed, r"no known layout has its .*265 of 2.. names match.*name.replace\('head.', 'classifier.'\)"),
    ):
        made = Made(weights)
        for content in (made.state(), {"model": made.module()}):
            made.write(tmp_path / "weights.pth", content)
            assert run(str(tmp_path / "weights.pth"), tmp_path / "out", image) == 4
            text = capsys.readouterr().err
            assert re.search(f"(?s){message}", text) and "Traceback" not in text
