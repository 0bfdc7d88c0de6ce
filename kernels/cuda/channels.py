"""Kernels whose threads own a channel each: how they are laid out, and how their partial sums are added.

A block has ACROSS threads along channels, which read memory side by side, and DOWN along rows; what belongs to a
channel is read once, and no index is divided.
"""

from .arrays import empty
from .device import SIMULATED, Kernel, cuda

ACROSS, DOWN = (2, 2) if SIMULATED else (32, 8)
_MOST = 2 if SIMULATED else 512  # blocks along rows
_ROWS = 2 if SIMULATED else 16  # least rows of a thread


def layout(channels, rows):
    """Grid and block of such a kernel. They follow from the sizes alone, so sums have the same bits everywhere."""
    down = max(1, min(_MOST, rows // (DOWN * _ROWS)))
    return (-(-channels // ACROSS), down), (ACROSS, DOWN)


def sum_parts(partial, shape):
    """(parts, *shape) -> shape, added in order."""
    y = empty(shape, partial.dtype)
    _sum_parts.flat(y.size, y.size, partial.size // y.size, partial, y)
    return y


@Kernel
def _sum_parts(count, parts, partial, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        total = partial[i]
        for part in range(1, parts):
            total += partial[part * count + i]
        y[i] = total
