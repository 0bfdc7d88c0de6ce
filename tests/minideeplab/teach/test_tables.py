"""Tables as text and as HTML."""

import numpy as np
import pytest

from minideeplab.teach import table


def test_a_table_as_text_is_aligned():
    rows = [["road", 1234567, 0.123456], ["sky <&>", None, np.float32(2)]]
    assert repr(table(rows, ["class", "pixels", "IoU"], "Two classes")).splitlines() == [
        "Two classes",
        "class       pixels     IoU",
        "road     1,234,567  0.1235",
        "sky <&>                  2",
    ]


def test_a_table_as_html_escapes_its_cells():
    text = table([["sky <&>", 5]], ["a", "b"], "c<d")._repr_html_()
    assert "sky &lt;&amp;&gt;</td>" in text and "<caption>c&lt;d</caption>" in text
    assert text.count("<tr>") == 2 and text.count("<th") - text.count("<thead") == 2
    assert "<td style='text-align:left'>sky" in text and "<td style='text-align:right'>5" in text


def test_dicts_bring_their_heads():
    rows = ({"rate": r, "kernel": 2 * r + 1} for r in (1, 2))
    assert repr(table(rows)).split() == ["rate", "kernel", "1", "3", "2", "5"]


@pytest.mark.parametrize("cell, side", [
    ("1.25", "right"), ("1,234", "right"), ("-3 %", "right"), ("0.5 M", "right"), ("2e-05", "right"),
    ("3x3", "left"), ("", "left"), ("road", "left"),
])  # fmt: skip
def test_a_column_of_numbers_stands_at_the_right(cell, side):
    text = table([[1.0, cell]], ["a", "b"])._repr_html_()
    assert f"<th style='text-align:{side}'>b" in text and f"<td style='text-align:{side}'>{cell}<" in text


def test_no_rows():
    assert repr(table([], ["a", "b"])) == "a  b"


@pytest.mark.parametrize("value, text", [
    (True, "True"), (np.bool_(True), "True"), (np.int64(1000), "1,000"), (0.5, "0.5"), (None, ""), ("1", "1"),
])  # fmt: skip
def test_cells(value, text):
    assert repr(table([[value]], ["abcdefgh"])).split("\n")[1].strip() == text


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row has 3 cells, the heads are 2: a, b"):
        table([[1, 2], [1, 2, 3]], ["a", "b"])
