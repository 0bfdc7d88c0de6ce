"""Dense 3x3 convolutions of stride 1 with fewer multiplications: squares of outputs from products at points.

    y = A^T [(G w G^T) * (B^T x B)] A     for a square of side^2 outputs, summed over channels inside the brackets

A convolution at rate r is one at rate 1 on each of its r x r phases: a square's pixels lie r apart, nothing is copied.
With side 4 a square takes 36 products instead of 144. Inside the brackets stand 36 matrix products, which run on the
register tile. winograd_plan.py has the matrices, and says where this wins.
"""

import itertools
from functools import lru_cache

import numpy as np
from numba import get_num_threads, prange

from ..activation import limits_of
from .arrays import contiguous, empty
from .jit import jit, jit_parallel
from .llvm_transform import transform_intrinsic
from .parts import PARTS, bounds
from .rows import add_row, copy_row, scale_and_shift, scale_shift_and_add
from .sum_over_channels import pack
from .tile import ROWS, TILE_BYTES, VECTOR_BYTES, columns, tile
from .winograd_plan import TAPS, matrices, origins

_LINE = 64
_BLOCK = 3 << 19  # bytes of a thread's block of squares at all points: most of a second-level cache
_SUMS = 1 << 20  # bytes of sums at all points that a thread keeps in cache, in the weight gradient
_SQUARES = 128  # squares in a tile's sum
_CHUNK = 32 << 20  # bytes of a chunk of squares, of x and of the gradient, in the weight gradient


def _transforms(side):
    a, g, b = matrices(side)
    return [transform_intrinsic(m, VECTOR_BYTES) for m in (b, a.T, g, a, g.T)]


_x_of_2, _y_of_2, _w_of_2, _grad_of_2, _grad_w_of_2 = _transforms(2)
_x_of_4, _y_of_4, _w_of_4, _grad_of_4, _grad_w_of_4 = _transforms(4)


def forward(x, w, win, side, scale=None, shift=None, activation=None, residual=None):
    """`conv2d` by squares of side^2 outputs; arguments as there."""
    target = empty(win.y_shape, x.dtype)
    place = (win.rate_h, win.rate_w, win.pad_top, win.pad_left)
    return _run(x, _points_of(pack(w), win.c_in, side, 1), target, place, side, scale, shift, activation, residual)


def grad_input(grad, w, win, side):
    """`conv2d_grad_input` by squares: the convolution of grad with the weights turned round and transposed."""
    target = empty(win.x_shape, grad.dtype)
    place = (win.rate_h, win.rate_w, 2 * win.rate_h - win.pad_top, 2 * win.rate_w - win.pad_left)
    return _run(grad, _points_of(pack(w, transposed=True), win.c_out, side, -1), target, place, side)


def _points_of(packed, channels, side, step):
    """Packed weights, (blocks, 9 channels, columns), at all points: (points, blocks * channels * columns and a line)."""
    blocks, _, width = packed.shape
    line = _LINE // packed.itemsize
    points = empty(((side + 2) ** 2, blocks * channels * width + line), packed.dtype)
    _weights(packed.reshape(blocks, TAPS * TAPS, channels, width), points, side, step)
    return points


@jit_parallel
def _weights(packed, points, side, step):
    """points[p] = (G w G^T)[p] for every block, channel and column; step -1 reads the taps from the last to the first."""
    blocks, taps, channels, width = packed.shape
    source, target, size = packed.reshape(-1), points.reshape(-1), channels * width
    line = points.shape[1]
    for job in prange(blocks * PARTS):
        block = np.int64(job) // PARTS
        first, last = bounds(np.int64(job) % PARTS, PARTS, channels)
        if first < last:
            at = (block * taps + (0 if step > 0 else taps - 1)) * size + first * width
            to, n = block * size + first * width, (last - first) * width
            down, across = step * TAPS * size, step * size
            if side == 4:
                _w_of_4(source, at, down, across, target, to, 6 * line, line, n)
            else:
                _w_of_2(source, at, down, across, target, to, 4 * line, line, n)


def _pitch(channels, itemsize):
    """Elements of a row of channels and padding: an odd number of cache lines, so that rows share no few sets."""
    line = _LINE // itemsize
    return (-(-channels // line) | 1) * line


def _run(source, points, target, place, side, scale=None, shift=None, activation=None, residual=None):
    """Fill target: shares of squares for each thread, blocks of squares in a share."""
    (n, h, w, c), k = target.shape, source.shape[3]
    down, across = origins(h, place[0], side), origins(w, place[1], side)
    squares, threads = n * len(down) * len(across), get_num_threads()
    n_points, width = len(points), columns(source.dtype)
    pitch = _pitch(max(k, -(-c // width) * width), source.itemsize)
    most = min(8, max(2, _BLOCK // ((n_points + 1) * pitch * source.itemsize * ROWS))) * ROWS
    groups = -(-squares // ROWS)
    shares = np.minimum(np.arange(threads + 1) * groups // threads * ROWS, squares)
    most = min(most, -(-groups // threads) * ROWS)
    slot = most * pitch + _LINE // source.itemsize
    work = empty((threads, (n_points + 1) * slot + n_points * max(c, k)), source.dtype)
    none = np.empty(0, source.dtype)
    if scale is None:
        scale, shift = none, none
    scale, shift, residual = contiguous(scale, shift, none if residual is None else residual)
    _squares(
        source, points, target, side, down, across, place, shares, work, most, pitch, slot,
        scale, shift, residual.reshape(-1), limits_of(activation, target.dtype), activation == "hardswish",
    )  # fmt: skip
    return target


@jit_parallel
def _squares(
    source, points, target, side, down, across, place, shares, work, most, pitch, slot,
    scale, shift, residual, limits, is_hardswish,
):  # fmt: skip
    """for each thread's blocks of squares: to points; for each point, block of columns: products; to outputs.

    A thread's memory has a slot for each point and one more. The products of point i are written to slot i, which held
    what was multiplied at point i - 1: memory in cache, and half as much.
    """
    n_points, n_channels, n_columns = points.shape[0], source.shape[3], target.shape[3]
    width = TILE_BYTES // target.itemsize
    n_blocks = -(-n_columns // width)
    b, out, line = points.reshape(-1), target.reshape(-1), points.shape[1]
    rate_h, rate_w, top, left = place
    for thread in prange(shares.size - 1):
        memory = work[np.int64(thread)]
        patch = memory[(n_points + 1) * slot :]
        rows, c_rows = np.empty(most, np.int64), np.empty(most, np.int64)
        zero, length, at_b = np.zeros(1, np.int64), np.full(1, n_channels), np.zeros(1, np.int64)
        last = shares[np.int64(thread) + 1]
        for start in range(shares[np.int64(thread)], last, most):
            count = min(most, last - start)
            for i in range(count):
                n, p, q = _origin(start + i, down, across)
                _to_points(
                    source,
                    n,
                    p - top,
                    q - left,
                    rate_h,
                    rate_w,
                    side,
                    0,
                    n_channels,
                    memory,
                    slot + i * pitch,
                    slot,
                    patch,
                )
            groups = -(-count // ROWS)
            for i in range(groups * ROWS):  # past the last square it is repeated
                rows[i] = min(i, count - 1) * pitch
            for point in range(n_points):
                for block in range(n_blocks):
                    at_b[0] = point * line + block * n_channels * width
                    for i in range(groups * ROWS):
                        c_rows[i] = rows[i] + point * slot + block * width
                    zero[0] = (point + 1) * slot
                    for t in range(groups):
                        group = slice(t * ROWS, (t + 1) * ROWS)
                        tile(
                            memory, rows[group], zero, 1, b, at_b, width,
                            length, memory, c_rows[group], width, False, (0, 0, 0),
                        )  # fmt: skip
            for i in range(count):
                n, p, q = _origin(start + i, down, across)
                _to_outputs(memory, i * pitch, slot, side, target, n, p, q, rate_h, rate_w, patch)
                if scale.size:
                    for u in range(side):
                        for v in range(side):
                            y, x = p + u * rate_h, q + v * rate_w
                            if y < target.shape[1] and x < target.shape[2]:
                                at = ((n * target.shape[1] + y) * target.shape[2] + x) * n_columns
                                row = out[at : at + n_columns]
                                if residual.size:
                                    more = residual[at : at + n_columns]
                                    scale_shift_and_add(row, scale, shift, more, limits, is_hardswish)
                                else:
                                    scale_and_shift(row, scale, shift, limits, is_hardswish)


@jit
def _origin(square, down, across):
    """Image, row and column of a square's first output."""
    n, square = square // (down.size * across.size), square % (down.size * across.size)
    return n, down[square // across.size], across[square % across.size]


@jit
def _to_points(source, n, p, q, rate_h, rate_w, side, first, channels, memory, to, slot, patch):
    """memory[to + i slot + c] = (B^T x B)[i] of the square of pixels from (p, q) on, zero outside the image.

    Of x the channels first, first + 1, ... first + channels - 1.
    """
    pixels, at, down, across = _square(source, n, p, q, rate_h, rate_w, side + 2, first, channels, patch)
    if side == 4:
        _x_of_4(pixels, at, down, across, memory, to, 6 * slot, slot, channels)
    else:
        _x_of_2(pixels, at, down, across, memory, to, 4 * slot, slot, channels)


@jit
def _grad_to_points(grad, n, p, q, rate_h, rate_w, side, first, channels, memory, to, slot, patch):
    """memory[to + i slot + k] = (A g A^T)[i] of the square of gradients from (p, q) on; otherwise as `_to_points`."""
    pixels, at, down, across = _square(grad, n, p, q, rate_h, rate_w, side, first, channels, patch)
    if side == 4:
        _grad_of_4(pixels, at, down, across, memory, to, 6 * slot, slot, channels)
    else:
        _grad_of_2(pixels, at, down, across, memory, to, 4 * slot, slot, channels)


@jit
def _square(image, n, p, q, rate_h, rate_w, size, first, channels, patch):
    """Where some channels of a square of pixels lie: array, start, steps down and across.

    If the image does not have all of its pixels, they are copied to `patch` side by side, those outside as zeros.
    """
    _, height, width, all_channels = image.shape
    if _is_inside(image, p, q, rate_h, rate_w, size):
        at = ((n * height + p) * width + q) * all_channels + first
        return image.reshape(-1), at, rate_h * width * all_channels, rate_w * all_channels
    for i in range(size):
        for j in range(size):
            y, x, to = p + i * rate_h, q + j * rate_w, (i * size + j) * channels
            row = patch[to : to + channels]
            if 0 <= y < height and 0 <= x < width:
                copy_row(image[n, y, x, first : first + channels], row)
            else:
                row[:] = 0
    return patch, 0, size * channels, channels


@jit
def _is_inside(image, p, q, rate_h, rate_w, size):
    """Whether the image has all pixels of a square."""
    down, across = p + (size - 1) * rate_h, q + (size - 1) * rate_w
    return 0 <= p and down < image.shape[1] and 0 <= q and across < image.shape[2]


@jit
def _to_outputs(memory, at, slot, side, target, n, p, q, rate_h, rate_w, patch):
    """The square of outputs from (p, q) on, A^T m A of what memory holds; those outside the image are dropped."""
    _, height, width, channels = target.shape
    inside = _is_inside(target, p, q, rate_h, rate_w, side)
    pixels = target.reshape(-1) if inside else patch
    to = ((n * height + p) * width + q) * channels if inside else 0
    down, across = (rate_h * width * channels, rate_w * channels) if inside else (side * channels, channels)
    if side == 4:
        _y_of_4(memory, at, 6 * slot, slot, pixels, to, down, across, channels)
    else:
        _y_of_2(memory, at, 4 * slot, slot, pixels, to, down, across, channels)
    if not inside:
        for i in range(side):
            for j in range(side):
                y, x, at = p + i * rate_h, q + j * rate_w, (i * side + j) * channels
                if y < height and x < width:
                    copy_row(patch[at : at + channels], target[n, y, x])


def grad_weight(x, grad, win, side):
    """`conv2d_grad_weight` by squares: G^T [sum of (B^T x B) * (A g A^T)] G over all squares, the adjoint of `forward`."""
    c, k, n_points, width, itemsize = win.c_in, win.c_out, (side + 2) ** 2, columns(x.dtype), x.itemsize
    down, across = origins(win.out_h, win.rate_h, side), origins(win.out_w, win.rate_w, side)
    squares, line = win.n * len(down) * len(across), _LINE // itemsize
    x_blocks, grad_blocks = -(-c // width), -(-k // width)
    chunks = -(-squares * n_points * (x_blocks + grad_blocks) * width * itemsize // _CHUNK)
    most = -(-squares // chunks)
    x_points, grad_points = (empty((n_points, n * most * width + line), x.dtype) for n in (x_blocks, grad_blocks))
    threads = get_num_threads()
    jobs, size = _jobs(-(-c // ROWS), grad_blocks, n_points * ROWS * width * itemsize, threads)
    work = empty((threads, (n_points + TAPS * TAPS) * (size * ROWS * width + line)), x.dtype)
    place = (win.rate_h, win.rate_w, win.pad_top, win.pad_left)
    grad_w = empty(win.w_shape, x.dtype)
    for start in range(0, squares, most):
        count = min(most, squares - start)
        _both_to_points(x, grad, side, down, across, place, start, count, most, x_points, grad_points)
        _sum_products(x_points, grad_points, grad_w, side, count, most, start > 0, jobs, work)
    return grad_w


@lru_cache(maxsize=512)
def _jobs(tiles, blocks, tile_bytes, threads):
    """Parts of the weights whose sums fit the cache: ((J, 4) first and last tile of c, block of k; tiles in the largest).

    Every weight's sum has the same order in any cut, so the number of threads may choose it.
    """

    def cost(parts):
        c_size, k_size = -(-tiles // parts[0]), -(-blocks // parts[1])
        busiest = -(-parts[0] * parts[1] // threads) * c_size * k_size
        too_large = max(1.0, c_size * k_size * tile_bytes / _SUMS)
        return too_large * busiest * (1 + 0.1 / c_size + 0.1 / k_size)

    c_parts, k_parts = min(itertools.product(range(1, tiles + 1), range(1, blocks + 1)), key=cost)
    c_cuts, k_cuts = (
        [bounds.py_func(part, parts, n) for part in range(parts)] for parts, n in ((c_parts, tiles), (k_parts, blocks))
    )
    jobs = np.array([(*c_cut, *k_cut) for c_cut in c_cuts for k_cut in k_cuts], np.int64)
    return jobs, -(-tiles // c_parts) * -(-blocks // k_parts)


@jit_parallel
def _both_to_points(x, grad, side, down, across, place, start, count, most, x_points, grad_points):
    """Squares start .. start + count - 1 of x and of grad at all points, in blocks of a tile's columns:

    points[point][block of channels][square][channel], `most` squares in a block.
    """
    rate_h, rate_w, top, left = place
    x_memory, grad_memory = x_points.reshape(-1), grad_points.reshape(-1)
    x_slot, grad_slot, width = x_points.shape[1], grad_points.shape[1], TILE_BYTES // x.itemsize
    n_c, n_k = x.shape[3], grad.shape[3]
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, count)
        patch = np.empty(x_points.shape[0] * width, x.dtype)
        for channel in range(0, n_c, width):
            channels = min(width, n_c - channel)
            for i in range(first, last):
                n, p, q = _origin(start + i, down, across)
                to = channel * most + i * width
                _to_points(
                    x, n, p - top, q - left, rate_h, rate_w, side, channel, channels, x_memory, to, x_slot, patch
                )
        for channel in range(0, n_k, width):
            channels = min(width, n_k - channel)
            for i in range(first, last):
                n, p, q = _origin(start + i, down, across)
                to = channel * most + i * width
                _grad_to_points(
                    grad, n, p, q, rate_h, rate_w, side, channel, channels, grad_memory, to, grad_slot, patch
                )


@jit_parallel
def _sum_products(x_points, grad_points, grad_w, side, count, most, accumulate, jobs, work):
    """grad_w (+)= G^T [sum over squares of x_points[:, square, c] grad_points[:, square, k]] G, part by part."""
    n_points, width = len(x_points), TILE_BYTES // grad_w.itemsize
    _, _, n_c, n_k = grad_w.shape
    a, b = x_points.reshape(-1), grad_points.reshape(-1)
    threads = len(work)
    for thread in prange(threads):
        memory = work[np.int64(thread)]
        rows, c_rows = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
        at_a, at_b, length = np.zeros(1, np.int64), np.zeros(1, np.int64), np.empty(1, np.int64)
        first_job, last_job = bounds(thread, threads, len(jobs))
        for job in range(first_job, last_job):
            first_tile, last_tile, first_block, last_block = jobs[job]
            pitch = (last_block - first_block) * width
            slot = (last_tile - first_tile) * ROWS * pitch + _LINE // grad_w.itemsize
            for point in range(n_points):
                for first in range(0, count, _SQUARES):
                    length[0] = min(_SQUARES, count - first)
                    at_a[0] = point * x_points.shape[1] + first * width
                    for block in range(first_block, last_block):
                        at_b[0] = point * grad_points.shape[1] + (block * most + first) * width
                        for t in range(first_tile, last_tile):
                            for i in range(ROWS):  # the last tile repeats its last channel
                                c = min(t * ROWS + i, n_c - 1)
                                rows[i] = c // width * most * width + c % width
                                c_rows[i] = point * slot + (c - first_tile * ROWS) * pitch
                                c_rows[i] += (block - first_block) * width
                            tile(
                                a, rows, at_a, width, b, at_b, width,
                                length, memory, c_rows, width, first > 0, (0, 0, 0),
                            )  # fmt: skip
            taps = memory[n_points * slot :]
            k0 = first_block * width
            used = min(pitch, n_k - k0)
            for c in range(first_tile * ROWS, min(last_tile * ROWS, n_c)):
                at = (c - first_tile * ROWS) * pitch
                if side == 4:
                    _grad_w_of_4(memory, at, 6 * slot, slot, taps, 0, TAPS * pitch, pitch, pitch)
                else:
                    _grad_w_of_2(memory, at, 4 * slot, slot, taps, 0, TAPS * pitch, pitch, pitch)
                for i in range(TAPS):
                    for j in range(TAPS):
                        at = (i * TAPS + j) * pitch
                        if accumulate:
                            add_row(grad_w[i, j, c, k0 : k0 + used], taps[at : at + used])
                        else:
                            copy_row(taps[at : at + used], grad_w[i, j, c, k0 : k0 + used])
