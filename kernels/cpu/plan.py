"""From a Window to the list of register tiles to run: what the convolution drivers loop over.

A convolution, forward or input gradient, is for every output position a sum over segments: runs in which both operands
advance by constant steps (the channels of one tap; at rate 1 even all taps of a kernel row, which lie side by side in
memory; in a depthwise convolution one tap alone, for its channels are not summed). Output positions that see the same
taps form a region, a rectangle; inside a region no tap needs a test and taps in the padding cost nothing. The two
directions differ only in their plan.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..geometry import tap_runs
from .jit import jit


class Plan(NamedTuple):
    """Regions and segments of one direction of a convolution; all offsets in elements."""

    regions: np.ndarray  # (R, 7) int64: positions down, across, origin in a, in c, first, end of segments, taps across
    a_segments: np.ndarray  # (S,) int64: offset in a from the position's origin
    b_segments: np.ndarray  # (S,) int64: offset in one column block of the packed weights, in rows
    lengths: np.ndarray  # (S,) int64: length
    strides: np.ndarray  # (6,) int64: steps of image, row, position in a; the same in c
    length: np.ndarray  # (R,) int64: of each region's segments together

    @property
    def down(self):
        """(R,) rows of positions of each region in one image."""
        return self.regions[:, 0]

    @property
    def across(self):
        """(R,) positions in each of these rows."""
        return self.regions[:, 1]


class _Builder:
    """Collects regions and their segments."""

    def __init__(self):
        self.regions, self.segments, self.length = [], [], []

    def add(self, down, across, a_origin, c_origin, segments, taps_across):
        first = len(self.segments)
        self.segments += segments
        self.regions.append((down, across, a_origin, c_origin, first, len(self.segments), max(1, taps_across)))
        self.length.append(sum(length for _, _, length in segments))

    def plan(self, strides):
        a_segments, b_segments, lengths = np.array(self.segments, np.int64).reshape(-1, 3).T.copy()
        return Plan(
            regions=np.array(self.regions, np.int64),
            a_segments=a_segments,
            b_segments=b_segments,
            lengths=lengths,
            strides=np.array(strides, np.int64),
            length=np.array(self.length, np.int64),
        )


@lru_cache(maxsize=512)
def forward_plan(win):
    """Plan of y from x: position (p, q) starts at input pixel (p s - top, q s - left)."""
    build, (h, w, c, k), n = _Builder(), (win.in_h, win.in_w, win.c_in, win.c_out), _rows_of_a_tap(win, win.c_in)
    for r in win.regions():
        a_origin = ((r.p0 * win.stride_h - win.pad_top) * w + r.q0 * win.stride_w - win.pad_left) * c
        segments = []
        for kh in range(r.kh0, r.kh1):
            row = kh * win.rate_h * w
            # at rate 1 the taps of a kernel row are neighbours in x and in the weights: one long segment
            if win.rate_w == 1 and win.op == "conv2d":
                segments.append(((row + r.kw0) * c, (kh * win.k_w + r.kw0) * c, (r.kw1 - r.kw0) * c))
            else:
                segments += [((row + kw * win.rate_w) * c, (kh * win.k_w + kw) * n, n) for kw in range(r.kw0, r.kw1)]
        c_origin, segments = (r.p0 * win.out_w + r.q0) * k, [s for s in segments if s[2]]
        build.add(r.p1 - r.p0, r.q1 - r.q0, a_origin, c_origin, segments, r.kw1 - r.kw0)
    a_strides = (h * w * c, win.stride_h * w * c, win.stride_w * c)
    return build.plan((*a_strides, win.out_h * win.out_w * k, win.out_w * k, k))


@lru_cache(maxsize=512)
def grad_input_plan(win):
    """Plan of grad_x from grad: pixel h gets tap kh from position p = (h + top - kh r) / s where that is whole.

    The pixels h = i, i + s, i + 2 s ... of one phase i meet the same taps, at consecutive positions p.
    """
    build, (h, w, c, k), n = _Builder(), (win.in_h, win.in_w, win.c_in, win.c_out), _rows_of_a_tap(win, win.c_out)
    for i in range(min(win.stride_h, h)):
        row_taps, row_runs = _phase(i, h, win.stride_h, win.rate_h, win.k_h, win.pad_top, win.out_h)
        for j in range(min(win.stride_w, w)):
            column_taps, column_runs = _phase(j, w, win.stride_w, win.rate_w, win.k_w, win.pad_left, win.out_w)
            for u0, u1, a0, a1 in row_runs:
                for v0, v1, b0, b1 in column_runs:
                    segments = [
                        ((dp * win.out_w + dq) * k, (kh * win.k_w + kw) * n, n)
                        for kh, dp in row_taps[a0:a1][::-1]
                        for kw, dq in column_taps[b0:b1][::-1]  # in the order of memory
                    ]
                    c_origin = ((i + win.stride_h * u0) * w + j + win.stride_w * v0) * c
                    build.add(u1 - u0, v1 - v0, (u0 * win.out_w + v0) * k, c_origin, segments, b1 - b0)
    c_strides = (h * w * c, win.stride_h * w * c, win.stride_w * c)
    return build.plan((win.out_h * win.out_w * k, win.out_w * k, k, *c_strides))


def _rows_of_a_tap(win, channels):
    """Weights are rows of output channels: a tap has one for each channel that is summed, a depthwise tap just one."""
    return 1 if win.op == "depthwise_conv2d" else channels


@jit
def start_rows(region, strides, n_images, start, n_rows, a_rows, c_rows):
    """Offsets in a and in c of the region's positions start, start + 1, ...

    Past the last position it is repeated: a tile computes the same value again, and stores it again.
    """
    down, across, a_origin, c_origin, _, _, _ = region
    last = n_images * down * across - 1
    n, u, v = start // (down * across), start // across % down, start % across
    for i in range(n_rows):
        a_rows[i] = a_origin + n * strides[0] + u * strides[1] + v * strides[2]
        c_rows[i] = c_origin + n * strides[3] + u * strides[4] + v * strides[5]
        if start + i < last:  # counted on, for a division costs as much as twenty multiply-adds of a tile
            v += 1
            if v == across:
                u, v = u + 1, 0
                if u == down:
                    n, u = n + 1, 0


@jit
def region_of(first, unit):
    """The region of a unit, where `first` is as `equal_shares` gives it."""
    region = 0
    while first[region + 1] <= unit:
        region += 1
    return region


@jit
def equal_shares(units, cost, threads):
    """Units of work, region after region, cut into one share of equal cost for each thread.

    Args:
        units: (R,) number of units in each region; cost: (R,) of one of them.

    Returns:
        (R + 1,) number of each region's first unit, and (threads + 1,) bounds of the shares.
    """
    first, shares = np.zeros(units.size + 1, np.int64), np.zeros(threads + 1, np.int64)
    total = 0
    for region in range(units.size):
        first[region + 1] = first[region] + units[region]
        total += units[region] * cost[region]
    region, done = 0, 0  # done: cost of the regions before this one
    for share in range(1, threads + 1):
        goal = total * share // threads
        while region < units.size - 1 and done + units[region] * cost[region] < goal:
            done += units[region] * cost[region]
            region += 1
        shares[share] = min(first[region + 1], first[region] + (goal - done + cost[region] - 1) // cost[region])
    return first, shares


def _phase(i, size, stride, rate, k, before, out_size):
    """Taps that meet the pixels i, i + stride, ...: ([(tap, position of the first pixel)], runs over those pixels)."""
    taps = [(t, (i + before - t * rate) // stride) for t in range(k) if (i + before - t * rate) % stride == 0]
    return taps, tap_runs(-(-(size - i) // stride), 1, [d for _, d in taps], out_size)
