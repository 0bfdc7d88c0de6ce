"""Predictions in the forms that servers take."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minideeplab.data import voc_colour_map
from minideeplab.evaluation.submission import Submission

LABELS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def dataset(name, ids, **more):
    return SimpleNamespace(name=name, split="test", ids=ids, palette=voc_colour_map(), **more)


def test_voc_has_its_folders_and_palette(tmp_path):
    path = Submission(tmp_path, dataset("voc", ("2008_000001", "2008_000002"))).write(1, LABELS)
    assert path == tmp_path / "results/VOC2012/Segmentation/comp6_test_cls/2008_000002.png"
    with Image.open(path) as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), LABELS)
        np.testing.assert_array_equal(np.reshape(mask.getpalette(), (256, 3)), voc_colour_map())


@pytest.mark.parametrize(("name", "stored"), [("cityscapes", {0: 7, 1: 8, 2: 11}), ("ade20k", {0: 1, 1: 2, 2: 3})])
def test_labels_are_stored_under_the_numbers_of_the_set(tmp_path, name, stored):
    ids = ("frankfurt/frankfurt_000000_000294", "munster/munster_000000_000019")
    path = Submission(tmp_path, dataset(name, ids, stored_labels=stored)).write(0, LABELS)
    assert path == tmp_path / "frankfurt_000000_000294.png"
    with Image.open(path) as mask:
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.asarray(mask), np.vectorize(stored.get)(LABELS))


def test_equal_names_in_two_folders_stay_apart(tmp_path):
    submission = Submission(tmp_path, dataset("own", ("a/x", "b/x")))
    assert [submission.write(i, LABELS).name for i in (0, 1)] == ["a%2Fx.png", "b%2Fx.png"]


@pytest.mark.parametrize("ids", [("a/b", "x/b", "a_b"), ("a/B", "x/b", "a%2FB")])
def test_each_sample_has_a_file_of_its_own(tmp_path, ids):
    submission = Submission(tmp_path, dataset("own", ids))
    assert len({submission.write(i, LABELS).name.lower() for i in range(3)}) == 3
