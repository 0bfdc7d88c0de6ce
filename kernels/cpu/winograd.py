"""Dense 3x3 convolutions of stride 1 with fewer multiplications: forward and input gradient by squares of outputs.

    y = A^T [(G w G^T) * (B^T x B)] A     for squares of side^2 outputs, summed over channels inside the brackets

With side 4 a square takes 36 products where its taps take 144, with side 2 16 instead of 36. Inside the brackets stand
(side + 2)^2 matrix products, (squares, C) @ (C, K), which run on the register tile. winograd_plan.py has the matrices
and says where this is faster; winograd_grad_weight.py is the third direction.

A NaN or an infinity among the pixels of a square makes NaN of all its outputs. Finite numbers stay finite up to about
a hundredth of what the direct sum can hold.
"""

import numpy as np
from numba import get_num_threads

from ..activation import curve_of, limits_of
from .arrays import contiguous, empty
from .jit import jit_parallel
from .parts import PARTS, bounds
from .rows import scale_and_shift, scale_shift_and_add
from .squares import origin, to_outputs, to_points, weights_to_points
from .sum_over_channels import pack
from .tile import ROWS, TILE_BYTES, columns, tile
from .winograd_plan import TAPS, origins

_LINE = 64  # bytes; rows and slots are an odd number of lines long, so that the points' do not share a few cache sets
_BLOCK = 5 << 19  # bytes of a thread's squares at all points: about a second-level cache
_LEAST = 3  # tiles of squares in a block, even if they need more: each block reads all weights once


def forward(x, w, win, side, scale=None, shift=None, activation=None, residual=None):
    """`conv2d` by squares of side^2 outputs, side 2 or 4; channels in whole vectors, arrays contiguous.

    Cost:
        (side + 2)^2 C K multiply-adds a square, and (side + 2)^2 / 9 times the memory of the weights.
    """
    place = (win.pad_top, win.pad_left), (win.rate_h, win.rate_w)
    points = _at_points(pack(w), side, 1)
    return _run(x, points, empty(win.y_shape, x.dtype), place, side, scale, shift, activation, residual)


def grad_input(grad, w, win, side):
    """`conv2d_grad_input` by squares: `forward` with the weights turned round and transposed."""
    place = (2 * win.rate_h - win.pad_top, 2 * win.rate_w - win.pad_left), (win.rate_h, win.rate_w)
    points = _at_points(pack(w, transposed=True), side, -1)
    return _run(grad, points, empty(win.x_shape, grad.dtype), place, side)


def _at_points(packed, side, step):
    """Packed weights, (blocks, 9 C, columns), at all points: (points, blocks * C * columns and a cache line)."""
    blocks, _, width = packed.shape
    packed = packed.reshape(blocks, TAPS * TAPS, -1, width)
    points = empty(((side + 2) ** 2, packed[:, 0].size + _LINE // packed.itemsize), packed.dtype)
    _weights_to_points(blocks * PARTS, packed, points, side, step)
    return points


@jit_parallel
def _weights_to_points(job, packed, points, side, step):
    """points[i] = (G w G^T)[i] for every block, channel and column; step -1: with the taps in reverse order."""
    _, taps, channels, width = packed.shape
    source, target, tap, slot = packed.reshape(-1), points.reshape(-1), channels * width, points.shape[1]
    block = job // PARTS
    first, last = bounds(job % PARTS, PARTS, channels)
    at = (block * taps + (0 if step > 0 else taps - 1)) * tap + first * width
    to, n = block * tap + first * width, (last - first) * width
    weights_to_points(source, at, step * TAPS * tap, step * tap, side, target, to, slot, n)


def _run(x, points, y, place, side, scale=None, shift=None, activation=None, residual=None):
    """Fill y with squares, of which each thread has a share; the last step as in `conv2d`."""
    (n, h, w, k), c, line = y.shape, x.shape[3], _LINE // x.itemsize
    down, across = origins(h, place[1][0], side), origins(w, place[1][1], side)
    squares, threads, n_points, width = n * len(down) * len(across), get_num_threads(), len(points), columns(x.dtype)
    pitch = (-(-max(c, -(-k // width) * width) // line) | 1) * line
    tiles = -(-squares // ROWS)
    most = max(_LEAST, _BLOCK // ((n_points + 1) * ROWS * pitch * x.itemsize))
    most = min(most, -(-tiles // threads)) * ROWS
    slot = most * pitch + line
    shares = np.minimum(np.arange(threads + 1) * tiles // threads * ROWS, squares)
    work = empty((threads, (n_points + 1) * slot + n_points * max(c, k)), x.dtype)
    none = np.empty(0, x.dtype)
    if scale is None:
        scale, shift = none, none
    scale, shift, residual = contiguous(scale, shift, none if residual is None else residual)
    _squares(
        len(shares) - 1, x, points, y, side, down, across, place, shares, work, (most, pitch, slot),
        scale, shift, residual.reshape(-1), limits_of(activation, y.dtype), curve_of(activation),
    )  # fmt: skip
    return y


@jit_parallel
def _squares(
    thread, x, points, y, side, down, across, place, shares, work, sizes, scale, shift, residual, limits, curve
):  # fmt: skip
    """for each thread's blocks of squares: to points; for each point, block of columns: tiles; to outputs; last step.

    A thread's memory has a slot for each point and one before them. The sums at point i are written into slot i, from
    which point i - 1 was read, and which therefore is in cache; and memory is half as much.
    """
    (most, pitch, slot), ((top, left), rates) = sizes, place
    n_points, n_channels, (_, height, breadth, n_columns) = len(points), x.shape[3], y.shape
    width = TILE_BYTES // y.itemsize
    b, flat_y = points.reshape(-1), y.reshape(-1)
    memory = work[thread]
    patch = memory[(n_points + 1) * slot :]
    rows, sum_rows = np.empty(most, np.int64), np.empty(most, np.int64)
    at, at_b, length = np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, n_channels)
    last = shares[thread + 1]
    for start in range(shares[thread], last, most):
        count = min(most, last - start)
        tiles = -(-count // ROWS)
        for i in range(count):
            n, p, q = origin(start + i, down, across)
            first = slot + i * pitch
            to_points(x, (n, p - top, q - left), rates, side, (np.int64(0), n_channels), memory, first, slot, patch)
        for i in range(tiles * ROWS):  # past the last square it is repeated
            rows[i] = min(i, count - 1) * pitch
        for point in range(n_points):
            at[0] = (point + 1) * slot
            for block in range(-(-n_columns // width)):
                at_b[0] = point * points.shape[1] + block * n_channels * width
                for i in range(tiles * ROWS):
                    sum_rows[i] = point * slot + rows[i] + block * width
                for t in range(tiles):
                    group = slice(t * ROWS, (t + 1) * ROWS)
                    tile(
                        memory, rows[group], at, 1, b, at_b, width,
                        length, memory, sum_rows[group], width, False, (0, 0, 0),
                    )  # fmt: skip
        for i in range(count):
            n, p, q = origin(start + i, down, across)
            to_outputs(memory, i * pitch, slot, y, (n, p, q), rates, side, patch)
            if scale.size:
                for v in range(p, min(height, p + side * rates[0]), rates[0]):
                    for u in range(q, min(breadth, q + side * rates[1]), rates[1]):
                        first = ((n * height + v) * breadth + u) * n_columns
                        row = flat_y[first : first + n_columns]
                        if residual.size:
                            more = residual[first : first + n_columns]
                            scale_shift_and_add(row, scale, shift, more, limits, curve)
                        else:
                            scale_and_shift(row, scale, shift, limits, curve)
