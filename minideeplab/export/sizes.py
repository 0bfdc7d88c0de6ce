"""Heights and widths that know how they follow from others: what a file for images of any size must compute again."""

import operator
from typing import NamedTuple


class Side(NamedTuple):
    """The height (axis 1) or the width (axis 2) of a value of the tape."""

    value: int
    axis: int


class Step(NamedTuple):
    """One operation of whole numbers on two of them: `+`, `-`, `*`, `//` or `%`, as Python rounds."""

    operation: str
    a: int
    b: int


_APPLY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}


def _made_by(operation, swapped=False):
    """The method of that operation: NotImplemented for other types."""

    def method(self, other):
        if not isinstance(other, int):
            return NotImplemented
        a, b = (other, self) if swapped else (self, other)
        return Size(_APPLY[operation](int(a), int(b)), Step(operation, a, b))

    return method


class Size(int):
    """A whole number that follows from the sides of values.

    It is an int with the number of the traced image, so that networks compute with it as with any. What int(), floats
    and comparisons make of it is a plain number: a network that needs these for a size is found by `tape.agree`.

    Attributes:
        how: a `Side` or a `Step`.
    """

    def __new__(cls, number: int, how: Side | Step) -> "Size":
        size = super().__new__(cls, number)
        size.how = how
        return size

    __add__, __radd__ = _made_by("+"), _made_by("+", swapped=True)
    __sub__, __rsub__ = _made_by("-"), _made_by("-", swapped=True)
    __mul__, __rmul__ = _made_by("*"), _made_by("*", swapped=True)
    __floordiv__, __rfloordiv__ = _made_by("//"), _made_by("//", swapped=True)
    __mod__, __rmod__ = _made_by("%"), _made_by("%", swapped=True)

    def __neg__(self) -> "Size":
        return 0 - self


def at(size: int, side_of) -> int:
    """The number of a size where the sides are others: side_of(Side) -> int."""
    match getattr(size, "how", None):
        case None:
            return int(size)
        case Side() as side:
            return side_of(side)
        case Step(operation, a, b):
            return _APPLY[operation](at(a, side_of), at(b, side_of))


def structure(size: int):
    """What tells two sizes apart, as ints of one number do not: nested tuples."""
    match getattr(size, "how", None):
        case None:
            return int(size)
        case Side() as side:
            return ("side", *side)
        case Step(operation, a, b):
            return (operation, structure(a), structure(b))
