"""Sums over pixels: the driver of the weight gradient of dense convolution.

A job owns a range of pixels and a part of the weights. Small weight gradients are cut into ranges, whose partial sums
are added in order; how many follows from shapes alone. Large ones are cut into parts, of which each thread gets some.

A job takes its pixels by chunks. A tile steps from pixel to pixel: where that is far, its lines share a few cache sets
and each lies in another page, and the chunk is copied first, in the order in which tiles read it. While they compute,
tiles ask for the next chunk.
"""

from functools import lru_cache

import numpy as np
from numba import get_num_threads

from .arrays import empty
from .jit import jit, jit_parallel
from .llvm import ASKS, copy_intrinsic
from .parts import PARTS, bounds
from .rows import add_row, copy_row
from .tile import ROWS, TILE_BYTES, VECTOR_BYTES, VECTORISED, columns, tile

_RANGES = 16  # at most, of pixels, and
_PARTIAL = 1 << 20  # bytes of all their sums
_PIXELS = 192  # pixels in a chunk, about: the sum of a tile
_SUMS = 1 << 19  # bytes of sums that a job keeps in cache
_FAR = 2048  # bytes from pixel to pixel from which on they are copied
_LINE = 64  # bytes of a cache line

_copy_vector = copy_intrinsic(VECTOR_BYTES)


def sum_over_pixels(x, grad, grad_w, spans, offsets, channels, strides):
    """grad_w[t, c, k] = sum_{n, p, q in the span of tap t} x[position + offsets[t] + channels[c]] grad[n, p, q, k].

    Args:
        x: flat memory of the input; grad: (N, P, Q, K); grad_w: (T, C, K), filled.
        spans: (T, 4) first and end of the positions down, first and end across; offsets: (T,); channels: (C,);
            strides: steps of image, p and q in x.
    """
    taps, c, k = grad_w.shape
    width = columns(x.dtype)
    n, down, across, _ = grad.shape
    chunks_down, chunks_across = -(-n * down // max(1, round(_PIXELS / across))), -(-across // _PIXELS)
    chunks = chunks_down * chunks_across
    ranges = 1
    while 2 * ranges * grad_w.nbytes <= _PARTIAL and 2 * ranges <= min(_RANGES, chunks // 2):
        ranges *= 2
    jobs = _jobs(taps, c, k, ranges, x.dtype, get_num_threads())
    side_by_side = channels[-1] - channels[0] == c - 1
    pack_x = side_by_side and strides[2] * x.itemsize >= _FAR
    pack_grad = k * x.itemsize >= _FAR or k % width > 0
    partial = grad_w[None] if ranges == 1 else empty((ranges, *grad_w.shape), x.dtype)
    _sum_over_pixels(
        len(jobs), x.reshape(-1), grad, partial, spans, offsets, channels, np.array(strides, np.int64),
        chunks_down, chunks_across, jobs, pack_x, pack_grad,
    )  # fmt: skip
    if ranges > 1:
        add_in_order(PARTS, partial.reshape(ranges, -1), grad_w.reshape(-1))


def _cuts(n, parts):
    """Bounds of `parts` runs of nearly equal length."""
    return [(part * n // parts, (part + 1) * n // parts) for part in range(parts)]


@lru_cache(maxsize=512)
def _jobs(taps, c, k, ranges, dtype, threads):
    """Jobs of one size: (J, 5) range of pixels, first and last tile of c, first and last block of k.

    Every weight's sum has the same order in any cut, so the number of threads may choose it.
    """
    width = columns(dtype)
    tiles, blocks = -(-c // ROWS), -(-k // width)

    def cost(parts):
        c_size, k_size = -(-tiles // parts[0]), -(-blocks // parts[1])
        most = -(-ranges * parts[0] * parts[1] // threads)  # jobs of the busiest thread
        # a pixel's channels are fetched once for a job and tap
        fetch = 16 / (width * k_size) + 16 / (ROWS * c_size * taps)
        too_large = taps * ROWS * c_size * width * k_size * np.dtype(dtype).itemsize > _SUMS
        return too_large * c_size * k_size, most * c_size * k_size * (1 + fetch)

    c_parts, k_parts = min(
        ((i, j) for i in range(1, min(tiles, 64) + 1) for j in range(1, min(blocks, 16) + 1)), key=cost
    )
    c_cuts, k_cuts = _cuts(tiles, c_parts), _cuts(blocks, k_parts)
    jobs = [(r, *c_cut, *k_cut) for r in range(ranges) for k_cut in k_cuts for c_cut in c_cuts]
    return np.array(jobs, np.int64)


@jit_parallel
def _sum_over_pixels(
    job, x, grad, partial, spans, offsets, channels, strides, chunks_down, chunks_across, jobs, pack_x, pack_grad
):  # fmt: skip
    """for each (range of pixels, part of k, part of c): for chunks of pixels, taps, blocks of k, c: tile."""
    ranges, taps, n_c, n_k = partial.shape
    n_images, down, across, _ = grad.shape
    flat_grad, width, lanes = grad.reshape(-1), TILE_BYTES // grad.itemsize, VECTOR_BYTES // grad.itemsize
    pitch = -(-ROWS // lanes) * lanes  # of a pixel's channels in a packed tile: whole vectors
    most_down = -(-n_images * down // chunks_down)  # rows and pixels of a chunk
    most_pixels = most_down * -(-across // chunks_across)
    pixels, first_tile, last_tile, first_block, last_block = jobs[job]
    n_tiles, n_blocks = last_tile - first_tile, last_block - first_block
    first_c, first_k = first_tile * ROWS, first_block * width
    n_rows, used_k = min(last_tile * ROWS, n_c) - first_c, min(last_block * width, n_k) - first_k
    sums = np.empty(n_blocks * taps * n_rows * width, grad.dtype)
    packed_x = np.empty(n_tiles * (most_pixels + 1) * pitch if pack_x else 0, x.dtype)
    packed_grad = np.empty(n_blocks * (most_pixels + 1) * width if pack_grad else 0, grad.dtype)
    if pack_grad and used_k < n_blocks * width:  # past the last channel
        packed_grad[:] = 0
    a, a_step = (packed_x, pitch) if pack_x else (x, strides[2])
    b, b_step = (packed_grad, width) if pack_grad else (flat_grad, n_k)
    x_rows, sum_rows = np.arange(ROWS), np.empty(ROWS, np.int64)
    calls, requests = taps * n_blocks * n_tiles, np.empty((taps * n_blocks * n_tiles, 3), np.int64)
    # runs of pixels: offset in x, number of the first one in the chunk, offset in grad; length
    lines, lengths = np.empty((3, most_down), np.int64), np.empty(most_down, np.int64)
    a_segments, b_segments = np.empty(most_down, np.int64), np.empty(most_down, np.int64)
    first_chunk, last_chunk = bounds(pixels, ranges, chunks_down * chunks_across)
    for chunk in range(first_chunk, last_chunk):
        row0, row1, q0, q1 = _box(chunk, chunks_down, chunks_across, n_images * down, across)
        size = (row1 - row0) * (q1 - q0)
        next_box = _box(chunk + 1, chunks_down, chunks_across, n_images * down, across)
        n_requests, due, asked = 0, 0, 0
        if chunk + 1 < last_chunk:
            x_first = offsets[taps - 1] + channels[first_c + n_rows - min(n_rows, strides[2])]
            n_requests = _fill_requests(requests, x, x_first, n_rows, strides, grad, first_k, used_k, next_box, size)
        if pack_grad:
            for row in range(row0, row1):
                at = (row * across + q0) * n_k + first_k
                _pack(flat_grad, at, n_k, q1 - q0, used_k, width, packed_grad, (row - row0) * (q1 - q0), size, width)
        for t in range(taps):
            count = 0
            top, bottom, left, right = spans[t]
            lo, hi = max(q0, left), min(q1, right)
            for row in range(row0, row1):
                n, p = row // down, row % down
                if top <= p < bottom and lo < hi:
                    lines[0, count] = offsets[t] + n * strides[0] + p * strides[1] + lo * strides[2]
                    lines[1, count] = (row - row0) * (q1 - q0) + lo - q0
                    lines[2, count] = (row * across + lo) * n_k + first_k
                    lengths[count] = hi - lo
                    count += 1
            if pack_x:
                for line in range(count):
                    at = lines[0, line] + first_c
                    _pack(x, at, strides[2], hi - lo, n_rows, ROWS, packed_x, lines[1, line], size, pitch)
            for block in range(n_blocks):
                for line in range(count):
                    in_place, packed = lines[2, line] + block * width, (block * (size + 1) + lines[1, line]) * width
                    b_segments[line] = packed if pack_grad else in_place
                for i_tile in range(n_tiles):
                    for line in range(count):
                        a_segments[line] = (i_tile * (size + 1) + lines[1, line]) * pitch if pack_x else lines[0, line]
                    row = i_tile * ROWS
                    at = ((block * taps + t) * n_rows + row) * width
                    for i in range(ROWS):  # the last tile repeats its last channel
                        c = min(i, n_rows - 1 - row)
                        x_rows[i] = c if pack_x else channels[first_c + row + c]
                        sum_rows[i] = at + c * width
                    ahead = 0, 0, 0
                    due += n_requests
                    if due >= calls:
                        ahead = requests[asked, 0], requests[asked, 1], requests[asked, 2]
                        due, asked = due - calls, asked + 1
                    tile(
                        a, x_rows, a_segments, a_step,
                        b, b_segments, b_step,
                        lengths[:count], sums, sum_rows, width, chunk > first_chunk, ahead,
                    )  # fmt: skip
    for block in range(n_blocks):
        used = min(width, used_k - block * width)
        for t in range(taps):
            for c in range(n_rows):
                at, to = ((block * taps + t) * n_rows + c) * width, first_k + block * width
                copy_row(sums[at : at + used], partial[pixels, t, first_c + c, to : to + used])


@jit
def _box(chunk, chunks_down, chunks_across, down, across):
    """A chunk's positions: first and end of the rows, counted through all images, and of the columns."""
    row0, row1 = bounds(chunk // chunks_across, chunks_down, down)
    q0, q1 = bounds(chunk % chunks_across, chunks_across, across)
    return row0, row1, q0, q1


@jit
def _fill_requests(requests, x, x_first, n_rows, strides, grad, first_k, used_k, box, steps):
    """What tiles of so many steps shall ask for, that the box of positions be in cache: (address, step, lines).

    Returns how many there are; no more than fit.
    """
    row0, row1, q0, q1 = box
    _, down, across, n_k = grad.shape
    x_pixel, grad_pixel = strides[2] * x.itemsize, n_k * x.itemsize  # bytes
    columns_x, x_step = _columns(min(n_rows, strides[2]) * x.itemsize, x_pixel)
    columns_grad, grad_step = _columns(used_k * x.itemsize, grad_pixel)
    pieces = max(1, len(requests) // ((columns_x + columns_grad) * (row1 - row0)))
    count = 0
    for row in range(row0, row1):
        x_at = x_first + row // down * strides[0] + row % down * strides[1] + q0 * strides[2]
        grad_at = (row * across + q0) * n_k + first_k
        for column in range(columns_x + columns_grad):
            if column < columns_x:
                start, step = np.int64(x.ctypes.data) + x_at * x.itemsize + column * _LINE, x_step
                lines = -(-(q1 - q0) * x_pixel // x_step)
            else:
                start, step = np.int64(grad.ctypes.data) + grad_at * x.itemsize, grad_step
                start += (column - columns_x) * _LINE
                lines = -(-(q1 - q0) * grad_pixel // grad_step)
            for piece in range(min(pieces, len(requests) - count)):
                first, last = bounds(piece, pieces, lines)
                requests[count, 0], requests[count, 1] = start + first * step, step
                requests[count, 2] = -(-ASKS * (last - first) // steps)
                count += 1
    return count


@jit
def _columns(used, step):
    """Columns of cache lines that hold `used` of the `step` bytes of a pixel, and the bytes from line to line.

    Where they are nearly all, one column: line after line, the order that processors follow best.
    """
    if 4 * used >= 3 * step:
        return 1, _LINE
    return -(-used // _LINE) + (step % _LINE > 0), step


@jit
def _pack(source, at, step, n_pixels, n_channels, group, target, first, size, pitch):
    """target[(g (size + 1) + first + i) pitch + j] = source[at + i step + g group + j], g group + j < n_channels.

    A pixel's channels by groups, and in a group pixel after pixel: `size` of them, and one more, so that groups do not
    lie a power of two apart.
    """
    lanes = VECTOR_BYTES // source.itemsize
    groups = -(-n_channels // group)
    whole = min(groups, max(0, (n_channels - pitch) // group + 1)) if VECTORISED else 0  # whose vectors end in time
    for i in range(n_pixels):
        from_, to = at + i * step, (first + i) * pitch
        for _ in range(whole):
            _copy_vector(source, from_, target, to)
            for j in range(lanes, pitch, lanes):
                _copy_vector(source, from_ + j, target, to + j)
            from_ += group
            to += (size + 1) * pitch
        for g in range(whole, groups):
            used = min(group, n_channels - g * group)
            copy_row(source[from_ : from_ + used], target[to : to + used])
            from_ += group
            to += (size + 1) * pitch


@jit_parallel
def add_in_order(part, partial, total):
    """total[i] = partial[0, i] + partial[1, i] + ..., the same order for any number of threads."""
    ranges, size = partial.shape
    first, last = bounds(part, PARTS, size)
    copy_row(partial[0, first:last], total[first:last])
    for r in range(1, ranges):
        add_row(total[first:last], partial[r, first:last])
