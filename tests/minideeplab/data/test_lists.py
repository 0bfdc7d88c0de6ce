"""Lists: pairs however they are written, paths of other machines, and lists that are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layout_folders import save

from minideeplab.data import open_dataset
from minideeplab.data.lists import read_ids, read_lines, read_pairs
from minideeplab.errors import DataError

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N"), include_characters=" ._-"), min_size=1).map(
    lambda name: f"{name.strip(' .') or 'x'}.png"
)


@given(
    image=NAMES,
    mask=NAMES,
    form=st.sampled_from(["{} {}", "{},{}", "{}, {}", "{}\t{}", '"{}" "{}"', "'{}','{}'", "{} ; {}", "{} {};"]),
)
def test_a_pair_is_read_however_it_is_written(tmp_path_factory, image, mask, form):
    path = tmp_path_factory.getbasetemp() / "list.txt"
    path.write_text(form.format(image, mask) + "\n", encoding="utf-8")
    [(number, *pair)] = read_pairs(path)
    assert number == 1
    if image.lower().count(".png") == mask.lower().count(".png") == 1:  # else there are two ways to read it
        assert pair == [image, mask]


def pairs(root, text, name="list.txt"):
    for stem in ("a", "sub/b c", "d"):
        save(root / f"{stem}.jpg", np.zeros((3, 4, 3), np.uint8))
        save(root / f"truth/{stem}.png", np.ones((3, 4), np.uint8))
    (root / "classes.txt").write_text("no\nyes\n")
    (root / name).write_text(text, encoding="utf-8")
    return root / name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a.jpg truth/a.png", "a"),
        ("sub\\b c.jpg,truth\\sub\\b c.png", "sub/b c"),
        ('"sub/b c.jpg" "truth/sub/b c.png"', "sub/b c"),
        ("/home/else/sub/b c.jpg /home/else/sub/../truth/d.png", "sub/b c"),
        ("D:\\data\\sub\\b c.jpg D:\\data\\truth\\a.png", "sub/b c"),
    ],
)
def test_paths_are_relative_or_of_another_machine(tmp_path, line, name):
    ds = open_dataset(pairs(tmp_path, f"image,mask\n\n{line}\n"), split="all")
    assert ds.ids == (name,)
    assert ds.sample(0)[1].all()


def test_absolute_paths_of_this_machine(tmp_path):
    pairs(tmp_path / "files", "")
    line = f"{tmp_path / 'files/a.jpg'} {tmp_path / 'files/truth/a.png'}\n"
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/list.csv").write_text(line)
    ds = open_dataset(tmp_path / "lists/list.csv", split="all")
    assert (ds.ids, ds.name) == (("files/a",), "list") and ds.sample(0)[1].all()


def test_a_list_without_splits_is_divided_and_nothing_is_written(tmp_path):
    path = pairs(tmp_path, "a.jpg truth/a.png\nsub/b c.jpg truth/sub/b c.png\nd.jpg truth/d.png\n")
    before = sorted(tmp_path.rglob("*"))
    train, val = open_dataset(path), open_dataset(path, split="val")
    assert sorted(train.ids + val.ids) == ["a", "d", "sub/b c"] and len(val) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("asked", ["list.txt", "train.txt"])
def test_lists_beside_it_are_the_other_splits(tmp_path, asked):
    pairs(tmp_path, "a.jpg truth/a.png\n", "train.txt")
    pairs(tmp_path, "d.jpg truth/d.png\n", "val.txt")
    pairs(tmp_path, "a.jpg truth/a.png\nd.jpg truth/d.png\n")
    assert [open_dataset(tmp_path / asked, split=split).ids for split in ("train", "val")] == [("a",), ("d",)]


def test_train_alone_is_not_divided_unasked(tmp_path):
    path = pairs(tmp_path, "a.jpg truth/a.png\nd.jpg truth/d.png\n", "train.txt")
    assert len(open_dataset(path)) == 2
    with pytest.raises(DataError, match=r"no such split: 'val'; .*here are: train; --val-share 0\.2 holds out 20 %"):
        open_dataset(path, split="val")
    assert len(open_dataset(path, split="val", val_share=0.5)) == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a.jpg truth/a.png\nno pair\n", r"list\.txt, line 2: 'no pair' is not a pair; write the image's file"),
        ("a.jpg\n", r"line 1: 'a\.jpg' is not a pair"),
        ("a.jpg truth/a.png\na.jpg truth/d.png\n", "line 2: id 'a' is on line 1 already"),
        ("", "no line names an image and a mask"),
        ("heading\n", "no line names an image and a mask"),
        ("a.jpg " * 5000, "line 1: 29999 characters, which no list has"),
        ("a.jpg\x00 b.png", "line 1: control characters"),
    ],
)
def test_bad_lists(tmp_path, text, match):
    with pytest.raises(DataError, match=match):
        open_dataset(pairs(tmp_path, text.strip(" ")), split="all")


def test_files_that_are_missing_are_listed_at_once(tmp_path):
    path = pairs(tmp_path, f"a.jpg truth/x.png\nd.jpg truth/a.png\ny.jpg truth/d.png\n{'z' * 300}.jpg truth/z.png\n")
    with pytest.raises(DataError, match=r"(?s)3 of 4 samples.*x\.png: no such file.*y\.jpg: no such file"):
        open_dataset(path, split="all").check()


@given(data=st.binary(max_size=200))
def test_bytes_are_lines_or_a_data_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.txt"
    path.write_bytes(data)
    for read in (read_lines, read_ids, read_pairs):
        try:
            assert read(path) is not None
        except DataError as error:
            assert str(path) in str(error)


def test_a_list_is_an_ordinary_file_of_some_size(tmp_path):
    with pytest.raises(DataError, match="not an ordinary file"):
        read_lines(tmp_path)
    with pytest.raises(DataError, match="no such file; check the path"):
        read_lines(tmp_path / "x")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(50_000_001)
    with pytest.raises(DataError, match="50000001 bytes, more than the 50,000,000 of any list"):
        read_lines(tmp_path / "large")
