"""Splits that are drawn: the same in every process, in any order of files, and written down."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layout_folders import save
from places import ROOT
from voc_folder import list_ids, make_set

from minideeplab.data import open_dataset
from minideeplab.data.splits import hold_out
from minideeplab.errors import DataError

IDS = st.lists(st.text("abc/ _é", min_size=1), min_size=2, max_size=30, unique=True)


@given(ids=IDS, share=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_a_split_is_a_partition_that_order_does_not_change(ids, share, seed):
    parts = hold_out(ids, share)
    assert sorted(parts["train"] + parts["val"]) == sorted(ids) and all(parts.values())
    assert abs(len(parts["val"]) - share * len(ids)) <= 1
    assert hold_out(np.random.default_rng(seed).permutation(ids).tolist(), share) == parts


@given(ids=IDS, new=st.text("xyz", min_size=1))
def test_a_new_image_moves_at_most_one_other(ids, new):
    before, after = hold_out(ids, 0.2), hold_out([*ids, new], 0.2)
    assert len({*before["val"]} ^ ({*after["val"]} - {new})) <= 1


def plain(root, count=10):
    for number in range(count):
        save(root / f"images/{number}.png", np.zeros((3, 4, 3), np.uint8))
        save(root / f"masks/{number}.png", np.full((3, 4), number % 2, np.uint8))
    (root / "classes.txt").write_text("no\nyes\n")
    return root


def test_the_split_is_written_down_and_said_and_taken_from_then_on(tmp_path):
    root = plain(tmp_path)
    train = open_dataset(root)
    assert len(train) == 8 and train.split == "train"
    assert "no split 'val', so 2 of 10 images are held out" in train.notes[0]
    assert f"written to {root / 'splits'} (train.txt and val.txt)" in train.notes[0]
    val = open_dataset(root, split="val")
    assert val.notes == () and sorted(train.ids + val.ids) == [str(number) for number in range(10)]
    save(root / "images/10.png", np.zeros((3, 4, 3), np.uint8))
    save(root / "masks/10.png", np.zeros((3, 4), np.uint8))
    assert open_dataset(root).ids == train.ids  # a new image joins when the files say so
    (root / "splits/train.txt").write_text("1\n2\n")
    assert open_dataset(root).ids == ("1", "2")


def test_another_share(tmp_path):
    root = plain(tmp_path)
    assert len(open_dataset(root, split="val", val_share=0.5)) == 5 == len(open_dataset(root))
    assert open_dataset(root, val_share=0.5).notes == ()
    ds = open_dataset(root, val_share=0.2)
    assert len(ds) == 5 and "--val-share has no effect, as 'train' and 'val' are there" in ds.notes[0]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("minideeplab.data.splits.write_text", refuse)
    root = plain(tmp_path)
    train, val = open_dataset(root), open_dataset(root, split="val")
    assert train.notes == val.notes and "not written down, as" in train.notes[0]
    assert sorted(train.ids + val.ids) == [str(number) for number in range(10)]


def test_two_processes_draw_the_same(tmp_path):
    """Hashes of strings differ from process to process: none of them may decide."""
    code = "import sys; from minideeplab.data.splits import hold_out; print(hold_out(sys.argv[1:], 0.3)['val'])"
    ids = [f"photo {number}" for number in range(20)]
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, *order], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed, order in (("1", ids), ("2", ids[::-1]))
    ]  # fmt: skip
    assert printed[0] == printed[1] == f"{hold_out(ids, 0.3)['val']}\n"


def test_one_image_cannot_be_divided(tmp_path):
    with pytest.raises(
        DataError, match=r"1 image, and a part of it cannot be held out.*both splits/train\.txt and val"
    ):
        open_dataset(plain(tmp_path, 1))


def test_voc_without_val_holds_out_on_request_alone(tmp_path):
    root = make_set(tmp_path, ids="abcdefghij")
    assert len(open_dataset(root)) == 10
    with pytest.raises(DataError, match=r"--val-share 0\.2 holds 20 % of train\.txt out"):
        open_dataset(root, split="val")
    train, val = (open_dataset(root, split=split, val_share=0.3) for split in ("train", "val"))
    assert (len(train), len(val)) == (7, 3) and not set(train.ids) & set(val.ids)
    assert "3 of 10 images are held out" in val.notes[0]
    assert not (root / "ImageSets/Segmentation/val.txt").exists()  # train.txt would have to change, too
    list_ids(root, "a", split="val")
    assert open_dataset(root, split="val", val_share=0.3).ids == ("a",)


@pytest.mark.parametrize(
    ("name", "whole"), [("default", True), ("trainval", True), ("trainaug", False), ("test", False)]
)
def test_a_split_that_is_said_to_be_a_part_is_not_divided(tmp_path, name, whole):
    root = make_set(tmp_path, ids="abcde", splits=(name,))
    if whole:
        assert len(open_dataset(root)) == 4 and len(open_dataset(root, split="val")) == 1
    else:
        with pytest.raises(DataError, match=rf"train\.txt: no such split file; the splits here are: {name}"):
            open_dataset(root)


def test_all_is_everything_of_a_set_without_splits(tmp_path):
    assert len(open_dataset(plain(tmp_path / "new"), split="all")) == 10
    list_ids(make_set(tmp_path / "default", ids="abc", splits=()), "a", "c", split="default")
    assert open_dataset(tmp_path / "default", split="default").ids == ("a", "c")
    assert open_dataset(tmp_path / "default", split="all").ids == ("a", "b", "c")
    assert len(open_dataset(tmp_path / "new")) == 8 and len(open_dataset(tmp_path / "new", split="all")) == 10
