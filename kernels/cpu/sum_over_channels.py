"""Sums over channels and taps: the driver of dense convolution, forward and input gradient.

Blocks, from the outside in: each thread has a share of the tiles of output positions; a group of tiles shares one panel
of weights (some segments x one block of output channels) while it is in the second-level cache; a tile runs a panel's
segments in registers. The weights are packed so that a tile reads them in order.
"""

import numpy as np
from numba import get_num_threads, prange

from .arrays import contiguous, empty
from .jit import jit, jit_parallel
from .plan import equal_shares, start_rows
from .rows import copy_row, scale_and_shift
from .tile import ROWS, columns, tile

_GROUP = 8  # tiles that share one panel of weights
_PANEL = 2048  # rows of packed weights in a panel: 256 KiB, a part of a core's second-level cache
_PITCH = _PANEL + 16  # elements from one gathered row to the next; not a power of two


def pack(w, n_rows, n_columns, steps):
    """Blocks of columns(dtype) output channels with all taps: (blocks, taps * n_rows, columns), zeros past the last.

    Args:
        w: (KH, KW, C, K); n_rows, n_columns: C and K, or K and C to pack the transpose; steps: of row and column in w.
    """
    width = columns(w.dtype)
    taps = w.shape[0] * w.shape[1]
    packed = empty((-(-n_columns // width), taps, n_rows, width), w.dtype)
    _pack(w.reshape(taps, -1), packed, n_columns, *steps)
    return packed.reshape(len(packed), -1, width)


def run_plan(a, packed, c, plan, scale=None, shift=None, relu=False):
    """Fill c: every region of the plan, every block of output channels; then scale c + shift, where they are given."""
    tiles = -(-len(a) * plan.regions[:, 0] * plan.regions[:, 1] // ROWS)
    first_tile, shares = equal_shares(tiles, plan.length + 64, get_num_threads())
    # positions a multiple of 2 KiB apart share a few cache sets and a tile's rows would evict each other: copy those
    gather = int(plan.strides[2]) * a.itemsize % 2048 == 0
    none = np.empty(0, c.dtype)
    affine = (none, none, False) if scale is None else (*contiguous(scale, shift), relu)
    _run_plan(a.reshape(-1), packed, c.reshape(-1), *plan[:5], len(a), c.shape[-1], first_tile, shares, gather, *affine)
    return c


@jit_parallel
def _pack(w, packed, n_columns, row_step, column_step):
    blocks, taps, n_rows, width = packed.shape
    parts = 8 if n_rows >= 64 else 1
    for job in prange(blocks * taps * parts):
        block, tap, part = np.int64(job) // (taps * parts), np.int64(job) // parts % taps, np.int64(job) % parts
        used = min(width, n_columns - block * width)
        for row in range(part * n_rows // parts, (part + 1) * n_rows // parts):
            start, line = row * row_step + block * width * column_step, packed[block, tap, row]
            if column_step == 1:
                copy_row(w[tap, start : start + used], line[:used])
            else:
                for j in range(used):
                    line[j] = w[tap, start + j * column_step]
            line[used:] = 0


@jit_parallel
def _run_plan(
    a, packed, c, regions, a_segments, b_segments, n_k, strides, n_images, n_columns, first_tile, shares, gather,
    scale, shift, relu,
):  # fmt: skip
    """for each thread's groups of tiles: for each panel of segments, block of columns, tile: tile(a, b, c)."""
    blocks, block_rows, width = packed.shape
    b = packed.reshape(-1)
    for thread in prange(shares.size - 1):
        # rows of a group's tiles: where they start in a, in c, in c at one block of columns, in the two buffers
        a_rows, c_rows = np.empty(_GROUP * ROWS, np.int64), np.empty(_GROUP * ROWS, np.int64)
        out_rows = np.empty(_GROUP * ROWS, np.int64)
        edge_rows, gathered_rows = np.arange(_GROUP * ROWS) * width, np.arange(_GROUP * ROWS) * _PITCH
        edge = np.empty(_GROUP * ROWS * width, c.dtype)  # tiles of the last, partial block before they are cut
        gathered = np.empty(_GROUP * ROWS * _PITCH if gather else 0, a.dtype)
        gathered_segments, b_offsets = np.empty_like(a_segments), np.empty_like(b_segments)
        first, last = shares[np.int64(thread)], shares[np.int64(thread) + 1]
        while first < last:
            region = np.searchsorted(first_tile, first, side="right") - 1
            n_tiles = min(_GROUP, last - first, first_tile[region + 1] - first)
            n_rows = n_tiles * ROWS
            start = (first - first_tile[region]) * ROWS
            start_rows(regions[region], strides, n_images, start, n_rows, a_rows, c_rows)
            n_rows_once = min(n_rows, n_images * regions[region, 0] * regions[region, 1] - start)
            first += n_tiles
            s0, s1 = regions[region, 4], regions[region, 5]
            panel, end = s0, -1
            while end < s1:  # once even without segments: positions that see no tap become zero
                end, panel_rows = _panel_end(panel, s1, n_k, gathered_segments)
                use_gathered = gather and panel_rows <= _PANEL
                if use_gathered:
                    _gather(a, a_rows, a_segments, n_k, panel, end, n_rows, gathered, gathered_rows, gathered_segments)
                source = gathered if use_gathered else a
                source_rows = gathered_rows if use_gathered else a_rows
                segments = gathered_segments if use_gathered else a_segments
                for block in range(blocks):
                    whole = (block + 1) * width <= n_columns
                    out = c if whole else edge
                    for i in range(n_rows):
                        out_rows[i] = c_rows[i] + block * width if whole else edge_rows[i]
                    for s in range(panel, end):
                        b_offsets[s] = (block * block_rows + b_segments[s]) * width
                    for t in range(n_tiles):
                        rows = slice(t * ROWS, (t + 1) * ROWS)
                        tile(
                            source, source_rows[rows], segments[panel:end], 1,
                            b, b_offsets[panel:end], width,
                            end - panel, n_k[panel:end], out, out_rows[rows], width, panel > s0,
                        )  # fmt: skip
                    if end == s1 and scale.size:  # the sums are complete, and still in cache
                        columns_of_block = slice(block * width, min((block + 1) * width, n_columns))
                        used = columns_of_block.stop - columns_of_block.start
                        for i in range(n_rows_once):
                            row = out[out_rows[i] : out_rows[i] + used]
                            scale_and_shift(row, scale[columns_of_block], shift[columns_of_block], relu)
                panel = end
            if blocks * width > n_columns:
                for i in range(n_rows_once):
                    to, used = c_rows[i] + (blocks - 1) * width, n_columns - (blocks - 1) * width
                    copy_row(edge[edge_rows[i] : edge_rows[i] + used], c[to : to + used])


@jit
def _panel_end(panel, s1, n_k, offsets):
    """Segments from `panel` on whose weights fit the cache together: (end, length); fills their running offsets."""
    end, rows = panel, 0
    while end < s1 and (end == panel or rows + n_k[end] <= _PANEL):
        offsets[end] = rows
        rows += n_k[end]
        end += 1
    return end, rows


@jit
def _gather(a, a_rows, a_segments, n_k, panel, end, n_rows, gathered, gathered_rows, gathered_segments):
    """Copy the panel's segments of every row side by side."""
    for i in range(n_rows):
        for s in range(panel, end):
            to, at = gathered_rows[i] + gathered_segments[s], a_rows[i] + a_segments[s]
            copy_row(a[at : at + n_k[s]], gathered[to : to + n_k[s]])
