"""Sums over pixels by bfloat16 products: the driver of the weight gradient of dense convolution, in bfloat16, and in
float32 where each number is cut into three bfloat16 slices (bfloat16_block.py).

A block sums over what lies side by side, here pixels. So a chunk of pixels is prepared: of the output
gradient the pixels in pairs, of the input at one tap the same, then turned, so that a row is a channel. A job owns a
range of pixels and a part of the weights, cut by shapes alone; partial sums of ranges are added in order.
"""

from functools import lru_cache

import numpy as np
from numba import get_num_threads

from . import bfloat16_block
from .arrays import empty
from .bfloat16 import numbers
from .bfloat16_block import BLOCK, PAIRS, SLICES, STEP, TILE, begin, block, end, slice_count
from .blocks_over_channels import NO_NORM, fills_steps_badly, taps_side_by_side, turn
from .jit import jit, jit_parallel
from .llvm_short_rows import ask_for, normalise_numbers, pair_numbers, zero_numbers
from .parts import PARTS, bounds
from .rows import copy_row
from .sum_over_pixels import add_in_order

# pixels of a chunk, at most, by slices: in so many steps reading and writing the sums does not weigh
_PIXELS = {1: 512, SLICES: 128}
_JOBS = 8  # parts of the work, where it has so many
_SUMS = 1 << 19  # bytes of sums that a job keeps in cache
_AHEAD = 8  # pixels that are asked for in advance: parts of rows end before the processor foresees the next
_TURNED = 4  # tiles of channels that are turned together
_COLUMNS = 8  # blocks of columns in a job, at most: their gradients of a chunk stay in cache


def grad_weight(x, grad, win, norm=None):
    """`conv2d_grad_weight` of x (N, H, W, C) and grad (N, out_h, out_w, K), both bfloat16 or float32: float32
    (KH, KW, C, K). `norm`: as of `blocks_over_channels.forward`."""
    w_shape, n_slices, pixels = win.w_shape, slice_count(x.dtype), _PIXELS[slice_count(x.dtype)]
    if fills_steps_badly(win):
        x, win = taps_side_by_side(x, win)
    c, k, positions = win.c_in, win.c_out, win.n * win.out_h * win.out_w
    taps = [(kh, kw) for kh in range(win.k_h) for kw in range(win.k_w)]
    offsets = np.array(taps) * (win.rate_h, win.rate_w) - (win.pad_top, win.pad_left)
    sizes = np.array((win.in_h, win.in_w, win.out_h, win.out_w, win.stride_h, win.stride_w))
    chunks, c_tiles = -(-positions // pixels), -(-c // BLOCK)
    jobs, ranges = _jobs(len(taps) * c_tiles, -(-k // BLOCK), chunks)
    partial = empty((ranges, len(taps), c, k), np.float32)
    # each thread's memory starts at a cache line: rows of a tile that cross lines are loaded three times as slowly
    threads, tiles, blocks = get_num_threads(), int(max(jobs[:, 2] - jobs[:, 1])), int(max(jobs[:, 4] - jobs[:, 3]))
    rows = BLOCK * min(c_tiles, tiles, _TURNED)
    _sum_over_pixels(
        threads, bfloat16_block.ENGINES[bfloat16_block.ENGINE], numbers(x).reshape(-1, c), numbers(grad).reshape(-1, k),
        partial, offsets, sizes, chunks, jobs,
        empty((threads, blocks, pixels // STEP, n_slices, PAIRS, BLOCK), np.uint32),
        empty((threads, pixels // STEP, n_slices, PAIRS, rows + TILE), np.uint32),
        empty((threads, rows, (pixels // STEP * n_slices | 1) * TILE), np.uint32),  # rows of an odd number of lines
        empty((threads, tiles, blocks, BLOCK * BLOCK), np.float32),
        NO_NORM if norm is None else norm,
    )  # fmt: skip
    grad_w = partial[0]
    if ranges > 1:
        grad_w = empty(partial.shape[1:], np.float32)
        add_in_order(PARTS, partial.reshape(ranges, -1), grad_w.reshape(-1))
    n_rows = w_shape[0] * w_shape[1] * w_shape[2]  # without those that fill up steps
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
    tile_cuts, block_cuts = (
        [(i * n // parts, (i + 1) * n // parts) for i in range(parts)]
        for n, parts in ((tiles, rows), (blocks, columns))
    )
    return np.array([(r, *t, *b) for r in range(ranges) for t in tile_cuts for b in block_cuts], np.int64), ranges


@jit_parallel
def _sum_over_pixels(
    thread, engine, x, grad, partial, offsets, sizes, chunks, jobs, all_grad_pairs, all_x_pairs, all_turned, all_sums,
    norm,
):  # fmt: skip
    """for each job: for chunks of pixels: pair the gradient; for taps: pair and turn x; for blocks: block."""
    threads, ranges = len(all_sums), len(partial)
    begin(engine)
    grad_pairs, x_pairs = all_grad_pairs[thread], all_x_pairs[thread]
    x_at = np.empty(len(x_pairs) * STEP, np.int64)
    turned, sums = all_turned[thread], all_sums[thread]
    first_job, last_job = bounds(thread, threads, len(jobs))
    for job in range(first_job, last_job):
        pixels, first_tile, last_tile, first_block, last_block = jobs[job]
        first_chunk, last_chunk = bounds(pixels, ranges, chunks)
        for chunk in range(first_chunk, last_chunk):
            start, stop = bounds(chunk, chunks, len(grad))
            _pair_gradients(grad, start, stop, first_block, last_block, grad_pairs)
            tile = first_tile
            while tile < last_tile:  # the tiles of one tap after those of another
                n_tiles = _turn_tap(x, offsets, sizes, start, stop, tile, last_tile, x_at, x_pairs, turned, norm)
                _add_products(
                    engine, turned, n_tiles, grad_pairs, last_block - first_block, -(-(stop - start) // STEP),
                    sums[tile - first_tile :], chunk > first_chunk,
                )  # fmt: skip
                tile += n_tiles
        _store(sums, first_tile, last_tile, first_block, last_block, partial[pixels])
    end(engine)


@jit
def _add_products(engine, turned, n_tiles, grad_pairs, n_blocks, n_steps, sums, accumulate):
    """sums[t, b] (+)= the chunk's products of tile t of the input's channels and block b of the gradient's."""
    a, a_pitch = turned.reshape(-1).view(np.uint16), 2 * turned.shape[1]
    _, all_steps, n_slices, _, _ = grad_pairs.shape
    b, step = grad_pairs.reshape(-1), n_slices * PAIRS * BLOCK
    steps, c = np.arange(n_steps) * step, sums.reshape(-1)
    for j in range(n_blocks):
        for t in range(n_tiles):
            at = (t * sums.shape[1] + j) * BLOCK * BLOCK
            block(
                engine, n_slices, a, t * BLOCK * a_pitch, a_pitch, b, j * all_steps * step, steps, n_steps,
                c, at, BLOCK, accumulate, 0,
            )  # fmt: skip


@jit
def _store(sums, first_tile, last_tile, first_block, last_block, grad_w):
    """Copy a job's sums to where they belong in (KH * KW, C, K)."""
    n_c = grad_w.shape[1]
    c_tiles = -(-n_c // BLOCK)
    for tile in range(first_tile, last_tile):
        tap, first = tile // c_tiles, tile % c_tiles * BLOCK
        for c in range(first, min(first + BLOCK, n_c)):
            for b in range(first_block, last_block):
                row = sums[tile - first_tile, b - first_block, (c - first) * BLOCK : (c - first + 1) * BLOCK]
                target = grad_w[tap, c, b * BLOCK : (b + 1) * BLOCK]
                copy_row(row[: target.size], target)


@jit
def _turn_tap(x, offsets, sizes, start, stop, tile, last_tile, x_at, x_pairs, turned, norm):
    """turned[c, i] = channel c of two pixels that positions start + 2 i and the next read at a tap, in slices; returns
    how many tiles of channels that are, from `tile` on to the last of its tap, or to last_tile."""
    c_tiles = -(-x.shape[1] // BLOCK)
    tap, first_c = tile // c_tiles, tile % c_tiles * BLOCK
    most, n_steps = turned.shape[0] // BLOCK, -(-(stop - start) // STEP)
    n_tiles = min(c_tiles - tile % c_tiles, last_tile - tile, most)
    last_c = min(first_c + n_tiles * BLOCK, x.shape[1])
    _pixels_of_tap(offsets[tap], sizes, start, stop, x_at)
    _pair_pixels(x, x_at[: n_steps * STEP], first_c, last_c, x_pairs, norm)
    _, n_slices, _, pitch = x_pairs.shape
    n_pairs, turned_pitch = n_steps * n_slices * PAIRS, turned.shape[1]
    turn(x_pairs.reshape(-1), 0, pitch, n_pairs, n_tiles * BLOCK, turned.reshape(-1), 0, turned_pitch)
    return n_tiles


@jit
def _pixels_of_tap(offset, sizes, start, stop, x_at):
    """The input pixels that the positions from `start` on read at a tap; -1 is outside, or at or after `stop`."""
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
def _pair_pixels(x, x_at, first_c, last_c, pairs, norm):
    """pairs[step, slice, i, c] = channel first_c + c of the pixels x_at[32 step + 2 i] and the next, zeros where that
    is -1; what is read is normalised first, where there is a norm."""
    flat, target, n_c = x.reshape(-1), pairs.reshape(-1), x.shape[1]
    _, n_slices, _, row = pairs.shape
    zeros, pitch = np.zeros(last_c - first_c, x.dtype), PAIRS * row
    mean, factor, beta, (low, high) = norm
    both = np.zeros(2 * (last_c - first_c), x.dtype)  # two pixels, normalised
    n = last_c - first_c
    for i in range(x_at.size // 2):
        even, odd = x_at[2 * i] * n_c + first_c, x_at[2 * i + 1] * n_c + first_c
        to = i // PAIRS * n_slices * pitch + i % PAIRS * row
        ask_for(flat, even + _AHEAD * n_c, n)
        ask_for(flat, odd + _AHEAD * n_c, n)
        if mean.size:
            for at, half in ((even, 0), (odd, n)):
                if at >= 0:
                    normalise_numbers(flat, at, mean, first_c, factor, first_c, beta, first_c, low, high, both, half, n)
                else:
                    zero_numbers(both, half, n)
            pair_numbers(both, 0, both, n, target, to, pitch, n)
        else:
            lower, at_lower = (flat, even) if even >= 0 else (zeros, 0)
            upper, at_upper = (flat, odd) if odd >= 0 else (zeros, 0)
            pair_numbers(lower, at_lower, upper, at_upper, target, to, pitch, n)
        for s in range(n_slices):
            zero_numbers(target, to + s * pitch + n, row - n)


@jit
def _pair_gradients(grad, start, stop, first_block, last_block, grad_pairs):
    """grad_pairs[b, step, slice, i, j] = channel j of block b of the positions start + 32 step + 2 i and the next;
    zeros past the last."""
    flat, target, n_k = grad.reshape(-1), grad_pairs.reshape(-1), grad.shape[1]
    _, n_steps, n_slices, _, _ = grad_pairs.shape
    zeros, pitch = np.zeros(BLOCK, grad.dtype), PAIRS * BLOCK
    for i in range(-(-(stop - start) // STEP) * PAIRS):
        for b in range(first_block, last_block):
            at, used = (start + 2 * i) * n_k + b * BLOCK, min(BLOCK, n_k - b * BLOCK)
            to = ((b - first_block) * n_steps + i // PAIRS) * n_slices * pitch + i % PAIRS * BLOCK
            ask_for(flat, at + _AHEAD * n_k, used)
            ask_for(flat, at + (_AHEAD + 1) * n_k, used)
            lower, at_lower = (flat, at) if start + 2 * i < stop else (zeros, 0)
            upper, at_upper = (flat, at + n_k) if start + 2 * i + 1 < stop else (zeros, 0)
            pair_numbers(lower, at_lower, upper, at_upper, target, to, pitch, used)
            if used < BLOCK:
                for s in range(n_slices):
                    zero_numbers(target, to + s * pitch + used, BLOCK - used)
