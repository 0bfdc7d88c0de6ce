"""Dense convolution, forward and both gradients, on the register tile of `tile.py`.

Forward and input gradient run one driver, `_run_plan`, over a plan (plan.py): groups of tiles x blocks of output
channels, with the weights packed so that a tile reads them in order. The weight gradient sums over pixels instead of
channels and has its own driver. Every output element is computed by one thread in one order: any number of threads
gives the same bits.
"""

import numpy as np
from numba import get_num_threads, prange

from . import pointwise as _pointwise
from .arrays import contiguous, empty
from .jit import jit, jit_parallel
from .plan import forward_plan, grad_input_plan
from .tile import ROWS, columns, tile

_GROUP = 8  # tiles that share one block of weights while it is in cache
_PANEL = 2048  # rows of packed weights in that block: 256 KiB, half a core's second-level cache
_JOBS = (
    16  # parts of a weight gradient, where it has so many: independent of the number of threads, as its bits must be
)
_PIXELS = 256  # pixels at a time in the weight gradient: 32 KiB of packed gradient
_SUMS = 1 << 19  # bytes of partial sums that a job of the weight gradient keeps in cache


def conv2d(x, w, win):
    """y[n, p, q, k] = sum_{kh, kw, c} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c, k], zero outside x.

    Args:
        x: (N, H, W, C); w: (KH, KW, C, K), same dtype; win: Window.conv(x.shape, w.shape, ...).

    Returns:
        (N, out_h, out_w, K).

    Cost:
        win.macs multiply-adds less those in the padding; the rate does not matter.
    """
    if win.is_pointwise:
        return _pointwise.pointwise(x, w, win)
    win.check(x=x, weight=w)
    x, w = contiguous(x, w)
    packed = pack(w, win.c_in, win.c_out, (win.c_out, 1))
    return run_plan(x, packed, empty(win.y_shape, x.dtype), forward_plan(win))


def conv2d_grad_input(grad, w, win):
    """Adjoint of `conv2d` in x: (N, out_h, out_w, K) -> (N, H, W, C)."""
    if win.is_pointwise:
        return _pointwise.pointwise_grad_input(grad, w, win)
    win.check(grad=grad, weight=w)
    grad, w = contiguous(grad, w)
    packed = pack(w, win.c_out, win.c_in, (1, win.c_out))
    return run_plan(grad, packed, empty(win.x_shape, grad.dtype), grad_input_plan(win))


def conv2d_grad_weight(x, grad, win):
    """Adjoint of `conv2d` in w: each tap collects x at the tap times grad over all positions. (KH, KW, C, K)."""
    if win.is_pointwise:
        return _pointwise.pointwise_grad_weight(x, grad, win)
    win.check(x=x, grad=grad)
    x, grad = contiguous(x, grad)
    k_w, rate_w, left, c = win.k_w, win.rate_w, win.pad_left, win.c_in
    if rate_w == 1 and c < ROWS:  # the stem: join the taps of a kernel row into one axis of KW * C rows, on padded x
        x = np.pad(x, ((0, 0), (0, 0), (left, win.pad_right), (0, 0)))
        k_w, left, c = 1, 0, win.k_w * c
    taps = [(kh * win.rate_h - win.pad_top, kw * rate_w - left) for kh in range(win.k_h) for kw in range(k_w)]
    h, w, c_x = x.shape[1:]
    spans = np.array([_span(d, win.stride_h, h, win.out_h) + _span(e, win.stride_w, w, win.out_w) for d, e in taps])
    if c != c_x:
        spans[:, 2:] = 0, win.out_w  # all columns: the padding is there
    offsets = np.array([(d * w + e) * c_x for d, e in taps])
    strides = (h * w * c_x, win.stride_h * w * c_x, win.stride_w * c_x)
    grad_w = empty((len(taps), c, win.c_out), x.dtype)
    sum_over_pixels(x, grad.reshape(-1, win.out_h, win.out_w, win.c_out), grad_w, spans, offsets, strides)
    return grad_w.reshape(win.w_shape)


def _span(offset, stride, size, out_size):
    """Output positions [first, end) whose tap at `offset` is inside the input."""
    first = max(0, -(offset // stride))
    return first, max(first, min(out_size, (size - 1 - offset) // stride + 1))


# -------------------------------------------------------------------- forward and input gradient


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


def run_plan(a, packed, c, plan):
    """Fill c: every region of the plan, every block of output channels."""
    tiles = -(-len(a) * plan.regions[:, 0] * plan.regions[:, 1] // ROWS)
    first_tile = np.concatenate([[0], np.cumsum(tiles)])
    shares = _equal_shares(tiles, first_tile, plan)
    # positions a multiple of 2 KiB apart share a few cache sets, and a tile's rows would evict each other: copy them
    # first
    gather = int(plan.strides[2]) * a.itemsize % 2048 == 0
    _run_plan(a.reshape(-1), packed, c.reshape(-1), *plan, len(a), c.shape[-1], first_tile, shares, gather)
    return c


def _equal_shares(tiles, first_tile, plan):
    """Bounds of each thread's tiles, for equal cost: a tile costs the length of its region's segments."""
    length = np.concatenate([[0], np.cumsum(plan.n_k)])
    cost = length[plan.regions[:, 5]] - length[plan.regions[:, 4]] + 64
    done = np.concatenate([[0], np.cumsum(tiles * cost)])
    goals = np.linspace(0, done[-1], get_num_threads() + 1)
    region = np.clip(np.searchsorted(done, goals, side="right") - 1, 0, len(tiles) - 1)
    return first_tile[region] + np.rint((goals - done[region]) / cost[region]).astype(np.int64)


@jit
def _copy(source, target):
    """Whole slices: an index computed as offset + j might be negative, and its test would keep the loop scalar."""
    for j in range(source.size):
        target[j] = source[j]


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
                _copy(w[tap, start : start + used], line[:used])
            else:
                for j in range(used):
                    line[j] = w[tap, start + j * column_step]
            line[used:] = 0


@jit_parallel
def _run_plan(
    a,
    packed,
    c,
    regions,
    a_segments,
    b_segments,
    n_k,
    strides,
    n_images,
    n_columns,
    first_tile,
    shares,
    gather,
):
    """for each thread's groups of tiles: for each panel of segments, block of columns, tile: tile(a, b, c)."""
    blocks, block_rows, width = packed.shape
    b = packed.reshape(-1)
    pitch = _PANEL + 16  # of a gathered row; not a power of two
    for thread in prange(shares.size - 1):
        a_rows, c_rows = np.empty(_GROUP * ROWS, np.int64), np.empty(_GROUP * ROWS, np.int64)
        out_rows = np.empty(_GROUP * ROWS, np.int64)
        b_offsets = np.empty(b_segments.size, np.int64)
        edge_rows = np.arange(_GROUP * ROWS) * width
        edge = np.empty(_GROUP * ROWS * width, c.dtype)  # tiles of the last, partial block before they are cut
        gathered_rows = np.arange(_GROUP * ROWS) * pitch
        gathered = np.empty(_GROUP * ROWS * pitch if gather else 0, a.dtype)
        gathered_segments = np.empty(a_segments.size, np.int64)
        first, last = shares[np.int64(thread)], shares[np.int64(thread) + 1]
        while first < last:
            region = np.searchsorted(first_tile, first, side="right") - 1
            n_tiles = min(_GROUP, last - first, first_tile[region + 1] - first)
            down, across, a_origin, c_origin, s0, s1 = regions[region]
            start, positions = (first - first_tile[region]) * ROWS, n_images * down * across
            first += n_tiles
            for i in range(n_tiles * ROWS):
                m = min(
                    start + i, positions - 1
                )  # the last tile repeats its last position: the same value, stored again
                n, u, v = m // (down * across), m // across % down, m % across
                a_rows[i] = a_origin + n * strides[0] + u * strides[1] + v * strides[2]
                c_rows[i] = c_origin + n * strides[3] + u * strides[4] + v * strides[5]
            panel = s0
            while True:  # once even without segments: positions that see no tap become zero
                end, rows = panel, 0
                while end < s1 and (end == panel or rows + n_k[end] <= _PANEL):
                    gathered_segments[end] = rows
                    rows += n_k[end]
                    end += 1
                use_gathered = gather and rows <= _PANEL
                if use_gathered:
                    for i in range(n_tiles * ROWS):
                        for s in range(panel, end):
                            to, at = gathered_rows[i] + gathered_segments[s], a_rows[i] + a_segments[s]
                            _copy(a[at : at + n_k[s]], gathered[to : to + n_k[s]])
                source = gathered if use_gathered else a
                source_rows = gathered_rows if use_gathered else a_rows
                segments = gathered_segments if use_gathered else a_segments
                for block in range(blocks):
                    whole = (block + 1) * width <= n_columns
                    for s in range(panel, end):
                        b_offsets[s] = (block * block_rows + b_segments[s]) * width
                    for i in range(n_tiles * ROWS):
                        out_rows[i] = c_rows[i] + block * width if whole else edge_rows[i]
                    out = c if whole else edge
                    for t in range(n_tiles):
                        tile_rows = slice(t * ROWS, (t + 1) * ROWS)
                        tile(
                            source, source_rows[tile_rows], segments[panel:end], 1,
                            b, b_offsets[panel:end], width,
                            end - panel, n_k[panel:end], out, out_rows[tile_rows], width, panel > s0,
                        )  # fmt: skip
                panel = end
                if panel >= s1:
                    break
            for i in range(n_tiles * ROWS if blocks * width > n_columns else 0):
                for j in range(n_columns - (blocks - 1) * width):
                    c[c_rows[i] + (blocks - 1) * width + j] = edge[i * width + j]


# -------------------------------------------------------------------- weight gradient


def sum_over_pixels(x, grad, grad_w, spans, offsets, strides):
    """grad_w[t, c, k] = sum_{n, p, q in the span of tap t} x[position + offsets[t] + c] grad[n, p, q, k].

    Args:
        x: flat memory of the input; grad: (N, P, Q, K); grad_w: (T, C, K), filled.
        spans: (T, 4) first and last positions down and across; offsets: (T,); strides: steps of image, p and q in x.
    """
    taps, c, k = grad_w.shape
    width = columns(x.dtype)
    row_blocks, blocks = -(-c // ROWS), -(-k // width)
    chunks = -(-grad.shape[0] * grad.shape[1] // max(1, _PIXELS // grad.shape[2])) * -(-grad.shape[2] // _PIXELS)
    if (
        grad_w.nbytes <= _SUMS
    ):  # all sums fit a core's cache: every job reads its own pixels, once, and makes partial sums
        ranges, block_parts, row_parts = min(_JOBS, chunks), 1, 1
    else:  # every job reads all pixels and owns some sums
        ranges, block_parts = 1, min(blocks, _JOBS)
        row_parts = min(row_blocks, max(-(-_JOBS // block_parts), -(-taps * c * width * x.itemsize // _SUMS)))
    partial = grad_w[None] if ranges == 1 else empty((ranges, *grad_w.shape), x.dtype)
    _sum_over_pixels(
        x.reshape(-1), grad, partial, spans.astype(np.int64), offsets.astype(np.int64), np.array(strides, np.int64),
        chunks, block_parts, row_parts, width,
    )  # fmt: skip
    if ranges > 1:
        _add_in_order(partial.reshape(ranges, -1), grad_w.reshape(-1))


@jit_parallel
def _sum_over_pixels(x, grad, partial, spans, offsets, strides, chunks, block_parts, row_parts, width):
    """for each (range of pixels, part of k, part of c): for chunks, blocks of k: pack grad; for c, taps: tile."""
    ranges, taps, n_c, n_k = partial.shape
    n_images, down, across, _ = grad.shape
    blocks, row_blocks = (n_k + width - 1) // width, (n_c + ROWS - 1) // ROWS
    chunk_w, chunk_h = min(across, _PIXELS), max(1, _PIXELS // across)
    chunks_across = (across + chunk_w - 1) // chunk_w
    for job in prange(ranges * block_parts * row_parts):
        part, row_part = np.int64(job) // row_parts, np.int64(job) % row_parts
        pixels, block_part = part // block_parts, part % block_parts
        first_block, last_block = block_part * blocks // block_parts, (block_part + 1) * blocks // block_parts
        first_row, last_row = (
            row_part * row_blocks // row_parts * ROWS,
            (row_part + 1) * row_blocks // row_parts * ROWS,
        )
        n_rows = last_row - first_row
        sums = np.zeros((last_block - first_block) * taps * n_rows * width, grad.dtype)
        packed = np.zeros(chunk_h * chunk_w * width, grad.dtype)
        a_rows, c_rows = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
        a_segments, b_segments, length = (
            np.empty(chunk_h, np.int64),
            np.empty(chunk_h, np.int64),
            np.empty(chunk_h, np.int64),
        )
        for chunk in range(pixels * chunks // ranges, (pixels + 1) * chunks // ranges):
            row0, q0 = chunk // chunks_across * chunk_h, chunk % chunks_across * chunk_w
            row1, q1 = min(row0 + chunk_h, n_images * down), min(q0 + chunk_w, across)
            for block in range(first_block, last_block):
                used = min(width, n_k - block * width)
                for row in range(row0, row1):
                    n, p = row // down, row % down
                    for q in range(q0, q1):
                        at = ((row - row0) * chunk_w + q - q0) * width
                        _copy(grad[n, p, q, block * width : block * width + used], packed[at : at + used])
                for row in range(first_row, last_row, ROWS):
                    for t in range(taps):
                        n_segments = 0
                        lo, hi = max(q0, spans[t, 2]), min(q1, spans[t, 3])
                        for image_row in range(row0, row1):
                            n, p = image_row // down, image_row % down
                            if spans[t, 0] <= p < spans[t, 1] and lo < hi:
                                a_segments[n_segments] = offsets[t] + n * strides[0] + p * strides[1] + lo * strides[2]
                                b_segments[n_segments] = ((image_row - row0) * chunk_w + lo - q0) * width
                                length[n_segments] = hi - lo
                                n_segments += 1
                        for i in range(ROWS):  # the last tile repeats its last channel
                            a_rows[i] = min(row + i, n_c - 1)
                            c_rows[i] = (((block - first_block) * taps + t) * n_rows + a_rows[i] - first_row) * width
                        tile(
                            x, a_rows, a_segments, strides[2],
                            packed, b_segments, width,
                            n_segments, length, sums, c_rows, width, True,
                        )  # fmt: skip
        for block in range(first_block, last_block):
            for t in range(taps):
                for i in range(first_row, min(last_row, n_c)):
                    at = (((block - first_block) * taps + t) * n_rows + i - first_row) * width
                    for j in range(min(width, n_k - block * width)):
                        partial[pixels, t, i, block * width + j] = sums[at + j]


@jit_parallel
def _add_in_order(partial, total):
    """total[i] = partial[0, i] + partial[1, i] + ..., the same order for any number of threads."""
    ranges, size = partial.shape
    parts = 64
    for job in prange(parts):
        first, last = np.int64(job) * size // parts, (np.int64(job) + 1) * size // parts
        for i in range(first, last):
            total[i] = partial[0, i]
        for r in range(1, ranges):
            for i in range(first, last):
                total[i] += partial[r, i]
