"""Cutting work into parts: the same for any number of threads, so that sums of parts have the same bits.

A part of a flat array is taken as a slice and indexed by the loop variable alone: a range that starts at a computed
number could be negative as far as the compiler knows, and Numba's test for that would keep the loop scalar.
"""

import numpy as np

from .jit import jit

PARTS = 64


@jit
def bounds(part, parts, size):
    """First and last element of one part of `size`."""
    part = np.int64(part)
    return part * size // parts, (part + 1) * size // parts
