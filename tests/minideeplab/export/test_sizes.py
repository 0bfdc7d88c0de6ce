"""Whole numbers that remember how they were computed."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.export.sizes import Side, Size, at, structure

SIDES = (Side(0, 1), Side(0, 2))
OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
numbers = st.integers(-9, 9)
divisors = numbers.filter(bool)
plans = st.recursive(
    st.sampled_from(SIDES) | numbers,
    lambda inner: (
        st.tuples(st.sampled_from("+-*"), inner, inner) | st.tuples(st.sampled_from(("//", "%")), inner, divisors)
    ),
    max_leaves=6,
)


def computed(plan, number_of):
    """What Python makes of a plan: a side, a number, or an operation on two plans."""
    if isinstance(plan, Side):
        return number_of[plan]
    if isinstance(plan, int):
        return plan
    operation, a, b = plan
    return OPERATIONS[operation](computed(a, number_of), computed(b, number_of))


@given(plans, st.integers(1, 99), st.integers(1, 99))
def test_a_size_at_other_sides_is_what_python_computes_there(plan, height, width):
    here, there = (dict(zip(SIDES, pair, strict=True)) for pair in ((64, 33), (height, width)))
    size = computed(plan, {side: Size(number, side) for side, number in here.items()})
    assert size == computed(plan, here)
    assert at(size, there.get) == computed(plan, there)


@pytest.mark.parametrize(("a", "b"), [(-7, 2), (7, 2), (-8, 4), (5, 16), (-1, 16)])
def test_division_is_that_of_python_below_zero_too(a, b):
    size = Size(100, Side(0, 1)) - 100
    assert at((size + a) // b, {Side(0, 1): 100}.get) == a // b
    assert at(-(size - a) % b, {Side(0, 1): 100}.get) == a % b


def test_what_is_not_whole_is_a_plain_number():
    size = Size(65, Side(0, 1))
    for plain in (size * 0.5, int(size), size > 3, round(size / 2)):
        assert not hasattr(plain, "how")


def test_equal_numbers_are_told_apart_by_their_structure():
    a, b = Size(65, Side(0, 1)), Size(65, Side(0, 2))
    assert a == b and structure(a) != structure(b) != structure(65)
    assert structure(a + 1) == structure(Size(65, Side(0, 1)) + 1) != structure(a + 2)
