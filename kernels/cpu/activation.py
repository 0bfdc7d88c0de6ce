"""Activations of single numbers and rows, for kernels to call; formulas in `kernels/activation.py`.

A kernel gets (low, high) and whether it is hardswish. Keeping v between two numbers is none, relu or relu6, in one loop
without a branch. Hardswish has a loop of its own.
"""

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


@jit
def hardswish_row(row):
    """row <- hardswish(row)."""
    for c in range(row.size):
        row[c] = hardswish(row[c])
