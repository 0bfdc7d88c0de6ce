"""The prediction command, on an untrained network."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from strategies import SIMULATED

from minideeplab import figures, models, predict
from minideeplab.crf import refine
from minideeplab.data import SHAPE_CLASSES, read_image, voc_colour_map
from minideeplab.evaluation import Predictor
from minideeplab.evaluation.metrics import ConfusionMatrix
from minideeplab.weights import Checkpoint

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
