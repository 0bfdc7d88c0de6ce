"""Pictures of label maps: their size, their colours, what they say of an image."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minideeplab import figures
from minideeplab.data import CAMVID_CLASSES, VOC_CLASSES, voc_colour_map
from minideeplab.evaluation import ConfusionMatrix
from minideeplab.figures import labels
from minideeplab.figures.colours import FAR, OTHER, PAPER, RIGHT, STILL_WRONG, VOIDS, WRONG, colours_of, void_colour

CAMVID_COLOURS = [
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
]  # fmt: skip
CAMVID = np.concatenate([np.array(CAMVID_COLOURS, np.uint8), voc_colour_map()[len(CAMVID_COLOURS) :]])

# What somebody without one kind of cones sees, on linear RGB.
# Source: Machado, Oliveira and Fernandes 2009, table 1, severity 1.
BLIND = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no colours": [[0.2126, 0.7152, 0.0722]] * 3,
    "all cones": np.eye(3).tolist(),
}


def seen(colour, sight):
    """CIELAB of an RGB colour as it is seen."""
    value = np.array(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = (np.array(BLIND[sight]) @ linear).clip(0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / (0.9505, 1, 1.089))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", BLIND)
def test_right_and_wrong_are_told_apart_by_everybody(sight):
    """A difference of 10 is seen at a glance; right and wrong differ by far more, even on grey paper."""
    group = (RIGHT, WRONG, VOIDS[0])
    if sight != "no colours":
        group += (OTHER, STILL_WRONG, PAPER)
    assert np.linalg.norm(seen(RIGHT, sight) - seen(WRONG, sight)) > 30
    for i, one in enumerate(group):
        for other in group[:i]:
            assert np.linalg.norm(seen(one, sight) - seen(other, sight)) > 8, (one, other)


@pytest.mark.parametrize(("names", "palette"), [(VOC_CLASSES, voc_colour_map()), (CAMVID_CLASSES, CAMVID)])
def test_void_is_light_grey_beside_the_colours_of_the_papers(names, palette):
    assert void_colour(SimpleNamespace(class_names=names, palette=palette, ignore_index=255)) == VOIDS[0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 255))
def test_void_has_a_colour_of_its_own(seed, count, void):
    palette = np.random.default_rng(seed).integers(0, 256, (256, 3), np.uint8)
    palette[: min(count, 7)] = VOIDS[: min(count, 7)] if seed % 2 else palette[: min(count, 7)]
    classes = SimpleNamespace(class_names=["x"] * count, palette=palette, ignore_index=void)
    taken = [tuple(palette[label].tolist()) for label in range(count) if label != void]
    assert void_colour(classes) not in taken or set(VOIDS) <= set(taken)
    far = [min((np.linalg.norm(np.subtract(each, colour)) for colour in taken), default=FAR) for each in VOIDS]
    if max(far[:4]) >= 2 * FAR:
        assert min(np.linalg.norm(np.subtract(void_colour(classes), colour)) for colour in [*taken, RIGHT]) >= FAR / 2
    np.testing.assert_array_equal(colours_of(classes)[void], void_colour(classes))


@settings(max_examples=100)
@given(st.integers(1, 8), st.integers(1, 6000), st.integers(1, 6000))
def test_panels_fit_the_sheet_and_are_as_large_as_can_be(count, width, height):
    rows, scale = labels._arrangement(count, (width, height))
    columns = -(-count // rows)
    assert columns * (width * scale + labels.WIDEST_GAP) <= labels.SHEET + 1e-6
    assert rows * height * scale <= labels.SHEET + 1e-6 and 0 < scale <= 1
    for other in (1, 2, count):
        if count % other == 0:
            room = (labels.SHEET - labels.WIDEST_GAP * (count // other)) / (count // other)
            assert scale * 1.051 >= min(1, room / width, labels.SHEET / other / height)


@pytest.mark.parametrize("size", [(20, 30), (360, 480), (1024, 2048), (300, 3000), (2500, 700)])
def test_samples_are_at_most_1600_pixels_wide(tmp_path, size):
    image = np.zeros((*size, 3), np.uint8)
    truth = np.zeros(size, np.uint8)
    classes = SimpleNamespace(class_names=["n" * 500] * 3, palette=voc_colour_map(), ignore_index=255)
    figures.save_sample(tmp_path / "x.png", image, truth, truth, classes, "title " * 100)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width <= 1600 and picture.height <= 1600 + 300


def test_errors_stay_beside_each_prediction(tmp_path):
    """The colours of right and wrong cover as many pixels as there are, once for each prediction."""
    palette = np.full((256, 3), 10, np.uint8)
    classes = SimpleNamespace(class_names=["a", "b"], palette=palette, ignore_index=255)
    truth = np.zeros((200, 200), np.uint8)
    truth[:50] = 255
    one, two = np.zeros_like(truth), np.zeros_like(truth)
    one[100:], two[150:] = 1, 1
    image = np.full((200, 200, 3), 90, np.uint8)

    def drawn(predictions, truth):
        figures.save_comparison(tmp_path / "x.png", image, predictions, classes, truth)
        pixels = np.asarray(Image.open(tmp_path / "x.png")).astype(int)
        return [int((pixels == colour).all(axis=-1).sum()) for colour in (RIGHT, WRONG)]

    legend = 2 * 20 * 20  # its squares, at most
    for predictions, right, wrong in (({"prediction": one}, 50, 100), ({"prediction": one, "with CRF": two}, 150, 150)):
        found = drawn(predictions, truth)
        assert 200 * right <= found[0] <= 200 * right + legend and 200 * wrong <= found[1] <= 200 * wrong + legend
    assert drawn({"one": one, "two": two}, None) == [0, 0]


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_score_of_an_image_is_that_of_its_confusion_matrix(seed, count):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, count, (2, 7, 9), np.uint8)
    truth[rng.random(truth.shape) < 0.2] = 255
    classes = SimpleNamespace(class_names=["c"] * count, palette=voc_colour_map(), ignore_index=255)
    known = truth != 255
    ious = [
        ((truth == k) & (prediction == k) & known).sum() / (((truth == k) | (prediction == k)) & known).sum()
        for k in range(count)
        if (((truth == k) | (prediction == k)) & known).any()
    ]
    right = (truth == prediction)[known].mean()
    word = "class" if len(ious) == 1 else "classes"
    expected = f"mIoU {100 * np.mean(ious):.1f} over {len(ious)} {word}, {100 * right:.1f} % of pixels right"
    assert figures.image_score(truth, prediction, classes) == expected


def test_an_image_of_void_has_no_score():
    assert figures.score_text(ConfusionMatrix(3)) == "no labelled pixels"


@pytest.mark.filterwarnings("error")
def test_names_that_no_font_has_are_drawn_without_a_word(tmp_path):
    names = ["物体", chr(0x10FFFD), "\udcff"]
    matrix = ConfusionMatrix(3)
    matrix.counts[...] = np.arange(9).reshape(3, 3)
    figures.save_confusion(tmp_path / "a.png", matrix, names)
    classes = SimpleNamespace(class_names=names, palette=voc_colour_map(), ignore_index=255)
    part = np.arange(600, dtype=np.uint8).reshape(20, 30) % 3
    image = np.zeros((20, 30, 3), np.uint8)
    figures.save_overlay(tmp_path / "b.png", image, part, classes)
    figures.save_sample(tmp_path / "c.png", image, part, part, classes, f"{names[1]}: score")
    figures.save_refinements(tmp_path / "d.png", [(image, part, part, part, names[1])], classes, names[0])
