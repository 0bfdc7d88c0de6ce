"""Dense 3x3 convolutions of stride 1 with fewer multiplications: squares of outputs from products at points.

    y = A^T [(G w G^T) * (B^T x B)] A     for a square of side^2 outputs, summed over channels inside the brackets

A convolution at rate r is one at rate 1 on each of its r x r phases: a square's pixels lie r apart, nothing is copied.
With side 4 a square takes 36 products instead of 144. Inside the brackets stand 36 matrix products, which run on the
register tile. winograd_plan.py has the matrices, and says where this wins.
"""

import numpy as np
from numba import get_num_threads, prange

from ..activation import limits_of
from .arrays import contiguous, empty
from .jit import jit, jit_parallel
from .llvm_transform import transform_intrinsic
from .parts import PARTS, bounds
from .rows import copy_row, scale_and_shift, scale_shift_and_add
from .sum_over_channels import pack
from .tile import ROWS, TILE_BYTES, VECTOR_BYTES, columns, tile
from .winograd_plan import TAPS, matrices, origins

_LINE = 64
_BLOCK = 3 << 19  # bytes of a thread's block of squares at all points: most of a second-level cache
_CHUNK = 8 << 20  # bytes of a chunk of squares, of x and of the gradient, in the weight gradient


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
                _to_points(source, n, p - top, q - left, rate_h, rate_w, side, memory, slot + i * pitch, slot, patch)
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
                            length, memory, c_rows[group], width, False, (0, 0, n_channels * width),
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
def _to_points(source, n, p, q, rate_h, rate_w, side, memory, to, slot, patch):
    """memory[to + i slot + c] = (B^T x B)[i] of the square of pixels from (p, q) on, zero outside the image."""
    pixels, at, down, across, inside = _locate(source, n, p, q, rate_h, rate_w, side + 2, patch)
    if not inside:
        _copy_square(source, n, p, q, rate_h, rate_w, side + 2, patch)
    if side == 4:
        _x_of_4(pixels, at, down, across, memory, to, 6 * slot, slot, source.shape[3])
    else:
        _x_of_2(pixels, at, down, across, memory, to, 4 * slot, slot, source.shape[3])


@jit
def _grad_to_points(grad, n, p, q, rate_h, rate_w, side, memory, to, slot, patch):
    """memory[to + i slot + k] = (A g A^T)[i] of the square of gradients from (p, q) on, zero outside the image."""
    pixels, at, down, across, inside = _locate(grad, n, p, q, rate_h, rate_w, side, patch)
    if not inside:
        _copy_square(grad, n, p, q, rate_h, rate_w, side, patch)
    if side == 4:
        _grad_of_4(pixels, at, down, across, memory, to, 6 * slot, slot, grad.shape[3])
    else:
        _grad_of_2(pixels, at, down, across, memory, to, 4 * slot, slot, grad.shape[3])


@jit
def _locate(image, n, p, q, rate_h, rate_w, size, patch):
    """Where the pixels of a square lie: array, start, steps down and across, and whether they are all in the image.

    If not, they are (or will be) in `patch`, side by side.
    """
    _, height, width, channels = image.shape
    if 0 <= p and p + (size - 1) * rate_h < height and 0 <= q and q + (size - 1) * rate_w < width:
        at = ((n * height + p) * width + q) * channels
        return image.reshape(-1), at, rate_h * width * channels, rate_w * channels, True
    return patch, 0, size * channels, channels, False


@jit
def _copy_square(source, n, p, q, rate_h, rate_w, across, patch):
    """The pixels of a square side by side, zero outside the image."""
    _, height, width, channels = source.shape
    for i in range(across):
        for j in range(across):
            y, x, to = p + i * rate_h, q + j * rate_w, (i * across + j) * channels
            row = patch[to : to + channels]
            if 0 <= y < height and 0 <= x < width:
                copy_row(source[n, y, x], row)
            else:
                row[:] = 0


@jit
def _to_outputs(memory, at, slot, side, target, n, p, q, rate_h, rate_w, patch):
    """The square of outputs from (p, q) on, A^T m A of what memory holds; those outside the image are dropped."""
    _, height, width, channels = target.shape
    pixels, to, down, across, inside = _locate(target, n, p, q, rate_h, rate_w, side, patch)
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
    pitches = _pitch(c, itemsize), _pitch(-(-k // width) * width, itemsize)
    chunks = -(-squares * n_points * sum(pitches) * itemsize // _CHUNK)
    most = -(-squares // chunks)
    slots = [most * pitch + line for pitch in pitches]
    x_points, grad_points = (empty((n_points, slot), x.dtype) for slot in slots)
    sums = empty((n_points, c * -(-k // width) * width + line), x.dtype)
    patches = empty((PARTS, n_points * max(c, k)), x.dtype)
    place = (win.rate_h, win.rate_w, win.pad_top, win.pad_left)
    for start in range(0, squares, most):
        count = min(most, squares - start)
        _both_to_points(x, grad, side, down, across, place, start, count, pitches, x_points, grad_points, patches)
        _sum_products(x_points, grad_points, pitches, sums, c, k, count, start > 0)
    grad_w = empty(win.w_shape, x.dtype)
    _weights_of(sums, grad_w, side)
    return grad_w


@jit_parallel
def _both_to_points(x, grad, side, down, across, place, start, count, pitches, x_points, grad_points, patches):
    """Squares start .. start + count - 1 of x and of grad at all points."""
    rate_h, rate_w, top, left = place
    x_memory, x_slot, grad_memory, grad_slot = (
        x_points.reshape(-1),
        x_points.shape[1],
        grad_points.reshape(-1),
        grad_points.shape[1],
    )
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, count)
        patch = patches[np.int64(part)]
        for i in range(first, last):
            n, p, q = _origin(start + i, down, across)
            _to_points(x, n, p - top, q - left, rate_h, rate_w, side, x_memory, i * pitches[0], x_slot, patch)
            _grad_to_points(grad, n, p, q, rate_h, rate_w, side, grad_memory, i * pitches[1], grad_slot, patch)


@jit_parallel
def _sum_products(x_points, grad_points, pitches, sums, n_c, n_k, count, accumulate):
    """sums[point, c, k] (+)= sum over squares of x_points[point, square, c] grad_points[point, square, k]."""
    n_points, width = len(sums), TILE_BYTES // sums.itemsize
    blocks, tiles = -(-n_k // width), -(-n_c // ROWS)
    parts = -(-PARTS // n_points)
    a, b, c = x_points.reshape(-1), grad_points.reshape(-1), sums.reshape(-1)
    for job in prange(n_points * parts):
        point = np.int64(job) // parts
        first, last = bounds(np.int64(job) % parts, parts, tiles)
        rows, c_rows = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
        at_a, at_b, length = np.full(1, point * x_points.shape[1]), np.zeros(1, np.int64), np.full(1, count)
        for block in range(blocks):
            at_b[0] = point * grad_points.shape[1] + block * width
            for t in range(first, last):
                for i in range(ROWS):  # the last tile repeats its last channel
                    rows[i] = min(t * ROWS + i, n_c - 1)
                    c_rows[i] = point * sums.shape[1] + (rows[i] * blocks + block) * width
                tile(a, rows, at_a, pitches[0], b, at_b, pitches[1], length, c, c_rows, width, accumulate, (0, 0, 0))


@jit_parallel
def _weights_of(sums, grad_w, side):
    """grad_w[kh, kw, c] = G^T sums[:, c] G."""
    _, _, n_c, n_k = grad_w.shape
    source, target, slot, pitch = sums.reshape(-1), grad_w.reshape(-1), sums.shape[1], sums.shape[1] // n_c
    for channel in prange(n_c):
        c = np.int64(channel)
        if side == 4:
            _grad_w_of_4(source, c * pitch, 6 * slot, slot, target, c * n_k, 3 * n_c * n_k, n_c * n_k, n_k)
        else:
            _grad_w_of_2(source, c * pitch, 4 * slot, slot, target, c * n_k, 3 * n_c * n_k, n_c * n_k, n_k)
