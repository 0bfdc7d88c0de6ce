"""Sums over channels and taps by bfloat16 products: the driver of dense convolution, forward and input gradient, in
bfloat16, and in float32 where each number is cut into three bfloat16 slices (bfloat16_block.py).

The plan is that of tile.py's driver (plan.py). What is summed at a position is copied, in slices, with zeros up to
whole steps, into a row of a buffer, so that blocks find 32 rows at one distance; the copy serves all blocks of output
channels. Blocks, from the outside in: each thread has a share of the positions; a group of positions and a panel of its
sum are copied together; a block of columns of packed weights is used for all of the group's rows while it is in cache.
Sums are float32, on top of each other in a buffer, until the last panel; then the last step stores them, rounded once.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from ..activation import curve_of, limits_of
from ..geometry import Window
from . import bfloat16_block
from .arrays import contiguous, empty
from .bfloat16 import numbers
from .bfloat16_block import BLOCK, PAIRS, SLICES, STEP, TILE, begin, block, end, slice_count
from .jit import jit, jit_inline, jit_parallel
from .llvm_short_rows import (
    ask_for,
    copy_numbers,
    lay_out,
    normalise_numbers,
    pair_narrowed,
    pair_numbers,
    put_numbers,
    scale_and_add_numbers,
    scale_numbers,
    zero_numbers,
)
from .parts import bounds
from .plan import equal_shares, forward_plan, grad_input_plan, start_rows
from .rows import scale_and_shift, scale_shift_and_add
from .tile import VECTOR_BYTES, VECTORISED, transpose

# steps of a sum that are taken together, at most, by slices. With one, a block's weights fill half of a first-level
# cache. With three no useful panel fits there, and a block starts as slowly as four steps run: few long panels
_PANELS = {1: 12, SLICES: 32}
_GROUP = 8  # blocks of rows that use a panel of weights together, at most
_SUMS = 1 << 20  # bytes of a group's sums, at most: a part of a core's second-level cache
_COPIES = 7 << 17  # bytes of a group's copied rows, at most: likewise
_AHEAD = 8  # positions whose numbers are asked for in advance
_PACK_PARTS = 8  # parts in which the rows of a tap are packed


NO_NORM = *3 * [np.empty(0, np.float32)], limits_of(None, np.dtype(np.float32))  # maps are read as they are


class BlockPlan(NamedTuple):
    """A plan whose sums are cut into panels of whole steps. Places in a copied row count uncut numbers."""

    regions: np.ndarray  # (R, 7) of the plan
    strides: np.ndarray  # (6,) of the plan
    length: np.ndarray  # (R,) steps in each region's sum
    first_panel: np.ndarray  # (R + 1,) of each region
    panels: np.ndarray  # (P, 4) first and end of its pieces, first and end of its steps
    pieces: np.ndarray  # (I, 4) offset in a, length, where in the copied row it goes, where the zeros after it end
    steps: np.ndarray  # (S,) where the step's pairs start in a block of packed weights


def whole_steps(n):
    """n, rounded up to whole steps."""
    return -(-n // STEP) * STEP


@lru_cache(maxsize=512)
def block_plan(win, n_slices, forward):
    """The plan of the forward pass or the input gradient in whole steps: a tap's channels, then zeros."""
    plan, channels = (forward_plan(win), win.c_in) if forward else (grad_input_plan(win), win.c_out)
    length, first_panel, panels, pieces, steps = [], [0], [], [], []
    for s0, s1 in plan.regions[:, 4:6]:
        segments = zip(plan.a_segments[s0:s1], plan.b_segments[s0:s1], plan.lengths[s0:s1], strict=True)
        taps = [(a + t, row + t) for a, row, n in segments for t in range(0, n, channels)]
        length.append(len(taps) * whole_steps(channels) // STEP)
        panel = -(-length[-1] // max(1, -(-length[-1] // _PANELS[n_slices]))) * STEP  # of equal length
        filled = panel
        for a, row in taps:
            for c in range(0, channels, STEP):
                if filled == panel:
                    panels.append([len(pieces), len(pieces), len(steps), len(steps)])
                    filled = 0
                # what follows a piece in a, too, continues it: at rate 1 all taps of a kernel row
                if filled == 0 or pieces[-1][0] + pieces[-1][1] != a + c or pieces[-1][2] + pieces[-1][1] != filled:
                    pieces.append([a + c, 0, filled, filled])
                pieces[-1][1] += min(STEP, channels - c)
                filled += STEP
                pieces[-1][3] = filled
                steps.append((row // channels * whole_steps(channels) + c) // 2 * BLOCK * n_slices)
                panels[-1][1::2] = len(pieces), len(steps)
        first_panel.append(len(panels))
    shapes = (-1, -1, (-1, 4), (-1, 4), -1)
    lists = (length, first_panel, panels, pieces, steps)
    return BlockPlan(
        plan.regions, plan.strides, *(np.array(a, np.int64).reshape(s) for a, s in zip(lists, shapes, strict=True))
    )


def forward(x, w, win, scale=None, shift=None, activation=None, residual=None, norm=None):
    """`conv2d` of x (N, H, W, C), bfloat16 or float32, and float32 w: (N, out_h, out_w, K) in the dtype of x.

    Args:
        norm: None, or (mean, factor, beta, limits) for a 1x1 kernel that reads (x - mean) factor + beta within limits.
    """
    y, n_slices = empty(win.y_shape, x.dtype), slice_count(x.dtype)
    if fills_steps_badly(win):
        x, win = taps_side_by_side(x, win)
        w = w.reshape(1, 1, -1, w.shape[3])
    last_step = scale, shift, activation, residual
    return _run(
        x.reshape(win.n, -1), pack_pairs(w, n_slices), y, block_plan(win, n_slices, forward=True), *last_step, norm
    )


def grad_input(grad, w, win):
    """`conv2d_grad_input` of grad (N, out_h, out_w, K), bfloat16 or float32, and float32 w: (N, H, W, C) likewise."""
    grad_x, n_slices = empty(win.x_shape, grad.dtype), slice_count(grad.dtype)
    plan = block_plan(win, n_slices, forward=False)
    return _run(grad.reshape(win.n, -1), pack_pairs(w, n_slices, transposed=True), grad_x, plan)


def fills_steps_badly(win):
    """Whether each tap of several would fill a step badly, as the three colours of an image do."""
    return win.k_h * win.k_w > 1 and win.c_in < STEP // 2


def taps_side_by_side(x, win):
    """Every position with what all its taps read side by side, zeros outside and up to whole steps; its 1x1 window."""
    positions, width = win.n * win.out_h * win.out_w, whole_steps(win.k_h * win.k_w * win.c_in)
    taps = empty((1, 1, positions, width), x.dtype)
    down = (win.in_h, win.out_h, win.stride_h, win.pad_top, win.rate_h, win.k_h)
    across = (win.in_w, win.out_w, win.stride_w, win.pad_left, win.rate_w, win.k_w)
    _collect_taps(
        win.n * win.out_h, numbers(x).reshape(-1), numbers(taps).reshape(-1), win.n, win.c_in, width, down, across
    )
    return taps, Window.conv(taps.shape, (1, 1, width, win.c_out))


@jit_parallel
def _collect_taps(line, x, taps, n_images, channels, pitch, down, across):
    """taps[position * pitch + tap * channels + c] = x[at the tap, c], zeros outside and after the last tap."""
    (height, out_h, stride_h, top, rate_h, k_h), (width, out_w, stride_w, left, rate_w, k_w) = down, across
    at_once = k_w if rate_w == 1 else 1  # at rate 1 the taps of a kernel row are neighbours
    n, p = line // out_h, line % out_h
    for q in range(out_w):
        row = ((n * out_h + p) * out_w + q) * pitch
        zero_numbers(taps, row, pitch)
        for kh in range(k_h):
            h = p * stride_h - top + kh * rate_h
            for kw in range(0, k_w if 0 <= h < height else 0, at_once):
                w = q * stride_w - left + kw * rate_w
                first, last = max(0, -w), min(at_once, width - w)
                if first < last:
                    at, to = (n * height + h) * width + w + first, kh * k_w + kw + first
                    copy_numbers(x, at * channels, taps, row + to * channels, (last - first) * channels)


def pack_pairs(w, n_slices, transposed=False):
    """Blocks of 32 output channels: (blocks, taps * steps * slices * 16, 32) pairs of bfloat16 numbers, zeros around w.

    Args:
        w: (KH, KW, C, K) float32: packed for sums over C, `transposed` for sums over K.
        slices: 1, w rounded to bfloat16, or 3, all of w.
    """
    w = w.reshape(-1, *w.shape[2:])
    taps, n_rows, n_columns = (w.shape[0], w.shape[2], w.shape[1]) if transposed else w.shape
    packed = empty((-(-n_columns // BLOCK), taps, whole_steps(n_rows) // STEP, n_slices, PAIRS, BLOCK), np.uint32)
    if transposed:
        _pack_transposed(taps * len(packed), w, packed)
    else:
        _pack(taps * _PACK_PARTS, w, packed)
    return packed.reshape(len(packed), -1, BLOCK)


@jit_parallel
def _pack(job, w, packed):
    """packed[block, tap, step, slice, pair, j] = w[tap, 32 step + 2 pair and the next, block * 32 + j], in order."""
    blocks, taps, n_steps, n_slices, _, width = packed.shape
    n_rows, n_columns = w.shape[1:]
    source, target, zeros = w.reshape(-1), packed.reshape(-1), np.zeros(n_columns, w.dtype)
    tap, pitch = job // _PACK_PARTS, PAIRS * width
    first, last = bounds(job % _PACK_PARTS, _PACK_PARTS, n_steps * PAIRS)
    for pair in range(first, last):
        at = (tap * n_rows + 2 * pair) * n_columns
        for b in range(blocks):
            used = min(width, n_columns - b * width) if 2 * pair < n_rows else 0
            to = ((b * taps + tap) * n_steps + pair // PAIRS) * n_slices * pitch + pair % PAIRS * width
            lower, below, upper = at + b * width, source, at + n_columns + b * width
            if 2 * pair + 1 >= n_rows:  # the last row has none below it
                below, upper = zeros, 0
            if n_slices == 1:
                pair_narrowed(source, lower, below, upper, target, to, used)
            else:
                pair_numbers(source, lower, below, upper, target, to, pitch, used)
            for i in range(n_slices):
                zero_numbers(target, to + i * pitch + used, width - used)


@jit_parallel
def _pack_transposed(job, w, packed):
    """packed[block, tap, ..., pair, j] = w[tap, block * 32 + j, 2 pair and the next]: rows of pairs, then turned."""
    blocks, taps, n_steps, n_slices, _, width = packed.shape
    n_columns, n_rows = w.shape[1:]
    source, target, n_pairs = w.reshape(-1), packed.reshape(-1), n_steps * n_slices * PAIRS
    tap, b = job // blocks, job % blocks
    used, to = min(width, n_columns - b * width), (b * taps + tap) * n_pairs * width
    pitch = n_pairs + 16
    pairs = np.zeros(width * pitch, np.uint32)
    halves = pairs.view(np.uint16)  # two that follow each other are a pair
    for j in range(used):
        at = (tap * n_columns + b * width + j) * n_rows
        if n_slices == 1:
            put_numbers(source, at, halves, 2 * j * pitch, n_rows)
        else:
            lay_out(source, at, halves, 2 * j * pitch, n_rows)
    turn(pairs, 0, pitch, width, n_pairs, target, to, width)


@jit
def turn(source, at, source_pitch, n_rows, n_columns, target, to, target_pitch):
    """target[to + j * target_pitch + i] = source[at + i * source_pitch + j]; multiples of 16 rows and columns."""
    side = VECTOR_BYTES // 4
    for i in range(0, n_rows, side):
        for j in range(0, n_columns, side):
            here, there = at + i * source_pitch + j, to + j * target_pitch + i
            if VECTORISED:
                transpose(source, here, source_pitch, target, there, target_pitch)
            else:
                for u in range(side):
                    for v in range(side):
                        target[there + v * target_pitch + u] = source[here + u * source_pitch + v]


def _run(a, packed, c, plan, scale=None, shift=None, activation=None, residual=None, norm=None):
    """Fill c: every region of the plan, every block of output channels, then the last step where a scale is given:
    c <- activation(scale c + shift (+ residual)). `norm`: as of `forward`."""
    threads, n_slices = get_num_threads(), slice_count(c.dtype)
    blocks, n_columns = len(packed), c.shape[-1]
    widest = int((plan.panels[:, 3] - plan.panels[:, 2]).max(initial=0))
    pitch = (widest * n_slices | 1) * STEP  # from one copied row to the next: an odd number of cache lines
    most = min(_GROUP, _SUMS // (4 * BLOCK * BLOCK * blocks), _COPIES // (2 * BLOCK * pitch))
    most = max(1, most)  # blocks of rows in a group
    tiles = -(-len(a) * plan.regions[:, 0] * plan.regions[:, 1] // BLOCK)
    first_tile, shares = equal_shares(tiles, plan.length + 2, threads)
    # a row of a bfloat16 image, as the 1x1 convolution has, is read where it lies if its steps are whole, unless
    # positions are a multiple of 2 KiB apart: they share a few cache sets and would evict each other
    one_row = len(a) == len(plan.regions) == plan.regions[0, 0] == 1 and len(plan.pieces) == len(plan.panels)
    whole = n_slices == 1 and norm is None and bool((plan.pieces[:, 1] == plan.pieces[:, 3]).all())
    direct = one_row and whole and plan.strides[2] % 1024 != 0
    none = np.empty(0, np.float32)
    if scale is None:
        scale, shift = none, none
    scale, shift = contiguous(scale, shift)
    residual = numbers(np.empty(0, c.dtype) if residual is None else contiguous(residual)[0]).reshape(-1)
    # each thread's memory starts at a cache line: a tile's rows that cross lines are loaded three times as slowly
    copied = empty((threads, most * BLOCK, pitch), np.uint16)
    sums = empty((threads, most * BLOCK, blocks * BLOCK + TILE), np.float32)  # rows of an odd number of lines
    _run_plan(
        len(shares) - 1, bfloat16_block.ENGINES[bfloat16_block.ENGINE], n_slices, numbers(a).reshape(-1),
        numbers(a).reshape(-1) if direct else np.empty(0, np.uint16), packed, numbers(c).reshape(-1), plan, len(a),
        n_columns, first_tile, shares, copied, sums,
        NO_NORM if norm is None else norm, scale, shift, residual,
        limits_of(activation, np.dtype(np.float32)), curve_of(activation),
    )  # fmt: skip
    return c


@jit_parallel
def _run_plan(
    thread, engine, n_slices, a, direct, packed, c, plan, n_images, n_columns, first_tile, shares, all_copied, all_sums,
    norm, scale, shift, residual, limits, curve,
):  # fmt: skip
    """for each thread's groups of positions: for each panel: copy; for blocks of columns, of rows: block; last step.

    direct: a, if its rows can be read where they lie; else empty.
    """
    blocks, block_pairs, width = packed.shape
    b = packed.reshape(-1)
    group, pitch = all_sums.shape[1:]
    begin(engine)
    copied, copied_pitch = all_copied[thread].reshape(-1), all_copied.shape[2]
    sums = all_sums[thread].reshape(-1)
    a_rows, c_rows = np.empty(group, np.int64), np.empty(group, np.int64)
    mean, factor, beta, (low, high) = norm
    normalised = np.empty(mean.size, a.dtype)
    first, last, region = shares[thread], shares[thread + 1], 0
    while first < last:
        while first >= first_tile[region + 1]:
            region += 1
        n_tiles = min(group // BLOCK, last - first, first_tile[region + 1] - first)
        start = (first - first_tile[region]) * BLOCK
        down, across = plan.regions[region][:2]
        n_rows = min(n_tiles * BLOCK, n_images * down * across - start)
        start_rows(plan.regions[region], plan.strides, n_images, start, n_rows, a_rows, c_rows)
        first += n_tiles
        first_panel, last_panel = plan.first_panel[region], plan.first_panel[region + 1]
        if first_panel == last_panel:  # positions that see no tap
            sums[:] = 0
        for panel in range(first_panel, last_panel):
            piece0, piece1, step0, step1 = plan.panels[panel]
            steps, n_steps = plan.steps[step0:step1], step1 - step0
            n_direct = n_rows // BLOCK if direct.size else 0  # tiles whose rows lie in a as they should
            for i in range(n_direct * BLOCK, n_rows):
                for piece in range(piece0, piece1):
                    at, length, to, _ = plan.pieces[piece]
                    ask_for(a, a_rows[i] + at + _AHEAD * plan.strides[2], length)
                    if mean.size:  # a 1x1 kernel, whose pieces are parts of a position's channels
                        normalise_numbers(
                            a, a_rows[i] + at, mean, at, factor, at, beta, at, low, high, normalised, 0, length
                        )
                        lay_out(normalised, 0, copied, i * copied_pitch + to * n_slices, length)
                    else:
                        lay_out(a, a_rows[i] + at, copied, i * copied_pitch + to * n_slices, length)
            for column in range(blocks):
                b_at, ahead = column * block_pairs * width, (column + 1) * block_pairs * width + steps[0]
                for t in range(n_tiles):
                    source, source_pitch = (direct, plan.strides[2]) if t < n_direct else (copied, copied_pitch)
                    at = a_rows[t * BLOCK] + plan.pieces[piece0, 0] if t < n_direct else t * BLOCK * copied_pitch
                    block(
                        engine, n_slices, source, at, source_pitch, b, b_at, steps, n_steps,
                        sums, t * BLOCK * pitch + column * width, pitch, panel > first_panel,
                        ahead + t * 64 * n_slices * n_steps,
                    )  # fmt: skip
        for i in range(n_rows):
            _last_step(sums, i * pitch, scale, shift, residual, limits, curve, c, c_rows[i], n_columns)
    end(engine)


@jit_inline
def _last_step(sums, at, scale, shift, residual, limits, curve, c, to, n_columns):
    """A position of c <- activation(scale sums + shift + residual)."""
    low, high = limits
    if curve:
        row = sums[at : at + n_columns]
        if residual.size:
            scale_shift_and_add(row, scale, shift, residual[to : to + n_columns], limits, curve)
        else:
            scale_and_shift(row, scale, shift, limits, curve)
        put_numbers(sums, at, c, to, n_columns)
    elif residual.size:
        scale_and_add_numbers(sums, at, scale, 0, shift, 0, residual, to, low, high, c, to, n_columns)
    elif scale.size:
        scale_numbers(sums, at, scale, 0, shift, 0, low, high, c, to, n_columns)
    else:
        put_numbers(sums, at, c, to, n_columns)
