"""Rows of metrics.jsonl: whatever the file holds, the good ones come out, and nothing else does."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.train.step_rows import StepRows

ROWS = [{"step": step, "epoch": 1, "loss": 1 / step, "lr": 0.1, "seconds": 0.5} for step in range(1, 8)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("rows") / "metrics.jsonl"


def write(path, rows=ROWS):
    path.unlink(missing_ok=True)
    steps = StepRows(path)
    for row in rows:
        steps.add(row)
    return steps


def test_what_is_added_is_read(path):
    steps = write(path)
    assert steps.read() == ROWS and steps.last_step() == 7
    before = path.read_bytes()
    steps.cut(7)
    assert path.read_bytes() == before  # not one character of a good line
    steps.cut(3)
    assert steps.read() == ROWS[:3]
    steps.add(ROWS[3])
    assert steps.read() == ROWS[:4]
    steps.close()


@given(size=st.integers(0, 600))
def test_a_cut_file_has_the_rows_before_the_cut(path, size):
    steps = write(path)
    steps.close()
    data = path.read_bytes()[:size]
    path.write_bytes(data)
    whole = sum(len(json.dumps(row)) <= len(line) for row, line in zip(ROWS, data.split(b"\n"), strict=False))
    assert steps.read() == ROWS[:whole]
    steps.cut(7)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS[:whole]


@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_leave_rows_in_order(path, flips):
    write(path).close()
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(data)
    found = StepRows(path).read()
    steps = [row["step"] for row in found]
    assert steps == sorted(set(steps)) and all(row.keys() >= {"step", "loss", "lr"} for row in found)
    StepRows(path).cut(7)
    assert all(0 < json.loads(line)["step"] <= 7 for line in path.read_text().splitlines())


@given(place=st.integers(0, 10**6))
def test_a_lost_byte_costs_the_row_that_it_was_in(path, place):
    write(path).close()
    data = path.read_bytes()
    place %= len(data)
    path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    row = data[:place].count(b"\n")
    hit = {row + 1, row + 2} if data[place : place + 1] == b"\n" else {row + 1}
    assert {each["step"] for each in StepRows(path).read()} >= set(range(1, 8)) - hit


@pytest.mark.parametrize(
    "line",
    ["", "null", "7", "[]", "{}", "[" * 9000, "1" * 9000, '{"step": 2}', '{"step": "2", "loss": 1, "lr": 1}']
    + [json.dumps({"step": step, "loss": 1.0, "lr": 0.1}) for step in (0, -1, 1.5, True, None, 10**30)]
    + [json.dumps({"step": 2, "loss": loss, "lr": 0.1}) for loss in (float("nan"), float("inf"), "x", None, [1])],
)  # fmt: skip
def test_what_is_no_row_is_passed_over(path, line):
    first, second = (json.dumps(row) for row in (ROWS[0], ROWS[2]))
    path.write_text(f"{first}\n{line}\n{second}\n")
    assert StepRows(path).read() == [ROWS[0], ROWS[2]]


def test_what_is_no_file_has_no_rows(tmp_path):
    assert StepRows(tmp_path / "nothing").read() == []
    assert StepRows(tmp_path).read() == []
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert StepRows(tmp_path / "pipe").last_step() == 0
