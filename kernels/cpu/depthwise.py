"""Depthwise convolution, forward and both gradients, on the loops by channel of `tile.py`.

Forward and input gradient run the plan of a dense convolution (plan.py) with one difference: channels are not summed,
so a tap is a segment of length 1. A row of positions of a region reads its channels in the order of memory.

The weight gradient walks the same plan with positions and taps exchanged: the rows of its tiles are taps, its segments
rows of positions. It takes channel_columns(dtype) channels at a time; the last ones of a position start earlier, so
that they end with the position, and some channels are computed twice.

bfloat16 is widened in registers, where the sums are float32; there they take the last step and are rounded. Sums that
need several passes (more than nine taps) stay in cache until they are complete, those of a few positions at a time.
"""

import numpy as np
from numba import get_num_threads

from ..activation import curve_of, limits_of
from ..bfloat16 import BFLOAT16, sum_dtype
from .arrays import contiguous, empty
from .bfloat16 import last_step_of, numbers, round_into, sums_of
from .jit import jit_parallel
from .parts import bounds
from .plan import equal_shares, forward_plan, grad_input_plan, region_of
from .rounding import rounded
from .rows import add_row, scale_and_shift
from .tile import CHANNEL_ROWS, SPLITS_PAIRS, channel_columns, channel_row, channel_tile

_RANGES = 16  # parts of the weight gradient's sum over rows of positions; independent of the number of threads
_LINES = 4  # rows of positions in one tile of the weight gradient
_SUMS = 6144  # of bfloat16 numbers made at once: 24 KiB in the first-level cache


def depthwise_conv2d(x, w, win, scale=None, shift=None, activation=None):
    """y[n, p, q, c] = sum_{kh, kw} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c].

    Args:
        x: (N, H, W, C); w: (KH, KW, C); win: Window.depthwise(x.shape, w.shape, ...).
        scale, shift: (C,), both or none; activation: as in `conv2d`.

    Returns:
        (N, out_h, out_w, C).
    """
    win.check("depthwise_conv2d", activation, x=x, weight=w, scale=scale, shift=shift)
    x, w = contiguous(x, w)
    return _sum_over_taps(x, w, win, empty(win.y_shape, x.dtype), forward_plan(win), scale, shift, activation)


def depthwise_conv2d_grad_input(grad, w, win):
    """Adjoint in x: (N, out_h, out_w, C) -> (N, H, W, C)."""
    win.check("depthwise_conv2d", grad=grad, weight=w)
    grad, w = contiguous(grad, w)
    return _sum_over_taps(grad, w, win, empty(win.x_shape, grad.dtype), grad_input_plan(win))


def depthwise_conv2d_grad_weight(x, grad, win):
    """Adjoint in w: (KH, KW, C), each tap the sum over positions of x at the tap times grad."""
    win.check("depthwise_conv2d", x=x, grad=grad)
    x, grad = contiguous(x, grad)
    dtype = sum_dtype(x.dtype)
    width = min(win.c_in, channel_columns(dtype))
    partial = np.zeros((_RANGES, -(-win.c_in // width), win.k_h * win.k_w, width), dtype)
    plan, grad_w = forward_plan(win), np.empty((win.k_h * win.k_w, win.c_in), dtype)
    splits_pairs = SPLITS_PAIRS and x.dtype == BFLOAT16 and width == channel_columns(dtype)
    _sum_over_positions(
        _RANGES, numbers(x).reshape(-1), numbers(grad).reshape(-1), partial, plan.regions, plan.a_segments,
        plan.b_segments, plan.strides, len(x), win.c_in,
    )  # fmt: skip
    _add_ranges(partial.shape[1], partial, grad_w, splits_pairs)
    return grad_w.reshape(win.w_shape)


def _sum_over_taps(a, w, win, c, plan, scale=None, shift=None, activation=None):
    """Fill c: every row of positions of every region; then activation(scale c + shift), where they are given."""
    regions, channels, halves = plan.regions, c.shape[-1], c.dtype == BFLOAT16
    cost = (plan.across + 4) * (plan.length + 1)  # a row of positions takes so long; its start counts as 4
    first_line, shares = equal_shares(len(a) * plan.down, cost, get_num_threads())
    none = np.empty(0, w.dtype)
    scale, shift = (none, none) if scale is None else contiguous(scale, shift)
    taps = plan.a_segments, plan.b_segments * channels
    run = widest = int(plan.across.max())  # positions at once
    if halves and (win.k_h * win.k_w > 9 or curve_of(activation)):  # sums wait in cache; four of each phase share
        run = max(4 * win.rate_w, _SUMS // channels)
    room = min(2 * run, widest) * int(plan.strides[5])
    arrays = numbers(a), rounded(w) if halves else w, numbers(c)
    _run_lines(len(shares) - 1, *(array.reshape(-1) for array in arrays), regions, *taps, plan.strides, channels,
               first_line, shares, scale, shift, limits_of(activation, w.dtype), curve_of(activation), run,
               room)  # fmt: skip
    return c


@jit_parallel
def _run_lines(
    thread, a, w, c, regions, a_taps, w_taps, strides, channels, first_line, shares, scale, shift, limits, curve,
    run, room,
):  # fmt: skip
    """for each thread's rows of positions, `run` to twice as many at once: sum over taps; the last step.

    room: of the sums of bfloat16 products that need several passes.
    """
    halves = c.itemsize == 2
    sums = sums_of(c[:room] if halves else c)  # of floats c itself
    for line in range(shares[thread], shares[thread + 1]):
        region = region_of(first_line, line)
        down, across, a_origin, c_origin, s0, s1, tap_columns = regions[region]
        n, u = (line - first_line[region]) // down, (line - first_line[region]) % down
        a_start = a_origin + n * strides[0] + u * strides[1]
        c_start = c_origin + n * strides[3] + u * strides[4]
        while across > 0:
            count = run if across >= 2 * run else across
            start = 0 if halves else c_start
            last = last_step_of(c, c_start, scale, shift, limits)
            done = channel_row(
                a, a_start, strides[2], a_taps[s0:s1], tap_columns, w, w_taps[s0:s1], sums, start, strides[5],
                count, channels, last, halves and not curve,
            )  # fmt: skip
            for v in range(count if (halves or scale.size) and not done else 0):
                at = v * strides[5]
                row = sums[start + at : start + at + channels]
                if scale.size:
                    scale_and_shift(row, scale, shift, limits, curve)
                round_into(c[c_start + at : c_start + at + channels], row)
            a_start, c_start, across = a_start + count * strides[2], c_start + count * strides[5], across - count


@jit_parallel
def _sum_over_positions(
    job, x, grad, partial, regions, a_segments, b_segments, strides, n_images, channels
):  # fmt: skip
    """partial[job, block, tap] += x at the tap * grad, over the job's rows of positions in every region."""
    ranges, blocks, taps, width = partial.shape
    sums = partial[job].reshape(-1)
    tap_rows, sum_rows = np.empty(CHANNEL_ROWS, np.int64), np.empty(CHANNEL_ROWS, np.int64)
    x_lines, grad_lines = np.empty(_LINES, np.int64), np.empty(_LINES, np.int64)
    x_block, grad_block = np.empty(_LINES, np.int64), np.empty(_LINES, np.int64)
    length = np.empty(_LINES, np.int64)
    for region in range(len(regions)):
        down, across, a_origin, c_origin, s0, s1, _ = regions[region]
        length[:] = across
        first, last = bounds(job, ranges, n_images * down)
        for start in range(first, last, _LINES):
            n_lines = min(_LINES, last - start)
            for line in range(n_lines):
                n, u = (start + line) // down, (start + line) % down
                x_lines[line] = a_origin + n * strides[0] + u * strides[1]
                grad_lines[line] = c_origin + n * strides[3] + u * strides[4]
            for block in range(blocks):
                channel = min(block * width, channels - width)
                for line in range(n_lines):
                    x_block[line], grad_block[line] = x_lines[line] + channel, grad_lines[line] + channel
                for tap in range(s0, s1, CHANNEL_ROWS):
                    for i in range(CHANNEL_ROWS):  # the last tile repeats its last tap
                        s = min(tap + i, s1 - 1)
                        tap_rows[i], sum_rows[i] = a_segments[s], (block * taps + b_segments[s]) * width
                    channel_tile(
                        x, tap_rows, x_block, strides[2], grad, grad_block, strides[5], length[:n_lines],
                        sums, sum_rows, width, True, (width, strides[2], width),
                    )  # fmt: skip


@jit_parallel
def _add_ranges(block, partial, grad_w, splits_pairs):
    """grad_w[tap] is the sum over ranges, in order; the last block overlaps the one before: both write the same."""
    (ranges, _, _, width), channels = partial.shape, grad_w.shape[1]
    channel = min(block * width, channels - width)
    for tap in range(partial.shape[2]):
        total, out = partial[0, block, tap], grad_w[tap, channel : channel + width]
        for part in range(1, ranges):
            add_row(total, partial[part, block, tap])
        for c in range(width):
            out[c] = total[c // 2 + c % 2 * (width // 2)] if splits_pairs else total[c]
