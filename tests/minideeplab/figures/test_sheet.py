"""The sheet of samples and the shares of classes: what they draw, how large they are, in any script."""

import warnings
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scenes import scene

from minideeplab.data import voc_colour_map
from minideeplab.figures import Shares, save_class_shares, save_contact_sheet
from minideeplab.figures.sheet import DARK, LIGHT, tinted

UNKNOWN = "\U0010fffd"  # a private sign that no font has


def classes(*names, void=255):
    return SimpleNamespace(class_names=names, palette=voc_colour_map(), ignore_index=void)


@pytest.fixture
def texts(monkeypatch):
    """Every text that Pillow draws."""
    drawn, draw = [], ImageDraw.ImageDraw.text

    def recorded(self, place, text, *more, **options):
        drawn.append(text)
        draw(self, place, text, *more, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", recorded)
    return drawn


def sheet(path, number=12, size=(60, 80), names=("background", "clay", "grass"), **more):
    ids = [f"id{k}" for k in range(number)]
    sample = scene(0, size)
    save_contact_sheet(path, ids, lambda k: sample, classes(*names), **more)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("size", [(6, 8), (60, 80), (300, 200), (30, 600), (600, 30)])
@pytest.mark.parametrize("number", [1, 2, 12])
def test_sheets_are_at_most_1600_pixels_wide(tmp_path, size, number):
    height, width, _ = sheet(tmp_path / "s.png", number, size).shape
    assert 600 <= width <= 1600 and height <= 2200


def test_many_classes_and_long_names_get_rows(tmp_path, texts):
    names = ["background", "c" * 400, *(f"class {k}" for k in range(2, 150))]
    mask = np.arange(150, dtype=np.uint8).reshape(10, 15)
    save_contact_sheet(tmp_path / "s.png", ["i" * 300], lambda k: (np.stack([mask] * 3, 2), mask), classes(*names))
    assert Image.open(tmp_path / "s.png").width <= 1600
    assert {"background (not tinted)", "class 149", "void"} <= set(texts)
    assert {text[-3:] for text in texts if len(text) > 30} == {"..."}


def test_names_are_drawn_as_they_stand_or_by_their_number(tmp_path, texts):
    image, mask = scene(0)
    sample = ["$a_$", UNKNOWN]
    save_contact_sheet(
        tmp_path / "s.png", sample, lambda k: (image, mask), classes("$5_$10", "_under", UNKNOWN), UNKNOWN
    )
    assert texts == ["samples", "$a_$", "sample 2", "$5_$10", "_under", "class 2", "void"]


@given(st.integers(0, 2**32), st.sampled_from(["background", "sky"]))
@settings(max_examples=20, deadline=None)
def test_tints_follow_the_labels(seed, first):
    image, mask = scene(seed, (24, 24))
    mask[:6, :6] = 255
    known = classes(first, "clay", "grass")
    painted = tinted(image, mask, known)
    inside = np.zeros(mask.shape, bool)
    inside[1:-1, 1:-1] = True
    for axis in (0, 1):
        for step in (1, -1):
            inside &= mask == np.roll(mask, step, axis)
    for label in range(3):
        region = inside & (mask == label)
        blend = (0.5 * image[region] + 0.5 * known.palette[label]).round()
        np.testing.assert_array_equal(painted[region], image[region] if first == "background" and label == 0 else blend)
        border = ~inside & (mask == label)
        border[[0, -1]] = border[:, [0, -1]] = False
        assert (painted[border] == known.palette[label]).all()
    void = painted[mask == 255].astype(int)
    stripes = (void == DARK).all(axis=1)
    assert 0.1 < stripes.mean() < 0.5 and (void[~stripes] >= 0.6 * np.array(LIGHT)).all()


def test_each_split_has_a_bar_for_each_class_but_void(tmp_path, monkeypatch):
    figures, save = [], matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *a, **k: figures.append(self) or save(self, *a, **k)
    )
    train = Shares(np.array([1000, 5, 7, 0]), np.array([4, 1, 4, 0]), 4, 0.25)
    val = Shares(np.array([600, 0, 9, 200]), np.array([2, 0, 2, 1]), 2, 0.5)
    save_class_shares(tmp_path / "c.png", {"train": train, "val": val}, classes("sky", "car", "void", UNKNOWN, void=2))
    (figure,) = figures
    pixels, images = figure.axes
    assert [bar.get_width() for bar in pixels.patches] == pytest.approx([1e5 / 1005, 500 / 1005, 0, 75, 0, 25])
    assert [bar.get_width() for bar in images.patches] == pytest.approx([100, 25, 0, 100, 0, 50])
    assert pixels.get_xscale() == "log" and images.get_xscale() == "linear"
    assert [text.get_text() for text in pixels.get_yticklabels()] == ["sky", "car", "class 3"]
    assert len(pixels.texts) == 2  # what never occurs
    assert "25.0 % of 'train', 50.0 % of 'val'" in figure.get_suptitle()


@pytest.mark.parametrize("number", [2, 150])
def test_class_shares_of_few_and_of_many_classes(tmp_path, number):
    counts = np.arange(number)
    save_class_shares(tmp_path / "c.png", {"a": Shares(counts, counts, number, 0.0)}, classes(*map(str, range(number))))
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width <= 1600 and picture.height <= 4000


def test_a_set_of_void_alone_has_a_picture(tmp_path):
    nothing = Shares(np.zeros(2, int), np.zeros(2, int), 3, 1.0)
    save_class_shares(tmp_path / "c.png", {"train": nothing}, classes("a", "b"))
    assert (tmp_path / "c.png").exists()


def test_scripts_without_a_font_do_not_warn(tmp_path):
    names = ["Straße", "дорога", "道路", UNKNOWN]
    counts = np.array([1, 2, 3, 4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_class_shares(tmp_path / "c.png", {"道路": Shares(counts, counts, 4, 0.0)}, classes(*names))
        sheet(tmp_path / "s.png", 1, names=names, title="道路")
