"""Every picture draws its users' text as it stands, and is there as a whole or not at all."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minideeplab import figures, models
from minideeplab.cost import cost_of
from minideeplab.data import voc_colour_map
from minideeplab.evaluation import ConfusionMatrix

NAMES = ("$", "price in $ and $", r"$\frac{1}{0", r"a\$b", "x_{", "100 %", "$$", "\\")
CLASSES = SimpleNamespace(class_names=NAMES, palette=voc_colour_map(), ignore_index=250)
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
LABELS = (np.arange(600) % 8).astype(np.uint8).reshape(20, 30)
TRUTH = np.where(LABELS == 7, 250, LABELS).astype(np.uint8)


def confusion():
    matrix = ConfusionMatrix(8, 250)
    matrix.update(TRUTH, LABELS)
    return matrix


def rows():
    steps = [{"step": i + 1, "loss": 1.0, "lr": 0.1} for i in range(4)]
    return steps, [{"epoch": 1, "val_miou": 0.5, "val_pixel_accuracy": 0.6}]


PICTURES = {
    "sample": lambda path: figures.save_sample(path, IMAGE, TRUTH, LABELS, CLASSES),
    "comparison": lambda path: figures.save_comparison(path, IMAGE, {"$\\x": TRUTH, "b": LABELS}, CLASSES),
    "overlay": lambda path: figures.save_overlay(path, IMAGE, LABELS, CLASSES),
    "refinements": lambda path: figures.save_refinements(
        path, [(IMAGE, TRUTH, LABELS, LABELS[::-1], r"$\frac{1}{$")], CLASSES, r"$\frac{1}{$"
    ),
    "confusion": lambda path: figures.save_confusion(path, confusion(), NAMES),
    "curves": lambda path: figures.save_curves(path, *rows()),
    "costs": lambda path: figures.save_costs(path, cost_of(models.create("unet", width=1 / 16), 33), r"$\frac{1}{$"),
    "contact sheet": lambda path: figures.save_contact_sheet(
        path, ("$", "a/$b_{"), lambda k: (IMAGE, TRUTH), CLASSES, r"$\frac{1}{$"
    ),
    "class shares": lambda path: figures.save_class_shares(
        path, {"$_{": figures.Shares(confusion().counts.sum(axis=1), np.ones(8, int), 1, 0.1)}, CLASSES
    ),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_text_of_users_is_drawn_as_it_stands(tmp_path, kind):
    PICTURES[kind](tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, kind, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"the old one")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        PICTURES[kind](path)
    assert path.read_bytes() == b"the old one" and [each.name for each in tmp_path.iterdir()] == ["picture.png"]


def test_a_dollar_sign_is_one_glyph_not_the_end_of_a_formula(tmp_path):
    """Two names that differ in their dollars alone give two pictures; as formulas they would be the same."""
    pictures = []
    for names in (("a", "b"), ("$a$", "$b$")):
        matrix = ConfusionMatrix(2)
        matrix.update(np.array([0, 1], np.uint8), np.array([0, 1], np.uint8))
        figures.save_confusion(tmp_path / "c.png", matrix, names)
        pictures.append((tmp_path / "c.png").read_bytes())
    assert pictures[0] != pictures[1]


@given(ids=st.lists(st.text("ab_/%2F\\:é\n", min_size=1, max_size=300), min_size=2, max_size=2, unique=True))
def test_each_id_has_a_picture_of_its_own(ids):
    names = [figures.picture_name(each) for each in ids]
    assert names[0] != names[1]
    assert all(len(os.fsencode(name)) < 255 and not set(name) & set("/\n") for name in names)


def test_ids_with_folders_become_names_of_files():
    assert figures.picture_name("left/0001") == "left%2F0001.png"
    assert figures.picture_name("left_0001") == "left_0001.png"
