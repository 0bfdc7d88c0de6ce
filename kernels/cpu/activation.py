"""Activations of single numbers and rows, for kernels to call; formulas in `kernels/activation.py`.

A kernel gets (low, high) and the curve. Keeping v between two numbers is none, relu or relu6, in one loop without a
branch. A curve has a loop of its own.
"""

from ..activation import HARDSIGMOID, HARDSWISH
from .exponential import exponentiate
from .jit import jit, jit_inline


@jit_inline
def between(v, low, high):
    """v, but no less than low and no more than high; NaN stays NaN."""
    v = low if v < low else v
    return high if v > high else v


@jit_inline
def hardswish(v):
    """v relu6(v + 3) / 6 in three pieces: finite for every finite v, 0 at -infinity."""
    three, six = type(v)(3), type(v)(6)
    inner = between(v, -three, three)
    inner = inner * (inner + three) / six
    return type(v)(0) if v <= -three else (v if v >= three else inner)


@jit_inline
def hardswish_slope(v):
    """The derivative of hardswish: (2 v + 3) / 6 between -3 and 3."""
    three, six = type(v)(3), type(v)(6)
    inner = between(v, -three, three)
    inner = (inner + inner + three) / six
    return type(v)(0) if v <= -three else (type(v)(1) if v >= three else inner)


@jit_inline
def hardsigmoid(v):
    """relu6(v + 3) / 6."""
    three, six = type(v)(3), type(v)(6)
    return (between(v, -three, three) + three) / six


@jit_inline
def hardsigmoid_slope(v):
    """The derivative of hardsigmoid: 1/6 between -3 and 3."""
    three, one, six = type(v)(3), type(v)(1), type(v)(6)
    return one / six if (v > -three) & (v < three) else type(v)(0)


@jit
def sigmoid_row(row):
    """row <- 1 / (1 + exp(-row)); exp is `exponentiate`, so that it is never 0."""
    one = row.dtype.type(1)
    for c in range(row.size):
        row[c] = -row[c]
    exponentiate(row)
    for c in range(row.size):
        row[c] = one / (one + row[c])


@jit
def bend(row, curve):
    """row <- the curve of that number of row."""
    if curve == HARDSWISH:
        for c in range(row.size):
            row[c] = hardswish(row[c])
    elif curve == HARDSIGMOID:
        for c in range(row.size):
            row[c] = hardsigmoid(row[c])
    else:
        sigmoid_row(row)


@jit
def bend_slope(row, curve):
    """row <- the derivative of that gate at row."""
    if curve == HARDSIGMOID:
        for c in range(row.size):
            row[c] = hardsigmoid_slope(row[c])
    else:
        sigmoid_row(row)
        for c in range(row.size):
            row[c] *= row.dtype.type(1) - row[c]
