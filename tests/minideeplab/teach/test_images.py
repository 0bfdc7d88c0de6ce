"""Photographs and samples to teach with."""

import numpy as np
import pytest
from PIL import Image
from scenes import scene, write_scenes

from minideeplab.data.synthetic import TRAIN, draw_sample
from minideeplab.errors import UsageError
from minideeplab.teach import classes, coloured, images, photograph, sample


@pytest.fixture(autouse=True)
def no_photographs(monkeypatch):
    monkeypatch.delenv(images.FOLDER, raising=False)


@pytest.mark.parametrize("height", [64, 320])
def test_the_photograph_has_the_height_that_is_asked_for(height):
    picture = photograph(height)
    assert picture.dtype == np.uint8 and picture.shape[0] == height and picture.shape[2] == 3
    assert abs(picture.shape[1] / height - 512 / 600) < 0.02  # as wide as the original
    assert picture.std() > 30


def test_photographs_of_ones_own(tmp_path, monkeypatch):
    write_scenes(tmp_path, train=[scene(0)], val=[scene(1), scene(2)])
    monkeypatch.setenv(images.FOLDER, str(tmp_path))
    picture = photograph(24, index=1)
    wanted = Image.fromarray(scene(2)[0]).resize(picture.shape[1::-1], Image.Resampling.LANCZOS)
    assert picture.shape[0] == 24 and np.abs(picture - np.asarray(wanted, float)).mean() < 12  # it may lie as a JPEG
    with pytest.raises(UsageError, match="image 2 was asked for, there are 2; unset MINIDEEPLAB_PHOTOGRAPHS"):
        photograph(24, index=2)


def test_a_photograph_or_a_folder_of_them(tmp_path, monkeypatch):
    for name, value in (("b.png", 200), ("a.png", 100)):
        Image.new("RGB", (30, 20), (value,) * 3).save(tmp_path / name)
    monkeypatch.setenv(images.FOLDER, str(tmp_path / "b.png"))
    assert photograph(20).shape == (20, 30, 3) and photograph(20).max() == 200
    monkeypatch.setenv(images.FOLDER, str(tmp_path))
    assert [photograph(20, index).max() for index in (0, 1)] == [100, 200]


def test_a_path_is_also_looked_for_beside_the_notebooks(tmp_path, monkeypatch):
    (tmp_path / "clone" / "tutorials").mkdir(parents=True)
    monkeypatch.setattr(images, "tutorials", lambda: tmp_path / "clone" / "tutorials")
    Image.new("RGB", (30, 20), (7, 7, 7)).save(tmp_path / "clone" / "mine.png")
    monkeypatch.setenv(images.FOLDER, "mine.png")
    assert photograph(20).max() == 7


@pytest.mark.parametrize("given", ["nowhere", "."])
def test_what_is_no_photograph_names_the_variable(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(images.FOLDER, given)
    with pytest.raises(UsageError, match=rf"^MINIDEEPLAB_PHOTOGRAPHS={given}: .*; unset MINIDEEPLAB_PHOTOGRAPHS"):
        photograph(20)


def test_samples_are_those_of_validation():
    image, labels = sample(3)
    wanted, truth = draw_sample(0, TRAIN + 3)
    np.testing.assert_array_equal(image, wanted)
    np.testing.assert_array_equal(labels, truth)
    assert set(np.unique(labels)) <= {*range(classes().num_classes), classes().ignore_index}


def test_every_class_has_a_name_and_a_colour():
    known = classes()
    assert len(known.class_names) == known.num_classes <= len(known.palette)
    assert len({tuple(colour) for colour in known.palette[: known.num_classes]}) == known.num_classes


def test_classes_and_void_have_colours_that_differ_in_lightness_from_the_ground():
    colours = coloured(np.array([[*range(7), 255]], np.uint8))[0]
    assert len({tuple(colour) for colour in colours.tolist()}) == 8
    light = colours / 255 @ (0.2126, 0.7152, 0.0722)
    assert (light[1:] > light[0] + 0.1).all()
