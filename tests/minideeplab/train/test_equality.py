"""What breaks the equality of a resumed run is named."""

import json
from types import SimpleNamespace

import pytest

from minideeplab.train.equality import data_changes, program_changes, write_data


def dataset(split, ids, classes=("ground", "cat")):
    return SimpleNamespace(split=split, ids=tuple(ids), class_names=tuple(classes))


VAL = dataset("val", "d")


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        (dataset("train", "abc"), VAL, ""),
        (dataset("train", "abce"), VAL, "split 'train' had 3 images, and has 4: 1 new (e)"),
        (dataset("train", "xbyzuv"), VAL, "had 3 images, and has 6: 2 gone (a, c), 5 new (u, v, x, ...)"),
        (dataset("train", "cba"), VAL, "split 'train' has its images in another order"),
        (dataset("train", "abc"), dataset("val", "e"), "'val' had 1 images, and has 1: 1 gone (d), 1 new (e)"),
        (dataset("train", "abc", ["ground", "dog"]), VAL, "label 1 was 'cat', and is 'dog'"),
        (dataset("train", "abc", "gcd"), VAL, "there were 2 classes, and are 3"),
    ],
)
def test_changed_data_are_named(tmp_path, train, val, said):
    path = tmp_path / "data.json"
    write_data(path, dataset("train", "abc"), VAL)
    changes = data_changes(path, train, val)
    assert said in changes and bool(said) == bool(changes)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b"\xff", b'{"splits": 3}', b'{"splits": [3, {"ids": 4}], "classes": 5}', b"[" * 10**5]
    + [b'{"splits": [{"ids": [1]}], "classes": [[], 1]}'],
)  # fmt: skip
def test_a_damaged_list_says_nothing_or_what_is_so(tmp_path, content):
    path = tmp_path / "data.json"
    if content is not None:
        path.write_bytes(content)
    assert data_changes(path, dataset("train", "abc"), VAL) in ("", "label 0 was '[]', and is 'ground'")


def test_another_device_and_other_versions_are_named(tmp_path):
    path = tmp_path / "args.json"
    path.write_text(json.dumps({"versions": {"numpy": "1.0", "numba": "9", "python": 3}}))
    began, now = {"device": "cpu", "precision": "float32"}, {"device": "cuda", "precision": "float32"}
    versions = {"python": "3.11", "numpy": "2.0", "numba": "9"}
    expected = ["--device cuda (began with cpu)", "numpy 2.0 (began with 1.0)"]
    assert program_changes(path, began, now, versions) == expected
    assert program_changes(tmp_path / "nothing", began, began, versions) == []
