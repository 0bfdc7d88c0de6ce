"""The two bounds of this GPU, as kernels: fused multiply-adds without memory, and memory without arithmetic."""

import numpy as np

from .arrays import empty
from .device import SIMULATED, THREADS, Kernel, cuda

_BLOCKS, _STEPS = (2, 8) if SIMULATED else (2112, 1024)
_CHAINS = 8  # independent sums of a thread: they hide the latency of each other


def run_tiles(loops):
    """Run chains of float32 multiply-adds in all threads; returns the floating-point operations done."""
    result = empty((_BLOCKS * THREADS,), np.float32)
    _run_chains(_BLOCKS, THREADS, loops * _STEPS, np.float32(0.5), np.float32(1e-3), result)
    return 2 * _CHAINS * _STEPS * loops * _BLOCKS * THREADS


def copy(source, target):
    """target <- source."""
    _copy.flat(source.size, source.size, source, target)


@Kernel
def _run_chains(steps, a, b, result):
    # different numbers: the compiler would merge equal chains
    x0, x1, x2, x3, x4, x5, x6, x7 = a, b, a * a, a * b, b * b, a + b, a - b, b - a
    for _ in range(steps):
        x0, x1, x2, x3 = x0 * a + b, x1 * a + b, x2 * a + b, x3 * a + b
        x4, x5, x6, x7 = x4 * a + b, x5 * a + b, x6 * a + b, x7 * a + b
    result[cuda.grid(1)] = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7


@Kernel
def _copy(count, source, target):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        target[i] = source[i]
