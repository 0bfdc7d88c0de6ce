"""Sums over pixels in bfloat16: the driver of the weight gradient of dense convolution.

A block (half_tile.py) sums over what lies side by side, here pixels. So a chunk of pixels is prepared: of the output
gradient the pixels in pairs, of the input at one tap the same, then turned, so that a row is a channel. A job owns a
range of pixels and a part of the weights, cut by shapes alone; partial sums of ranges are added in order.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from . import half_tile
from .arrays import empty
from .bfloat16 import numbers
from .half_channels import few_channels, taps_side_by_side, turn
from .half_tile import BLOCK, PAIRS, STEP, TILE, begin, block, end
from .jit import jit, jit_parallel
from .parts import bounds
from .rows import copy_row
from .sum_over_pixels import add_in_order

_PIXELS = 512  # of a chunk: 16 steps, so that reading and writing the sums does not weigh
_JOBS = 8  # parts of the work, where it has so many
_SUMS = 1 << 19  # bytes of sums that a job keeps in cache
_COLUMNS = 16  # blocks of columns in a job, at most: their gradients of a chunk are 512 KiB


def grad_weight(x, grad, win):
    """`conv2d_grad_weight` of bfloat16 x (N, H, W, C) and grad (N, out_h, out_w, K): float32 (KH, KW, C, K)."""
    w_shape = win.w_shape
    if few_channels(win):
        x, win = taps_side_by_side(x, win)
    taps, c, k = win.k_h * win.k_w, win.c_in, win.c_out
    positions = win.n * win.out_h * win.out_w
    chunks = -(-positions // _PIXELS)
    jobs, ranges = _jobs(taps * -(-c // BLOCK), -(-k // BLOCK), chunks)
    partial = empty((ranges, taps, c, k), np.float32)
    offsets = [
        (kh * win.rate_h - win.pad_top, kw * win.rate_w - win.pad_left)
        for kh in range(win.k_h)
        for kw in range(win.k_w)
    ]
    sizes = np.array((win.in_h, win.in_w, win.out_h, win.out_w, win.stride_h, win.stride_w), np.int64)
    engine = half_tile.ENGINES[half_tile.ENGINE]
    x, grad = numbers(x).reshape(-1, c), numbers(grad).reshape(-1, k)
    _sum_over_pixels(engine, x, grad, partial, np.array(offsets, np.int64), sizes, chunks, jobs)
    grad_w = partial[0]
    if ranges > 1:
        grad_w = empty(partial.shape[1:], np.float32)
        add_in_order(partial.reshape(ranges, -1), grad_w.reshape(-1))
    n_rows = w_shape[0] * w_shape[1] * w_shape[2]  # without the rows that fill up steps
    return grad_w.reshape(-1, k)[:n_rows].reshape(w_shape)


@lru_cache(maxsize=512)
def _jobs(tiles, blocks, chunks):
    """((J, 5) range of pixels, first and last tile of rows, first and last block of columns), number of ranges.

    A tile of rows is 32 channels of one tap. Small weights are cut by pixels, large ones into parts.
    """
    ranges = 1
    while BLOCK * BLOCK * 4 * tiles * blocks <= _SUMS and 2 * ranges <= min(_JOBS, chunks // 2):
        ranges *= 2
    columns = -(-blocks // _COLUMNS)
    most = max(1, _SUMS // (BLOCK * BLOCK * 4 * -(-blocks // columns)))  # tiles whose sums stay in cache
    rows = min(tiles, max(-(-tiles // most), _JOBS // (ranges * columns)))
    cuts = [
        [(i * n // parts, (i + 1) * n // parts) for i in range(parts)]
        for n, parts in ((tiles, rows), (blocks, columns))
    ]
    return np.array([(r, *t, *b) for r in range(ranges) for t in cuts[0] for b in cuts[1]], np.int64), ranges


@jit_parallel
def _sum_over_pixels(engine, x, grad, partial, offsets, sizes, chunks, jobs):
    """for each job: for chunks of pixels: pair the gradient; for taps: pair and turn x; for blocks: block."""
    ranges, taps, n_c, n_k = partial.shape
    c_tiles, n_positions = -(-n_c // BLOCK), grad.shape[0]
    pairs_pitch = _PIXELS // 2 + TILE  # of a turned channel: an odd number of cache lines
    steps = np.arange(_PIXELS // STEP) * PAIRS * BLOCK
    for job in prange(len(jobs)):
        pixels, first_tile, last_tile, first_block, last_block = jobs[np.int64(job)]
        n_blocks = last_block - first_block
        most_tiles = min(c_tiles, last_tile - first_tile)
        first_k, used_k = first_block * BLOCK, min(last_block * BLOCK, n_k) - first_block * BLOCK
        grad_pairs = np.zeros(n_blocks * (_PIXELS // 2) * BLOCK, np.uint32)
        x_pairs = np.zeros((_PIXELS // 2) * (most_tiles * BLOCK + TILE), np.uint32)
        turned = np.empty(most_tiles * BLOCK * pairs_pitch, np.uint32)
        sums = np.empty((last_tile - first_tile) * n_blocks * BLOCK * BLOCK, np.float32)
        x_at, grad_at = np.empty(_PIXELS, np.int64), np.empty(_PIXELS, np.int64)
        first_chunk, last_chunk = bounds(pixels, ranges, chunks)
        begin(engine)
        for chunk in range(first_chunk, last_chunk):
            start, stop = bounds(chunk, chunks, n_positions)
            n_steps = -(-(stop - start) // STEP)
            grad_at[:] = -1
            grad_at[: stop - start] = np.arange(start, stop)
            for b in range(n_blocks):
                at = first_k + b * BLOCK
                channels = at, min(at + BLOCK, n_k)
                _pair_pixels(grad, grad_at, channels, n_steps * PAIRS, grad_pairs[b * (_PIXELS // 2) * BLOCK :], BLOCK)
            tile = first_tile
            while tile < last_tile:
                tap, c_tile = tile // c_tiles, tile % c_tiles
                n_tiles = min(c_tiles - c_tile, last_tile - tile)
                _positions_of_tap(offsets[tap], sizes, start, stop, x_at)
                pitch = n_tiles * BLOCK + TILE
                channels = c_tile * BLOCK, min((c_tile + n_tiles) * BLOCK, n_c)
                _pair_pixels(x, x_at, channels, n_steps * PAIRS, x_pairs, pitch)
                turn(x_pairs, 0, pitch, n_steps * PAIRS, n_tiles * BLOCK, turned, 0, pairs_pitch)
                for b in range(n_blocks):
                    for t in range(n_tiles):
                        at = ((tile - first_tile + t) * n_blocks + b) * BLOCK * BLOCK
                        block(
                            engine, turned.view(np.uint16), t * BLOCK * 2 * pairs_pitch, 2 * pairs_pitch,
                            grad_pairs, b * (_PIXELS // 2) * BLOCK, steps, n_steps,
                            sums, at, BLOCK, chunk > first_chunk,
                        )  # fmt: skip
                tile += n_tiles
        end(engine)
        for tile in range(first_tile, last_tile):
            tap, first_c = tile // c_tiles, tile % c_tiles * BLOCK
            for b in range(n_blocks):
                k = first_k + b * BLOCK
                used = min(BLOCK, n_k - k)
                for c in range(first_c, min(first_c + BLOCK, n_c)):
                    at = ((tile - first_tile) * n_blocks + b) * BLOCK * BLOCK + (c - first_c) * BLOCK
                    copy_row(sums[at : at + used], partial[pixels, tap, c, k : k + used])


@jit
def _positions_of_tap(offset, sizes, start, stop, x_at):
    """The input pixel that each of the positions start .. stop - 1 reads at a tap, -1 outside and past the last."""
    in_h, in_w, out_h, out_w, stride_h, stride_w = sizes
    n, p, q = start // (out_h * out_w), start // out_w % out_h, start % out_w
    for i in range(stop - start):
        h, w = p * stride_h + offset[0], q * stride_w + offset[1]
        x_at[i] = (n * in_h + h) * in_w + w if 0 <= h < in_h and 0 <= w < in_w else -1
        q += 1
        if q == out_w:
            q, p = 0, p + 1
            if p == out_h:
                p, n = 0, n + 1
    x_at[stop - start :] = -1


@jit
def _pair_pixels(x, at, channels, n_pairs, pairs, pitch):
    """pairs[i * pitch + j] = channel first + j of the pixels at[2 i] (lower half) and at[2 i + 1]; 0 where that is -1."""
    first, last = channels
    zeros = np.zeros(last - first, x.dtype)
    for i in range(n_pairs):
        even, odd = at[2 * i], at[2 * i + 1]
        lower = x[even, first:last] if even >= 0 else zeros
        upper = x[odd, first:last] if odd >= 0 else zeros
        line = pairs[i * pitch : i * pitch + last - first]
        for j in range(line.size):
            line[j] = np.uint32(lower[j]) | np.uint32(upper[j]) << np.uint32(16)
