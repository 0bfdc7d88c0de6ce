"""A depthwise and a pointwise convolution in one pass: what the first makes never reaches memory.

for each thread's output positions, some rows of them at a time:
    rows of the depthwise result, with its last step, in a buffer that stays in the second-level cache
    for each block of output channels, each tile of positions: tile(buffer, weights, y);  the second last step

The loops inside are those of `depthwise_conv2d` and `pointwise`, in their order: the result has the same bits. Where
`pointwise` would leave the tile for bfloat16 products (bfloat16_block.py), the two run one after the other.
"""

import numpy as np
from numba import get_num_threads

from ..activation import curve_of, limits_of
from ..checks import check_maps
from .arrays import contiguous, empty
from .bfloat16_block import blocks_compute
from .depthwise import depthwise_conv2d
from .jit import jit, jit_parallel
from .parts import bounds
from .plan import forward_plan
from .pointwise import pointwise
from .rows import copy_row, scale_and_shift, scale_shift_and_add
from .sum_over_channels import pack
from .tile import ROWS, channel_row, tile

_BUFFER = 1 << 19  # bytes of depthwise results at a time: a part of a core's second-level cache
_LEAST = 8 * ROWS  # positions that share the weights while these pass by; with fewer the time goes into weights


def separable_conv2d(x, w_depthwise, w_pointwise, win, win_pointwise, between, last, residual=None):
    """pointwise(depthwise_conv2d(x, w_depthwise, win, *between), w_pointwise, win_pointwise, *last, residual).

    Args:
        x: (N, H, W, C); w_depthwise: (KH, KW, C); w_pointwise: (1, 1, C, K); win, win_pointwise: the windows of both.
        between, last: (scale, shift, activation) of each, as `pointwise` takes them; residual: as the result, or None.

    Returns:
        (N, out_h, out_w, K).

    Raises:
        ValueError: shapes or windows that do not fit each other. TypeError: dtypes.

    Cost: win.macs + win_pointwise.macs; the depthwise result is neither written to memory nor read, unless it has so
    many channels that the cache holds too few positions of it, or the second convolution is made of bfloat16 products.
    """
    scale, shift, activation = between
    win.check("depthwise_conv2d", activation, x=x, weight=w_depthwise, scale=scale, shift=shift)
    win_pointwise.check("pointwise", last[2], weight=w_pointwise, scale=last[0], shift=last[1], residual=residual)
    check_maps("separable_conv2d", x=x, weight=w_pointwise)
    if win_pointwise.x_shape != win.y_shape:
        raise ValueError(
            f"separable_conv2d: the pointwise window was made for {win_pointwise.x_shape}, but the depthwise result is"
            f" {win.y_shape}"
        )
    line = win.out_w * _pitch(win.c_in, x.dtype) * x.dtype.itemsize  # bytes of a row of positions in the buffer
    two_steps = scale is not None and last[0] is not None
    too_wide = _BUFFER // line * win.out_w < min(_LEAST, win.out_h * win.out_w)
    if blocks_compute(x.dtype, win_pointwise) or not two_steps or too_wide:
        y = depthwise_conv2d(x, w_depthwise, win, *between)
        return pointwise(y, w_pointwise, win_pointwise, *last, residual)
    x, w, scale, shift = contiguous(x, w_depthwise, scale, shift)
    y = empty(win_pointwise.y_shape, x.dtype)
    no_residual = np.empty(0, x.dtype)
    last_scale, last_shift, residual = contiguous(*last[:2], no_residual if residual is None else residual)
    plan = forward_plan(win)
    threads = get_num_threads()
    _run(
        threads, x.reshape(-1), w.reshape(-1), pack(w_pointwise), y.reshape(-1), plan.regions, plan.a_segments,
        plan.b_segments * win.c_in, plan.strides, (win.n * win.out_h, win.out_h, win.out_w),
        _lines(win.out_w, _BUFFER // line), _pitch(win.c_in, x.dtype), win_pointwise.c_out, threads,
        (scale, shift, limits_of(activation, x.dtype), curve_of(activation)),
        (last_scale, last_shift, limits_of(last[2], x.dtype), curve_of(last[2])), residual.reshape(-1),
    )  # fmt: skip
    return y


def _pitch(channels, dtype):
    """Elements from a position of the buffer to the next: positions 2 KiB apart would evict each other."""
    line = 64 // dtype.itemsize
    return channels + line if channels % (2048 // dtype.itemsize) == 0 else channels


def _lines(across, most):
    """Rows of positions at a time, of which the last tile is the best filled."""
    return max(range(1, min(most, 8) + 1), key=lambda n: n * across / -(-n * across // ROWS))


@jit_parallel
def _run(
    thread, x, w, packed, y, regions, x_taps, w_taps, strides, size, lines, pitch, n_columns, threads, between, last,
    residual,
):  # fmt: skip
    """Fill y; size: (rows of positions in all images, in one, positions in a row)."""
    all_lines, _, across = size
    scale, shift, limits, curve = between
    last_scale, last_shift, last_limits, last_curve = last
    blocks, channels, width = packed.shape
    weights = packed.reshape(-1)
    tiles = (all_lines * across + ROWS - 1) // ROWS
    most_rows = (lines * across + ROWS - 1) // ROWS * ROWS
    first_tile, last_tile = bounds(thread, threads, tiles)
    position, end = first_tile * ROWS, min(last_tile * ROWS, all_lines * across)
    buffer = np.empty(lines * across * pitch, x.dtype)
    edge = np.empty(most_rows * width, x.dtype)  # tiles of the last, partial block before they are cut
    rows, y_rows = np.empty(most_rows, np.int64), np.empty(most_rows, np.int64)
    out_rows = np.empty(most_rows, np.int64)
    no_offset, block_offset, length = np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, channels)
    while position < end:  # threads that share a row both compute its depthwise part
        line = position // across
        n_lines = min(lines, all_lines - line)
        for i in range(n_lines):
            to = i * across * pitch
            _depthwise_line(x, w, buffer, to, line + i, regions, x_taps, w_taps, strides, size, pitch, channels)
            for v in range(across):
                scale_and_shift(buffer[to + v * pitch : to + v * pitch + channels], scale, shift, limits, curve)
        n = min(end, (line + n_lines) * across) - position
        n_tiles = (n + ROWS - 1) // ROWS
        for i in range(n_tiles * ROWS):  # past the last position it is repeated
            at = position + min(i, n - 1)
            rows[i], y_rows[i] = (at - line * across) * pitch, at * n_columns
        for block in range(blocks):
            whole = (block + 1) * width <= n_columns
            out = y if whole else edge
            for i in range(n_tiles * ROWS):
                out_rows[i] = y_rows[i] + block * width if whole else i * width
            block_offset[0] = block * channels * width
            for t in range(n_tiles):
                part = slice(t * ROWS, (t + 1) * ROWS)
                tile(
                    buffer, rows[part], no_offset, 1, weights, block_offset, width, length, out, out_rows[part],
                    width, False, (0, 0, 0),
                )  # fmt: skip
        for i in range(n):
            row = y[y_rows[i] : y_rows[i] + n_columns]
            if blocks * width > n_columns:
                used = n_columns - (blocks - 1) * width
                copy_row(edge[i * width : i * width + used], row[n_columns - used :])
            if residual.size:
                more = residual[y_rows[i] : y_rows[i] + n_columns]
                scale_shift_and_add(row, last_scale, last_shift, more, last_limits, last_curve)
            else:
                scale_and_shift(row, last_scale, last_shift, last_limits, last_curve)
        position += n


@jit
def _depthwise_line(x, w, buffer, to, line, regions, x_taps, w_taps, strides, size, pitch, channels):
    """One row of positions of the depthwise sums, of all regions that it meets."""
    _, lines_of_image, across = size
    n, p = line // lines_of_image, line % lines_of_image
    for region in range(len(regions)):
        down, length, x_origin, y_origin, s0, s1, tap_columns = regions[region]
        first, q = y_origin // channels // across, y_origin // channels % across
        if first <= p < first + down:
            channel_row(
                x, x_origin + n * strides[0] + (p - first) * strides[1], strides[2], x_taps[s0:s1], tap_columns, w,
                w_taps[s0:s1], buffer, to + q * pitch, pitch, length, channels, None, False,
            )  # fmt: skip
