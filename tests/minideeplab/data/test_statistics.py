"""The count of labels, the sentences that follow from it, and the weights of classes."""

import dataclasses

import numpy as np
import pytest
from layout_folders import LAYOUTS
from voc_folder import list_ids, make_set

from minideeplab.data import decoder, label_warnings, median_frequency_weights, open_dataset, require_labels
from minideeplab.data.statistics import shared_images
from minideeplab.errors import DataError

MASKS = [[[0, 0, 0, 1]], [[0, 255, 2, 2]]]


def opened(folder, masks, classes, split="train"):
    return open_dataset(make_set(folder, [f"m{i}" for i in range(len(masks))], classes, masks=masks), split=split)


def test_counts(tmp_path):
    counts = opened(tmp_path / "s", MASKS, ("a", "b", "c", "d")).check()
    assert counts.pixels[[0, 1, 2, 3, 255]].tolist() == [4, 1, 2, 0, 1] and counts.pixels.sum() == 8
    assert counts.masks[[0, 1, 2, 3, 255]].tolist() == [2, 1, 1, 0, 1]
    assert counts.pixels_around[[0, 1, 2, 3]].tolist() == [7, 4, 3, 0]
    assert counts.sizes == [(1, 4), (1, 4)]
    assert (counts.labelled, counts.void_share, counts.absent) == (7, 1 / 8, [3])


def test_each_mask_is_read_once(tmp_path, monkeypatch):
    ds = opened(tmp_path / "s", MASKS, ("a", "b", "c", "d"))
    ds.check()
    monkeypatch.setattr(decoder.Image, "open", None)  # no file can be read from here on
    require_labels(ds)
    assert len(label_warnings(ds)) == 1
    median_frequency_weights(ds)


def test_median_frequency_weights(tmp_path):
    frequency = np.array([4 / 7, 1 / 4, 2 / 3])  # class 3 is absent: no part in the median, weight 1
    weights = median_frequency_weights(opened(tmp_path / "s", MASKS, ("a", "b", "c", "d")))
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [*(4 / 7 / frequency), 1], rtol=1e-6)


def test_no_warning_where_each_class_has_a_pixel(tmp_path):
    assert label_warnings(opened(tmp_path / "s", MASKS, ("a", "b", "c"))) == []


def test_absent_classes_are_named_with_the_share_of_void(tmp_path):
    names = ["a", "b", "c", *(f"n{number}" for number in range(22))]
    (sentence,) = label_warnings(opened(tmp_path / "s", MASKS, names))
    assert "split 'train' has no pixel of 22 of 25 classes, which cannot be learnt: 'n0' (3), 'n1' (4)," in sentence
    assert "'n19' (22) and 2 more; 12.5 % of all pixels are void (255). If they should be there" in sentence
    assert "0 and 255" not in sentence


def test_two_classes_stored_as_0_and_255_are_told_apart_by_the_option_of_the_hint(tmp_path):
    ds = opened(tmp_path / "s", [[[0, 255, 255, 0]], [[0, 0, 0, 255]]], ("ground", "thing"))
    (sentence,) = label_warnings(ds)
    assert "'thing' (1); 37.5 % of all pixels are void (255). Was label 1 meant?" in sentence
    assert sentence.endswith("Add --label-map binary, which reads 255 as label 1") and "\n" not in sentence
    repaired = open_dataset(tmp_path / "s", label_map="binary")
    assert label_warnings(repaired) == []
    np.testing.assert_array_equal(repaired.mask(0), [[0, 1, 1, 0]])


def test_a_set_without_a_labelled_pixel_is_refused(tmp_path):
    ds = opened(tmp_path / "s", [[[255, 255]]], ("ground", "thing"))
    with pytest.raises(DataError, match=r"s: no mask of split 'train' has a labelled pixel: all are 255.*0 to 1;"):
        require_labels(ds)
    require_labels(opened(tmp_path / "t", [[[255, 1]]], ("ground", "thing")))


def test_images_are_shared_by_their_files_not_by_their_names(tmp_path):
    """Cityscapes has a folder for each split: a name in both is no image in both. VOC has one for all."""
    made = LAYOUTS["cityscapes"](tmp_path / "city")
    train = open_dataset(made.data, split="train")
    elsewhere = {name: (tmp_path / name, mask) for name, (_, mask) in train.files.items()}
    other = dataclasses.replace(train, split="val", files=elsewhere)
    assert shared_images(train, train) == tuple(sorted(train.ids)) and shared_images(train, other) == ()
    root = make_set(tmp_path / "voc", "abc", splits=())
    list_ids(root, "a", "b")
    list_ids(root, "b", "c", split="val")
    assert shared_images(open_dataset(root), open_dataset(root, split="val")) == ("b",)
