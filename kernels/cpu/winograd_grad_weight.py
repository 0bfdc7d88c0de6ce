"""Weight gradient of 3x3 convolutions of stride 1 with fewer multiplications, by squares of positions.

    grad_w = G^T [sum over squares of (B^T x B) * (A g A^T)] G     the adjoint of winograd.py's equation in w

A chunk of squares is taken to the points first. Then the sums, (C, squares) @ (squares, K) at each point, are made for
one part of the weights after the other: those of all points stay in a second-level cache until they are weights.
"""

from functools import lru_cache
from itertools import product

import numpy as np
from numba import get_num_threads

from .arrays import empty
from .jit import jit_parallel
from .parts import PARTS, bounds
from .rows import add_row, copy_row
from .squares import grad_to_points, origin, to_points, weights_from_points
from .tile import ROWS, TILE_BYTES, columns, tile
from .winograd_plan import TAPS, origins

_LINE = 64  # bytes of a cache line
_CHUNK = 32 << 20  # bytes of a chunk of squares at all points
_SUMS = 1 << 20  # bytes of sums of a part of the weights
_SQUARES = 256  # in a tile's sum, at most: sums of many are more exact as sums of sums


def grad_weight(x, grad, win, side):
    """`conv2d_grad_weight` by squares, side 2 or 4; channels in whole vectors, arrays contiguous."""
    width, line, n_points = columns(x.dtype), _LINE // x.itemsize, (side + 2) ** 2
    down, across = origins(win.out_h, win.rate_h, side), origins(win.out_w, win.rate_w, side)
    blocks, squares = (-(-win.c_in // width), -(-win.c_out // width)), win.n * len(down) * len(across)
    chunks = -(-squares * n_points * sum(blocks) * width * x.itemsize // _CHUNK)
    most = -(-squares // chunks)
    x_points, grad_points = (empty((n_points, n * most * width + line), x.dtype) for n in blocks)
    parts, tiles = _parts(-(-win.c_in // ROWS), blocks[1], n_points * ROWS * width * x.itemsize, get_num_threads())
    work = empty((get_num_threads(), (n_points + TAPS * TAPS) * (tiles * ROWS * width + line)), x.dtype)
    place = (win.pad_top, win.pad_left), (win.rate_h, win.rate_w)
    grad_w = empty(win.w_shape, x.dtype)
    for start in range(0, squares, most):
        chunk = start, min(most, squares - start), most
        _both_to_points(PARTS, x, grad, side, down, across, place, chunk, x_points, grad_points)
        _sum_at_points(len(work), x_points, grad_points, grad_w, side, chunk, parts, work)
    return grad_w


@lru_cache(maxsize=512)
def _parts(tiles, blocks, tile_bytes, threads):
    """Parts of the weights: (P, 4) first and last tile of c, first and last block of k; and tiles in the largest.

    Every sum has the same order in any cut, so the number of threads may choose it.
    """

    def cost(parts):
        c_size, k_size = -(-tiles // parts[0]), -(-blocks // parts[1])
        busiest = -(-parts[0] * parts[1] // threads) * c_size * k_size
        too_large = max(1.0, c_size * k_size * tile_bytes / _SUMS)
        return too_large * busiest * (1 + 0.1 / c_size + 0.1 / k_size)  # a small part reads more for its sums

    c_parts, k_parts = min(product(range(1, tiles + 1), range(1, blocks + 1)), key=cost)
    parts = [
        (i * tiles // c_parts, (i + 1) * tiles // c_parts, j * blocks // k_parts, (j + 1) * blocks // k_parts)
        for i in range(c_parts)
        for j in range(k_parts)
    ]
    return np.array(parts, np.int64), -(-tiles // c_parts) * -(-blocks // k_parts)


@jit_parallel
def _both_to_points(part, x, grad, side, down, across, place, chunk, x_points, grad_points):
    """A chunk's squares at all points, in the order of tiles: [point][block of channels][square][channel]."""
    (start, count, most), ((top, left), rates) = chunk, place
    width, x_slot, grad_slot = TILE_BYTES // x.itemsize, x_points.shape[1], grad_points.shape[1]
    x_memory, grad_memory = x_points.reshape(-1), grad_points.reshape(-1)
    first, last = bounds(part, PARTS, count)
    patch = np.empty(len(x_points) * width, x.dtype)
    for c in range(0, x.shape[3], width):
        channels = c, min(width, x.shape[3] - c)
        for i in range(first, last):
            n, p, q = origin(start + i, down, across)
            to = c * most + i * width
            to_points(x, (n, p - top, q - left), rates, side, channels, x_memory, to, x_slot, patch)
    for k in range(0, grad.shape[3], width):
        channels = k, min(width, grad.shape[3] - k)
        for i in range(first, last):
            to = k * most + i * width
            square = origin(start + i, down, across)
            grad_to_points(grad, square, rates, side, channels, grad_memory, to, grad_slot, patch)


@jit_parallel
def _sum_at_points(thread, x_points, grad_points, grad_w, side, chunk, parts, work):
    """grad_w (+)= G^T [sum over a chunk] G: for each part of the weights, some squares, point, block of k: tiles."""
    (start, count, most), (_, _, n_c, n_k) = chunk, grad_w.shape
    n_points, width = len(x_points), TILE_BYTES // grad_w.itemsize
    squares = -(-count // -(-count // _SQUARES))  # in a sum: as few as in the others
    a, b = x_points.reshape(-1), grad_points.reshape(-1)
    memory = work[thread]
    rows, sum_rows = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    at, at_b, length = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64)
    first_part, last_part = bounds(thread, len(work), len(parts))
    for part in range(first_part, last_part):
        first_tile, last_tile, first_block, last_block = parts[part]
        c0, c1 = first_tile * ROWS, min(last_tile * ROWS, n_c)
        k0, k1 = first_block * width, min(last_block * width, n_k)
        pitch = (last_block - first_block) * width
        slot = (c1 - c0) * pitch + _LINE // grad_w.itemsize
        for first in range(0, count, squares):
            length[0] = min(squares, count - first)
            for point in range(n_points):
                at[0] = point * x_points.shape[1] + first * width
                for k in range(k0, k1, width):
                    at_b[0] = point * grad_points.shape[1] + k * most + first * width
                    for tile_c in range(c0, c1, ROWS):
                        for i in range(ROWS):  # the last tile repeats its last channel
                            c = min(tile_c + i, c1 - 1)
                            rows[i] = c // width * width * most + c % width
                            sum_rows[i] = point * slot + (c - c0) * pitch + k - k0
                        tile(
                            a, rows, at, width, b, at_b, width,
                            length, memory, sum_rows, width, False, (0, 0, 0),
                        )  # fmt: skip
            taps = memory[n_points * slot :]
            for c in range(c0, c1):
                weights_from_points(memory, (c - c0) * pitch, slot, side, taps, pitch, pitch)
                for i in range(TAPS):
                    for j in range(TAPS):
                        tap, row = (i * TAPS + j) * pitch, grad_w[i, j, c, k0:k1]
                        if start + first > 0:
                            add_row(row, taps[tap : tap + row.size])
                        else:
                            copy_row(taps[tap : tap + row.size], row)
