"""Claims that hold or stop the reader, and answers of which none stops anybody."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.teach import attempt, check
from minideeplab.teach.claims import ATTEMPT, CHECK

numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers, st.floats(0, 1e3))
def test_a_number_holds_within_its_tolerance(value, expected, tolerance):
    if abs(value - expected) <= tolerance:
        assert check("near", value, expected, tolerance) is None
    else:
        with pytest.raises(AssertionError, match="near: found"):
            check("near", value, expected, tolerance)


@pytest.mark.parametrize("value, expected, said", [
    (1 + 1, 2, "check: it: 2"),
    (np.float32(0.5), 0.5, "check: it: 0.5"),
    (np.int64(1234567), 1234567, "check: it: 1,234,567"),
    (True, True, "check: it"),
    (np.bool_(True), True, "check: it"),
    ("road", "road", "check: it: road"),
    (float("inf"), float("inf"), "check: it: inf"),
    (np.arange(4), np.arange(4), "check: it: 0, 1, 2, 3"),
    (np.arange(9), np.arange(9), "check: it: 9 values, the largest difference is 0.0e+00"),
    (np.array(["a", "b"]), ["a", "b"], "check: it: a, b"),
])  # fmt: skip
def test_what_holds_is_shown_with_its_number(value, expected, said, capsys):
    assert check("it", value, expected) is None
    assert capsys.readouterr().out == said + "\n"


@pytest.mark.parametrize("value, expected, tolerance", [
    (3, 2, 0), (2.1, 2, 0.05), (float("nan"), 0.0, 1e9), (float("nan"), float("nan"), 0), (False, True, 0),
    ("road", "sky", 0), ([1, 2, 3], [1, 2, 4], 0), ([1, 2], [1, 2, 3], 0), (np.ones(2), 1, 0),
])  # fmt: skip
def test_what_does_not_hold_says_both_and_what_to_do(value, expected, tolerance):
    with pytest.raises(AssertionError, match=r"^it: .*expected .*Have all cells above run, in order\?"):
        check("it", value, expected, tolerance)


def test_differences_of_bytes_do_not_wrap_around():
    check("near", np.uint8([4]), np.uint8([5]), 1)
    with pytest.raises(AssertionError):
        check("far", np.uint8([0]), np.uint8([255]), 1)


def test_large_whole_numbers_are_compared_exactly():
    with pytest.raises(AssertionError):
        check("exact", np.int64(2**60), np.int64(2**60 + 1))


def double(x):
    return 2 * x


def unfilled(x):
    return ...


def unfilled_in_the_middle(x):
    y = ...
    return [y for _ in range(3)]


def with_an_index(x):
    return np.asarray(x)[..., 0]


def failing(x):
    y = x + "one"
    return y


class Unfilled:
    def act(self):
        return ...


def state(capsys):
    return capsys.readouterr().out.rstrip("\n")


@pytest.mark.parametrize("answer", [..., (1, ...), [double, unfilled], unfilled, unfilled_in_the_middle, Unfilled])
def test_what_is_not_filled_in_is_open_and_not_tried(answer, capsys):
    attempt(2, answer, lambda: pytest.fail("it was tried"))
    assert state(capsys) == "exercise 2: not filled in yet; hint(2) helps"


def test_what_calls_something_that_is_not_filled_in_is_open(capsys):
    attempt(1, double, lambda: unfilled(3) + 1 == 4)
    assert "not filled in yet" in state(capsys)


@pytest.mark.parametrize("claim", [lambda: double(2) == 4, lambda: np.array([True, True]), lambda: np.bool_(True)])
def test_a_right_answer(claim, capsys):
    attempt(1, double, claim)
    assert state(capsys) == "exercise 1: right"


def test_an_index_with_dots_is_filled_in(capsys):
    attempt(1, with_an_index, lambda: with_an_index([[1, 2]])[0] == 1)
    assert state(capsys) == "exercise 1: right"


@pytest.mark.parametrize("result, said", [
    (False, "not yet: hint(1) helps"), ("it is too small", "not yet: it is too small"),
    (np.array([True, False]), "not yet: hint(1) helps"), ("", "not yet: hint(1) helps"),
])  # fmt: skip
def test_a_wrong_answer(result, said, capsys):
    attempt(1, double, lambda: result)
    assert state(capsys) == f"exercise 1: {said}"


def test_an_answer_that_fails_is_told_the_line(capsys):
    attempt(1, failing, lambda: failing(1) == 2)
    said = state(capsys)
    assert said.startswith("exercise 1: not yet: TypeError: ") and said.endswith('in the line  y = x + "one"')


def test_a_failure_outside_the_answer_names_no_line(capsys):
    attempt(1, 3, lambda: 1 / 0)
    assert state(capsys) == "exercise 1: not yet: ZeroDivisionError: division by zero"


def test_a_notebook_gets_text_html_and_data(monkeypatch):
    display = pytest.importorskip("IPython.display", reason="IPython belongs to the extra `tutorials`")
    shown = []
    monkeypatch.setattr(display, "display", lambda data, raw: shown.append(data))
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace(kernel=1))
    check("1 < 2", np.float64(0.5), 0.5, 0.1)
    attempt(1, ..., lambda: True)
    claim, trial = shown
    assert claim["text/plain"] == "check: 1 < 2: 0.5" and "1 &lt; 2" in claim["text/html"]
    assert claim[CHECK] == {"claim": "1 < 2", "value": 0.5, "tolerance": 0.1}
    assert type(claim[CHECK]["value"]) is float
    assert trial[ATTEMPT] == {"number": 1, "state": "open"}


def test_a_function_without_return_is_told_so(capsys):
    def forgets(x):
        x + 1

    attempt(1, forgets, lambda: abs(forgets(1) - 2) < 1e-9)
    assert "your function gives None: is `return` missing?" in capsys.readouterr().out
