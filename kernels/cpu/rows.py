"""Loops over rows of channels, the innermost loops of most kernels.

Rows come as slices and are indexed by the loop variable alone. An index computed as offset + c could be negative as far
as the compiler knows, and Numba's test for that would keep the loop scalar.
"""

from .activation import bend, between
from .bfloat16 import wide
from .jit import jit


@jit
def copy_row(source, target):
    """target <- source."""
    for c in range(source.size):
        target[c] = source[c]


@jit
def add_row(out, a):
    """out += a."""
    for c in range(out.size):
        out[c] += a[c]


@jit
def scale_and_shift(row, scale, shift, limits, curve):
    """row <- activation(scale row + shift); limits: (low, high) of the activation."""
    low, high = limits
    for c in range(row.size):
        row[c] = between(row[c] * scale[c] + shift[c], low, high)
    if curve:
        bend(row, curve)


@jit
def scale_shift_and_add(row, scale, shift, residual, limits, curve):
    """row <- activation(scale row + shift + residual); limits: (low, high) of the activation."""
    low, high = limits
    for c in range(row.size):
        row[c] = between(row[c] * scale[c] + shift[c] + wide(residual[c]), low, high)
    if curve:
        bend(row, curve)


@jit
def add_multiple(out, x, b):
    """out += x b for one number x."""
    for c in range(out.size):
        out[c] += x * b[c]


@jit
def add_product(out, a, b):
    """out += a b."""
    for c in range(out.size):
        out[c] += wide(a[c]) * wide(b[c])
