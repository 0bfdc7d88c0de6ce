"""Class weights by name and from a file, and the table of their effect."""

import argparse
import re

import numpy as np
import pytest

from minideeplab.data import LabelCounts
from minideeplab.errors import UsageError
from minideeplab.train import class_weights


class Set:
    class_names, num_classes, ignore_index = ("sky", "car", "pole"), 3, 255

    def __init__(self):
        self.counts = LabelCounts(self.class_names, 255)
        self.counts.add(np.array([[0, 0, 0, 0, 0, 0, 1, 1, 2, 255]], np.uint8))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1\n2.5\n\n0\n", [1, 2.5, 0]),
        ("1\r\n2.5\r\n0", [1, 2.5, 0]),
        ('{"car": 2.5, "pole": 0}', [1, 2.5, 0]),
    ],
)
def test_a_file_of_numbers_or_names(tmp_path, content, expected):
    path = tmp_path / "weights"
    path.write_bytes(content.encode())
    choice = class_weights.option(str(path))
    class_weights.check(choice, Set.class_names)
    weights = class_weights.weights_of(choice, Set())
    assert weights.dtype == np.float32 and weights.tolist() == expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("1\ntwo\n3", "could not convert string to float: 'two'"),
        ("1\n-2\n3", "weights must be 0 or more, finite, and not all 0"),
        ("1\nnan\n3", "weights must be 0 or more"),
        ("0\n0\n0", "not all 0"),
        ("", "not all 0"),
        ('{"car": "much"}', "a weight is not a number"),
        ('{"car": true}', "a weight is not a number"),
        ('{"car": ' + "1" + "0" * 400 + "}", "int too large to convert to float|Exceeds the limit"),
        ('{"car": 1', "Expecting"),
        ('{"a":' * 100_000, "RecursionError|recursion|Expecting"),
        (b"\xff\xfe", "can't decode"),
        ("1\n" * 600_000, "it has more than 1000000 bytes"),
    ],
)
def test_a_file_that_is_none_is_named_with_what_is_expected(tmp_path, content, why):
    path = tmp_path / "weights"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(argparse.ArgumentTypeError, match=rf"^{re.escape(str(path))}: .*({why})"):
        class_weights.option(str(path))


def test_a_name_that_is_neither_weights_nor_a_file(tmp_path):
    with pytest.raises(argparse.ArgumentTypeError, match="medain: neither one of none, median, root, nor a file"):
        class_weights.option("medain")
    with pytest.raises(argparse.ArgumentTypeError, match="nor a file that can be read"):
        class_weights.option(str(tmp_path))


def test_weights_of_other_classes_are_refused():
    with pytest.raises(UsageError, match="the file names a class 'bus', the data set has sky, car, pole"):
        class_weights.check('{"bus": 1.0}', Set.class_names)
    with pytest.raises(UsageError, match="the file has 2 numbers, the data set has 3 classes: sky, car, pole"):
        class_weights.check("[1.0, 2.0]", Set.class_names)


def test_the_table_has_shares_of_pixels_and_of_the_loss():
    """6, 2 and 1 pixels of weight 1, 3 and 0: 6 and 6 of 12 parts of the loss."""
    rows = class_weights.table(np.array([1, 3, 0], np.float32), Set()).splitlines()
    assert [row.split() for row in rows] == [
        ["class", "pixels", "%", "weight", "loss", "%"],
        ["sky", "66.67", "1", "50.00"],
        ["car", "22.22", "3", "50.00"],
        ["pole", "11.11", "0", "0.00"],
    ]
    assert len({len(row) for row in rows}) == 1
