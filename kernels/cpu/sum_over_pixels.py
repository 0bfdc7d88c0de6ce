"""Sums over pixels: the driver of the weight gradient of dense convolution.

Small weight gradients are summed by jobs that own a range of pixels each, and their partial sums are added in order;
large ones by jobs that own a part of the weights each. Which, and how many, follows from shapes alone, never from the
number of threads.
"""

import numpy as np
from numba import prange

from .arrays import empty
from .jit import jit_parallel
from .parts import PARTS, bounds
from .rows import add_row, copy_row
from .tile import ROWS, columns, tile

_JOBS = 16  # parts of the work, where it has so many
_PIXELS = 256  # pixels of the output gradient that are packed at a time: 32 KiB
_GATHERED = 1 << 17  # channels times pixels of x that are gathered at a time: 512 KiB
_SUMS = 1 << 19  # bytes of sums that a job keeps in cache


def sum_over_pixels(x, grad, grad_w, spans, offsets, strides):
    """grad_w[t, c, k] = sum_{n, p, q in the span of tap t} x[position + offsets[t] + c] grad[n, p, q, k].

    Args:
        x: flat memory of the input; grad: (N, P, Q, K); grad_w: (T, C, K), filled.
        spans: (T, 4) first and last positions down and across; offsets: (T,); strides: steps of image, p and q in x.
    """
    taps, c, k = grad_w.shape
    width = columns(x.dtype)
    row_blocks, blocks = -(-c // ROWS), -(-k // width)
    # pixels a multiple of 2 KiB apart share a few cache sets and would evict each other: copy them
    gather = taps == 1 and strides[2] * x.itemsize % 2048 == 0
    most = min(_PIXELS, max(64, _GATHERED // c)) if gather else _PIXELS
    chunk_w, chunk_h = min(grad.shape[2], most), max(1, most // grad.shape[2])
    chunks = -(-grad.shape[0] * grad.shape[1] // chunk_h) * -(-grad.shape[2] // chunk_w)
    if grad_w.nbytes <= _SUMS:  # every job reads pixels of its own, once, and makes partial sums
        ranges, block_parts, row_parts = min(_JOBS, chunks), 1, 1
    else:  # every job reads all pixels and owns some sums
        # x is read once for each part of k, grad once for each part of c, and packing it costs four times as much
        parts = [p for p in (1, 2, 4, 8, 16) if p <= blocks]
        ranges, block_parts = 1, min(parts, key=lambda p: p * c + 4 * -(-_JOBS // p) * k)
        sums = taps * c * -(-blocks // block_parts) * width * x.itemsize
        row_parts = min(row_blocks, max(-(-_JOBS // block_parts), -(-sums // _SUMS)))
    partial = grad_w[None] if ranges == 1 else empty((ranges, *grad_w.shape), x.dtype)
    _sum_over_pixels(
        x.reshape(-1), grad, partial, spans.astype(np.int64), offsets.astype(np.int64), np.array(strides, np.int64),
        chunk_w, chunk_h, chunks, block_parts, row_parts, width, gather,
    )  # fmt: skip
    if ranges > 1:
        _add_in_order(partial.reshape(ranges, -1), grad_w.reshape(-1))


@jit_parallel
def _sum_over_pixels(
    x, grad, partial, spans, offsets, strides, chunk_w, chunk_h, chunks, block_parts, row_parts, width, gather
):  # fmt: skip
    """for each (range of pixels, part of k, part of c): for chunks, blocks of k: pack grad; for c, taps: tile."""
    ranges, taps, n_c, n_k = partial.shape
    n_images, down, across, _ = grad.shape
    blocks, row_blocks = (n_k + width - 1) // width, (n_c + ROWS - 1) // ROWS
    chunks_across = (across + chunk_w - 1) // chunk_w
    for job in prange(ranges * block_parts * row_parts):
        part, row_part = np.int64(job) // row_parts, np.int64(job) % row_parts
        pixels, block_part = part // block_parts, part % block_parts
        first_block, last_block = bounds(block_part, block_parts, blocks)
        first_tile, last_tile = bounds(row_part, row_parts, row_blocks)
        first_row, last_row = first_tile * ROWS, last_tile * ROWS
        n_rows = last_row - first_row
        sums = np.zeros((last_block - first_block) * taps * n_rows * width, grad.dtype)
        packed = np.zeros(chunk_h * chunk_w * width, grad.dtype)
        pitch = min(last_row, n_c) - first_row + 16  # not a multiple of 2 KiB
        gathered = np.empty(chunk_h * chunk_w * pitch if gather else 0, x.dtype)
        a_rows, c_rows = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
        a_segments, b_segments = np.empty(chunk_h, np.int64), np.empty(chunk_h, np.int64)
        length = np.empty(chunk_h, np.int64)
        first_chunk, last_chunk = bounds(pixels, ranges, chunks)
        for chunk in range(first_chunk, last_chunk):
            row0, q0 = chunk // chunks_across * chunk_h, chunk % chunks_across * chunk_w
            row1, q1 = min(row0 + chunk_h, n_images * down), min(q0 + chunk_w, across)
            if gather:
                for image_row in range(row0, row1):
                    n, p = image_row // down, image_row % down
                    if spans[0, 0] <= p < spans[0, 1]:
                        for q in range(max(q0, spans[0, 2]), min(q1, spans[0, 3])):
                            at = offsets[0] + n * strides[0] + p * strides[1] + q * strides[2] + first_row
                            to = ((image_row - row0) * chunk_w + q - q0) * pitch
                            copy_row(x[at : at + pitch - 16], gathered[to : to + pitch - 16])
            for block in range(first_block, last_block):
                used = min(width, n_k - block * width)
                for row in range(row0, row1):
                    n, p = row // down, row % down
                    for q in range(q0, q1):
                        at = ((row - row0) * chunk_w + q - q0) * width
                        copy_row(grad[n, p, q, block * width : block * width + used], packed[at : at + used])
                for row in range(first_row, last_row, ROWS):
                    for t in range(taps):
                        n_segments = 0
                        lo, hi = max(q0, spans[t, 2]), min(q1, spans[t, 3])
                        for image_row in range(row0, row1):
                            n, p = image_row // down, image_row % down
                            if spans[t, 0] <= p < spans[t, 1] and lo < hi:
                                pixel = (image_row - row0) * chunk_w + lo - q0
                                a_segments[n_segments] = offsets[t] + n * strides[0] + p * strides[1] + lo * strides[2]
                                if gather:
                                    a_segments[n_segments] = pixel * pitch - first_row
                                b_segments[n_segments] = pixel * width
                                length[n_segments] = hi - lo
                                n_segments += 1
                        for i in range(ROWS):  # the last tile repeats its last channel
                            a_rows[i] = min(row + i, n_c - 1)
                            c_rows[i] = (((block - first_block) * taps + t) * n_rows + a_rows[i] - first_row) * width
                        tile(
                            gathered if gather else x, a_rows, a_segments, pitch if gather else strides[2],
                            packed, b_segments, width,
                            n_segments, length, sums, c_rows, width, True,
                        )  # fmt: skip
        for block in range(first_block, last_block):
            for t in range(taps):
                for i in range(first_row, min(last_row, n_c)):
                    at = (((block - first_block) * taps + t) * n_rows + i - first_row) * width
                    used = min(width, n_k - block * width)
                    copy_row(sums[at : at + used], partial[pixels, t, i, block * width : block * width + used])


@jit_parallel
def _add_in_order(partial, total):
    """total[i] = partial[0, i] + partial[1, i] + ..., the same order for any number of threads."""
    ranges, size = partial.shape
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, size)
        copy_row(partial[0, first:last], total[first:last])
        for r in range(1, ranges):
            add_row(total[first:last], partial[r, first:last])
