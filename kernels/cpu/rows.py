"""Loops over rows of channels, the innermost loops of most kernels.

Rows come as slices and are indexed by the loop variable alone. An index computed as offset + c could be negative as far
as the compiler knows, and Numba's test for that would keep the loop scalar.
"""

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
def scale_and_shift(row, scale, shift, relu):
    """row <- scale row + shift; with `relu` no less than 0."""
    zero = row.dtype.type(0)
    for c in range(row.size):
        v = row[c] * scale[c] + shift[c]
        row[c] = zero if relu and v < zero else v


@jit
def scale_shift_and_add(row, scale, shift, residual, relu):
    """row <- scale row + shift + residual; with `relu` no less than 0."""
    zero = row.dtype.type(0)
    for c in range(row.size):
        v = row[c] * scale[c] + shift[c] + residual[c]
        row[c] = zero if relu and v < zero else v


@jit
def add_multiple(out, x, b):
    """out += x b for one number x."""
    for c in range(out.size):
        out[c] += x * b[c]


@jit
def add_product(out, a, b):
    """out += a b."""
    for c in range(out.size):
        out[c] += a[c] * b[c]
