"""The two bounds of this machine, as kernels: fused multiply-adds without memory, and memory without arithmetic."""

import numpy as np
from numba import get_num_threads

from .arrays import full, zeros
from .jit import jit_parallel
from .parts import PARTS, bounds
from .rows import copy_row
from .tile import ROWS, columns, tile

_LENGTH = 128  # steps of k: both operands fit the first-level cache


def run_tiles(loops):
    """Run the float32 register tile `loops` times on each thread; returns the floating-point operations done."""
    width = columns(np.float32)
    threads = get_num_threads()
    # every array starts at a cache line, as in a convolution: the tile's rows are whole lines
    a, b = full((ROWS * (_LENGTH + 16),), 1), full((_LENGTH * width,), 1)
    _run_tiles(threads, loops, width, a, b, zeros((threads, ROWS * width)))
    return 2 * ROWS * width * _LENGTH * loops * threads


def copy(source, target):
    """target <- source, all threads."""
    _copy(PARTS, source, target)


@jit_parallel
def _run_tiles(thread, loops, width, a, b, results):
    rows, c_rows = np.arange(ROWS) * (_LENGTH + 16), np.arange(ROWS) * width
    zero, length = np.zeros(1, np.int64), np.full(1, _LENGTH)
    for _ in range(loops):
        tile(a, rows, zero, 1, b, zero, width, length, results[thread], c_rows, width, True, (0, 0, 0))


@jit_parallel
def _copy(part, source, target):
    first, last = bounds(part, PARTS, source.size)
    copy_row(source[first:last], target[first:last])
