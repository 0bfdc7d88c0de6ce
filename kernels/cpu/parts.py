"""Cutting work into parts: the same for any number of threads, so that sums of parts have the same bits."""

import numpy as np

from .jit import jit

PARTS = 64


@jit
def bounds(part, parts, size):
    """First and last element of one part of `size`."""
    part = np.int64(part)
    return part * size // parts, (part + 1) * size // parts
