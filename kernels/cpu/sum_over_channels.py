"""Sums over channels and taps: the driver of dense convolution, forward and input gradient.

Blocks, from the outside in: each thread has a share of the tiles of output positions; a group of tiles shares one panel
of weights (some segments x one block of output channels) while it is in the second-level cache; a tile runs a panel's
segments in registers. The weights are packed so that a tile reads them in order.
"""

import numpy as np
from numba import get_num_threads

from ..activation import curve_of, limits_of
from .arrays import contiguous, empty
from .jit import jit, jit_parallel
from .llvm import ASKS
from .parts import bounds
from .plan import equal_shares, region_of, start_rows
from .rows import copy_row, scale_and_shift, scale_shift_and_add
from .tile import ROWS, VECTOR_BYTES, VECTORISED, columns, tile, transpose

_GROUP = 8  # tiles that share one panel of weights
_PANEL = 2048  # rows of packed weights in a panel: 256 KiB, a part of a core's second-level cache
_LINE = 64  # bytes of a cache line
_STAYS = 1 << 19  # bytes of packed weights that stay in the second-level cache from group to group
_PACK_PARTS = 16  # parts in which the rows of a tap are packed
_PITCH = _PANEL + 16  # elements from one gathered row to the next; not a power of two


def pack(w, transposed=False):
    """Blocks of columns(dtype) output channels with all taps: (blocks, taps * n_rows, columns), zeros past the last.

    Args:
        w: (KH, KW, C, K): packed for sums over C, `transposed` for sums over K.
    """
    width = columns(w.dtype)
    w = w.reshape(-1, *w.shape[2:])
    taps, n_rows, n_columns = (w.shape[0], w.shape[2], w.shape[1]) if transposed else w.shape
    packed = empty((-(-n_columns // width), taps, n_rows, width), w.dtype)
    if transposed:
        _pack_transposed(taps * len(packed), w, packed)
    else:
        _pack(taps * _PACK_PARTS, w, packed)
    return packed.reshape(len(packed), -1, width)


def run_plan(a, packed, c, plan, scale=None, shift=None, activation=None, residual=None):
    """Fill c: every region of the plan, every block of output channels. The last step, where a scale is given:
    c <- activation(scale c + shift (+ residual))."""
    tiles = -(-len(a) * plan.down * plan.across // ROWS)
    first_tile, shares = equal_shares(tiles, plan.length + 64, get_num_threads())
    # positions a multiple of 2 KiB apart share a few cache sets and a tile's rows would evict each other: copy those
    gather = int(plan.strides[2]) * a.itemsize % 2048 == 0
    none = np.empty(0, c.dtype)
    if scale is None:
        scale, shift = none, none
    scale, shift, residual = contiguous(scale, shift, none if residual is None else residual)
    _run_plan(
        len(shares) - 1, a.reshape(-1), packed, c.reshape(-1), plan.regions, plan.a_segments, plan.b_segments,
        plan.lengths, plan.strides, len(a), c.shape[-1], first_tile, shares, gather,
        scale, shift, residual.reshape(-1), limits_of(activation, c.dtype), curve_of(activation),
    )  # fmt: skip
    return c


@jit_parallel
def _pack(job, w, packed):
    """packed[block, tap, row, j] = w[tap, row, block * columns + j], reading w in order."""
    blocks, _, n_rows, width = packed.shape
    tap = job // _PACK_PARTS
    first, last = bounds(job % _PACK_PARTS, _PACK_PARTS, n_rows)
    for row in range(first, last):
        for block in range(blocks):
            source, line = w[tap, row, block * width : (block + 1) * width], packed[block, tap, row]
            copy_row(source, line[: source.size])
            line[source.size :] = 0


@jit_parallel
def _pack_transposed(job, w, packed):
    """packed[block, tap, row, j] = w[tap, block * columns + j, row], by squares in registers."""
    blocks, taps, n_rows, width = packed.shape
    source, target, side = w.reshape(-1), packed.reshape(-1), VECTOR_BYTES // w.itemsize
    tap, block = job // blocks, job % blocks
    used = min(width, w.shape[1] - block * width)
    at, to = (tap * w.shape[1] + block * width) * n_rows, (block * taps + tap) * n_rows * width
    whole_rows, whole_columns = (n_rows - n_rows % side, used - used % side) if VECTORISED else (0, 0)
    for j in range(0, whole_columns, side):
        for row in range(0, whole_rows, side):
            transpose(source, at + j * n_rows + row, n_rows, target, to + row * width + j, width)
    for row in range(n_rows):
        first = whole_columns if row < whole_rows else 0
        for j in range(first, used):
            target[to + row * width + j] = source[at + j * n_rows + row]
        target[to + row * width + used : to + (row + 1) * width] = 0


@jit_parallel
def _run_plan(
    thread, a, packed, c, regions, a_segments, b_segments, lengths, strides, n_images, n_columns, first_tile, shares,
    gather, scale, shift, residual, limits, curve,
):  # fmt: skip
    """for each thread's groups of tiles: for each panel, block of columns, tile: tile(a, b, c); then the last step."""
    blocks, block_rows, width = packed.shape
    b = packed.reshape(-1)
    a_data, b_data = np.int64(a.ctypes.data), np.int64(b.ctypes.data)
    b_streams = b.size * b.itemsize > _STAYS
    # rows of a group's tiles: where they start in a, in c, in c at one block of columns, in the two buffers
    a_rows, c_rows = np.empty(_GROUP * ROWS, np.int64), np.empty(_GROUP * ROWS, np.int64)
    out_rows = np.empty(_GROUP * ROWS, np.int64)
    edge_rows, gathered_rows = np.arange(_GROUP * ROWS) * width, np.arange(_GROUP * ROWS) * _PITCH
    edge = np.empty(_GROUP * ROWS * width, c.dtype)  # tiles of the last, partial block before they are cut
    gathered = np.empty(_GROUP * ROWS * _PITCH if gather else 0, a.dtype)
    gathered_segments, b_offsets = np.empty_like(a_segments), np.empty_like(b_segments)
    first, last = shares[thread], shares[thread + 1]
    while first < last:
        region = region_of(first_tile, first)
        n_tiles = min(_GROUP, last - first, first_tile[region + 1] - first)
        n_rows = n_tiles * ROWS
        start = (first - first_tile[region]) * ROWS
        start_rows(regions[region], strides, n_images, start, n_rows, a_rows, c_rows)
        down, across, _, _, s0, s1, _ = regions[region]
        n_rows_once = min(n_rows, n_images * down * across - start)
        first += n_tiles
        panel, end = s0, -1
        while end < s1:  # once even without segments: positions that see no tap become zero
            end, panel_rows = _panel_end(panel, s1, lengths, gathered_segments)
            use_gathered = gather and panel_rows <= _PANEL
            if use_gathered:
                _gather_segments(
                    a, a_rows, a_segments, lengths, panel, end, n_rows, gathered, gathered_rows, gathered_segments
                )
            source = gathered if use_gathered else a
            source_rows = gathered_rows if use_gathered else a_rows
            segments = (gathered_segments if use_gathered else a_segments)[panel:end]
            b_panel, length = b_offsets[panel:end], lengths[panel:end]
            for block in range(blocks):
                whole = (block + 1) * width <= n_columns
                out = c if whole else edge
                for i in range(n_rows):
                    out_rows[i] = c_rows[i] + block * width if whole else edge_rows[i]
                for s in range(panel, end):
                    b_offsets[s] = (block * block_rows + b_segments[s]) * width
                # what tiles ask for: in the first block the next tile's positions, which follow its own where the
                # kernel is 1x1; in others their share of the next block of weights, where all have no room in cache
                lines, following = 0, b_data
                asks_positions = block == 0 and not use_gathered and end > panel
                if asks_positions:
                    lines = -(-ASKS * ROWS * lengths[end - 1] * a.itemsize // (_LINE * panel_rows))
                    following = a_data + (a_segments[end - 1] + lengths[end - 1]) * a.itemsize
                elif b_streams and end > panel:
                    lines = -(-ASKS * width * b.itemsize // (_LINE * n_tiles))
                    next_row = b_segments[panel] + (block + 1) * block_rows
                    if block + 1 == blocks:
                        next_row = b_segments[end if end < s1 else s0]
                    following += next_row * width * b.itemsize
                for t in range(n_tiles):
                    rows = slice(t * ROWS, (t + 1) * ROWS)
                    if asks_positions:
                        ahead = following + a_rows[(t + 1) * ROWS - 1] * a.itemsize, _LINE, lines
                    else:
                        ahead = following + t * (panel_rows // ASKS * lines * _LINE), _LINE, lines
                    tile(
                        source, source_rows[rows], segments, 1,
                        b, b_panel, width,
                        length, out, out_rows[rows], width, panel > s0, ahead,
                    )  # fmt: skip
            panel = end
        if blocks * width > n_columns:
            for i in range(n_rows_once):
                to, used = c_rows[i] + (blocks - 1) * width, n_columns - (blocks - 1) * width
                copy_row(edge[edge_rows[i] : edge_rows[i] + used], c[to : to + used])
        if scale.size:  # the group's sums are complete, and still in the second-level cache
            for i in range(n_rows_once):
                row = c[c_rows[i] : c_rows[i] + n_columns]
                if residual.size:
                    more = residual[c_rows[i] : c_rows[i] + n_columns]
                    scale_shift_and_add(row, scale, shift, more, limits, curve)
                else:
                    scale_and_shift(row, scale, shift, limits, curve)


@jit
def _panel_end(panel, s1, lengths, offsets):
    """Segments from `panel` on whose weights fit the cache together: (end, length); fills their running offsets."""
    end, rows = panel, 0
    while end < s1 and (end == panel or rows + lengths[end] <= _PANEL):
        offsets[end] = rows
        rows += lengths[end]
        end += 1
    return end, rows


@jit
def _gather_segments(a, a_rows, a_segments, lengths, panel, end, n_rows, gathered, gathered_rows, gathered_segments):
    """Copy the panel's segments of every row side by side."""
    for i in range(n_rows):
        for s in range(panel, end):
            to, at = gathered_rows[i] + gathered_segments[s], a_rows[i] + a_segments[s]
            copy_row(a[at : at + lengths[s]], gathered[to : to + lengths[s]])
