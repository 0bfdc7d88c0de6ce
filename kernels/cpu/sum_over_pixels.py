"""Sums over pixels: the driver of the weight gradient of dense convolution.

A job owns a range of pixels and a part of the weights. Small weight gradients are cut into ranges, whose partial sums
are added in order, large ones into parts; how many of each follows from shapes, never from the number of threads.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from .arrays import empty
from .jit import jit, jit_parallel
from .parts import PARTS, bounds
from .rows import add_row, copy_row
from .tile import ROWS, TILE_BYTES, columns, tile

_JOBS = 16  # parts of the work, where it has so many
_PIXELS = 256  # pixels in a tile's sum, about
_GATHERED = 1 << 17  # channels times pixels of x that are gathered at a time
_SUMS = 1 << 19  # bytes of sums that a job keeps in cache


def sum_over_pixels(x, grad, grad_w, spans, offsets, channels, strides):
    """grad_w[t, c, k] = sum_{n, p, q in the span of tap t} x[position + offsets[t] + channels[c]] grad[n, p, q, k].

    Args:
        x: flat memory of the input; grad: (N, P, Q, K); grad_w: (T, C, K), filled.
        spans: (T, 4) first and end of the positions down, first and end across; offsets: (T,); channels: (C,);
            strides: steps of image, p and q in x.
    """
    taps, c, k = grad_w.shape
    # pixels a multiple of 2 KiB apart share a few cache sets and would evict each other: copy them, where it is simple
    side_by_side = taps == 1 and channels[-1] - channels[0] == c - 1
    gather = side_by_side and strides[2] * x.itemsize % 2048 == 0
    most = min(_PIXELS, max(64, _GATHERED // c)) if gather else _PIXELS
    n, down, across, _ = grad.shape
    chunks_down, chunks_across = -(-n * down // max(1, round(most / across))), -(-across // most)
    chunks = chunks_down * chunks_across
    ranges = 1
    while grad_w.nbytes <= _SUMS and 2 * ranges <= min(_JOBS, chunks // 2):
        ranges *= 2
    partial = grad_w[None] if ranges == 1 else empty((ranges, *grad_w.shape), x.dtype)
    _sum_over_pixels(
        x.reshape(-1), grad, partial, spans, offsets, channels, np.array(strides, np.int64),
        chunks_down, chunks_across, _jobs(taps, c, k, ranges, x.dtype), gather,
    )  # fmt: skip
    if ranges > 1:
        add_in_order(partial.reshape(ranges, -1), grad_w.reshape(-1))


def _cuts(n, parts):
    """Bounds of `parts` runs of nearly equal length."""
    return [(part * n // parts, (part + 1) * n // parts) for part in range(parts)]


@lru_cache(maxsize=512)
def _jobs(taps, c, k, ranges, dtype):
    """About _JOBS jobs of one size: (J, 5) range of pixels, first and last tile of c, first and last block of k."""
    width = columns(dtype)
    tiles, blocks = -(-c // ROWS), -(-k // width)

    def waste(n, parts):
        return -(-n // parts) * parts / n

    def cost(parts):  # x is read once for each part of k, grad once for each part of c
        c_parts, k_parts = parts
        idle = wanted / (c_parts * k_parts)
        return idle * waste(tiles, c_parts) * waste(blocks, k_parts) * (1 + 2 * (c_parts / c + k_parts / k))

    wanted, powers = _JOBS // ranges, (1, 2, 4, 8, 16)
    pairs = [(i, j) for i in powers for j in powers if i <= tiles and j <= blocks and i * j <= wanted]
    c_parts, k_parts = min(pairs, key=cost)
    sums = taps * ROWS * -(-tiles // c_parts) * width * -(-blocks // k_parts) * np.dtype(dtype).itemsize
    c_parts = min(tiles, c_parts * -(-sums // _SUMS))
    c_cuts, k_cuts = _cuts(tiles, c_parts), _cuts(blocks, k_parts)
    if waste(tiles, c_parts) < waste(blocks, k_parts):  # threads take runs of jobs: the more even cut comes first
        jobs = [(r, *c_cut, *k_cut) for r in range(ranges) for c_cut in c_cuts for k_cut in k_cuts]
    else:
        jobs = [(r, *c_cut, *k_cut) for r in range(ranges) for k_cut in k_cuts for c_cut in c_cuts]
    return np.array(jobs, np.int64)


@jit_parallel
def _sum_over_pixels(
    x, grad, partial, spans, offsets, channels, strides, chunks_down, chunks_across, jobs, gather
):  # fmt: skip
    """for each (range of pixels, part of k, part of c): for chunks of pixels, blocks of k, taps, c: tile."""
    ranges, taps, n_c, n_k = partial.shape
    n_images, down, across, _ = grad.shape
    flat_grad, width = grad.reshape(-1), TILE_BYTES // grad.itemsize
    most_down = -(-n_images * down // chunks_down)  # rows and pixels of a chunk
    most_pixels = most_down * -(-across // chunks_across)
    for job in prange(len(jobs)):
        pixels, first_tile, last_tile, first_block, last_block = jobs[np.int64(job)]
        first_c, last_c = first_tile * ROWS, min(last_tile * ROWS, n_c)
        n_rows = last_c - first_c
        sums = np.empty((last_block - first_block) * taps * n_rows * width, grad.dtype)
        edge = np.zeros(most_pixels * width, grad.dtype)  # grad of the last, partial block, as wide as a tile
        pitch = n_rows + 16  # not a multiple of 2 KiB
        gathered = np.empty(most_pixels * pitch if gather else 0, x.dtype)
        source, x_step = (gathered, pitch) if gather else (x, strides[2])
        x_rows, sum_rows = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
        segments = np.empty((3, most_down), np.int64)  # offset in x, offset in grad, length
        first_chunk, last_chunk = bounds(pixels, ranges, chunks_down * chunks_across)
        for chunk in range(first_chunk, last_chunk):
            row0, row1 = bounds(chunk // chunks_across, chunks_down, n_images * down)
            q0, q1 = bounds(chunk % chunks_across, chunks_across, across)
            box = row0, row1, q0, q1  # image rows, counted through all images, and columns
            if gather:
                _gather_channels(x, spans[0], offsets[0] + first_c, strides, down, box, n_rows, gathered, pitch)
            for block in range(first_block, last_block):
                whole = (block + 1) * width <= n_k
                if not whole:
                    _copy_edge(grad, block * width, box, edge, width)
                # while this block is summed, the next block's grad is fetched; at the last block the next chunk
                grad_ahead, x_ahead = width, 0
                if block == last_block - 1:
                    size = (row1 - row0) * (q1 - q0)
                    grad_ahead = size * n_k - (last_block - 1 - first_block) * width
                    x_ahead = 0 if gather else size * strides[2]
                for t in range(taps):
                    # segments of x and of grad, in the arrays or in their copies
                    count = 0
                    top, bottom, left, right = spans[t]
                    lo, hi = max(q0, left), min(q1, right)
                    for row in range(row0, row1):
                        n, p = row // down, row % down
                        if top <= p < bottom and lo < hi:
                            pixel = (row - row0) * (q1 - q0) + lo - q0  # its number in the chunk
                            at_x = offsets[t] + n * strides[0] + p * strides[1] + lo * strides[2]
                            at_grad = (row * across + lo) * n_k + block * width
                            segments[0, count] = pixel * pitch if gather else at_x
                            segments[1, count] = at_grad if whole else pixel * width
                            segments[2, count] = hi - lo
                            count += 1
                    for row in range(first_c, last_c, ROWS):
                        for i in range(ROWS):  # the last tile repeats its last channel
                            c = min(row + i, last_c - 1)
                            x_rows[i] = c - first_c if gather else channels[c]
                            sum_rows[i] = (((block - first_block) * taps + t) * n_rows + c - first_c) * width
                        tile(
                            source, x_rows, segments[0], x_step,
                            flat_grad if whole else edge, segments[1], n_k if whole else width,
                            segments[2, :count], sums, sum_rows, width, chunk > first_chunk,
                            (x_ahead, x_step, grad_ahead if row == first_c else 0),
                        )  # fmt: skip
        for block in range(first_block, last_block):
            used = min(width, n_k - block * width)
            for t in range(taps):
                for c in range(first_c, last_c):
                    at = (((block - first_block) * taps + t) * n_rows + c - first_c) * width
                    copy_row(sums[at : at + used], partial[pixels, t, c, block * width : block * width + used])


@jit
def _gather_channels(x, span, offset, strides, down, box, n_rows, gathered, pitch):
    """Copy n_rows channels of each pixel in the box, `pitch` apart."""
    row0, row1, q0, q1 = box
    top, bottom, left, right = span
    for row in range(row0, row1):
        n, p = row // down, row % down
        if top <= p < bottom:
            for q in range(max(q0, left), min(q1, right)):
                at = offset + n * strides[0] + p * strides[1] + q * strides[2]
                to = ((row - row0) * (q1 - q0) + q - q0) * pitch
                copy_row(x[at : at + n_rows], gathered[to : to + n_rows])


@jit
def _copy_edge(grad, first, box, edge, width):
    """Copy the last channels of each pixel in the box, `width` apart."""
    row0, row1, q0, q1 = box
    used, down = grad.shape[3] - first, grad.shape[1]
    for row in range(row0, row1):
        for q in range(q0, q1):
            at = ((row - row0) * (q1 - q0) + q - q0) * width
            copy_row(grad[row // down, row % down, q, first:], edge[at : at + used])


@jit_parallel
def add_in_order(partial, total):
    """total[i] = partial[0, i] + partial[1, i] + ..., the same order for any number of threads."""
    ranges, size = partial.shape
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, size)
        copy_row(partial[0, first:last], total[first:last])
        for r in range(1, ranges):
            add_row(total[first:last], partial[r, first:last])
