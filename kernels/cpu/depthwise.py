"""Depthwise convolution: sums of channel rows, at any stride and rate.

Forward and input gradient are one loop, `_gather`: an output row of C channels is the sum over its links (tap, source position)
of source row times tap row. Only the links differ; they are computed once for each axis. The inner loop runs over
contiguous channels, so it vectorises for every rate and stride without reordering any sum.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import prange

from .arrays import contiguous, empty
from .jit import jit, jit_parallel

_RANGES = 16  # parts of the weight gradient's sum over image rows: independent of the number of threads


class _Links(NamedTuple):
    """Along one axis: position i has the links first[i] .. first[i + 1] - 1, each a tap and the source position it reads."""

    first: np.ndarray
    tap: np.ndarray
    source: np.ndarray


def _links(pairs_of):
    """_Links from one list of (tap, source) pairs for each position."""
    first = np.cumsum([0] + [len(pairs) for pairs in pairs_of])
    tap, source = np.array([pair for pairs in pairs_of for pair in pairs], np.int64).reshape(-1, 2).T
    return _Links(first, tap.copy(), source.copy())


@lru_cache(maxsize=1024)
def _forward_links(size, out_size, k, stride, rate, before):
    """Output position p reads p s + t r - before through tap t."""
    reads = [[(t, p * stride + t * rate - before) for t in range(k)] for p in range(out_size)]
    return _links([[(t, i) for t, i in pairs if 0 <= i < size] for pairs in reads])


@lru_cache(maxsize=1024)
def _backward_links(size, out_size, k, stride, rate, before):
    """Input position i was read through tap t by the output position (i + before - t r) / s, where that is whole."""
    numerators = [[(t, i + before - t * rate) for t in range(k)] for i in range(size)]
    return _links(
        [
            [(t, d // stride) for t, d in pairs if d % stride == 0 and 0 <= d // stride < out_size]
            for pairs in numerators
        ]
    )


def _axes(win):
    rows = (win.in_h, win.out_h, win.k_h, win.stride_h, win.rate_h, win.pad_top)
    return rows, (win.in_w, win.out_w, win.k_w, win.stride_w, win.rate_w, win.pad_left)


def depthwise_conv2d(x, w, win):
    """y[n, p, q, c] = sum_{kh, kw} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c].

    Args:
        x: (N, H, W, C); w: (KH, KW, C); win: Window.depthwise(x.shape, w.shape, ...).

    Returns:
        (N, out_h, out_w, C).
    """
    win.check(x=x, weight=w)
    x, w = contiguous(x, w)
    y = empty(win.y_shape, x.dtype)
    rows, columns = (_forward_links(*axis) for axis in _axes(win))
    _gather(x.reshape(-1), w.reshape(-1), y, win.in_h, win.in_w, win.k_w, *rows, *columns)
    return y


def depthwise_conv2d_grad_input(grad, w, win):
    """Adjoint in x: (N, out_h, out_w, C) -> (N, H, W, C)."""
    win.check(grad=grad, weight=w)
    grad, w = contiguous(grad, w)
    grad_x = empty(win.x_shape, grad.dtype)
    rows, columns = (_backward_links(*axis) for axis in _axes(win))
    _gather(grad.reshape(-1), w.reshape(-1), grad_x, win.out_h, win.out_w, win.k_w, *rows, *columns)
    return grad_x


def depthwise_conv2d_grad_weight(x, grad, win):
    """Adjoint in w: (KH, KW, C), each tap the sum over positions of x at the tap times grad."""
    win.check(x=x, grad=grad)
    x, grad = contiguous(x, grad)
    rows, columns = (_forward_links(*axis) for axis in _axes(win))
    partial = np.zeros((_RANGES, win.k_h * win.k_w * win.c_in), x.dtype)
    _correlate(x.reshape(-1), grad, partial, win.in_h, win.in_w, win.k_w, *rows, *columns)
    total = partial[0]
    for part in partial[1:]:
        total += part
    return total.reshape(win.w_shape)


@jit
def _add_product(out, o, a, i, b, j, count):
    """out[o + c] += a[i + c] b[j + c]."""
    for c in range(count):
        out[o + c] += a[i + c] * b[j + c]


@jit
def _add_three_products(out, o, a, i0, i1, i2, b, j0, j1, j2, count):
    """Three of them in one pass over out."""
    for c in range(count):
        out[o + c] += a[i0 + c] * b[j0 + c] + a[i1 + c] * b[j1 + c] + a[i2 + c] * b[j2 + c]


@jit_parallel
def _gather(
    source,
    w,
    out,
    source_h,
    source_w,
    k_w,
    row_first,
    row_tap,
    row_source,
    column_first,
    column_tap,
    column_source,
):
    """out[n, i, j] = sum over links of i, links of j: source[n, row, column] * w[kh, kw]."""
    n_images, height, width, channels = out.shape
    flat = out.reshape(-1)
    for line in prange(n_images * height):
        n, i = np.int64(line) // height, np.int64(line) % height
        for j in range(width):
            o = (np.int64(line) * width + j) * channels
            for c in range(channels):
                flat[o + c] = 0
            for a in range(row_first[i], row_first[i + 1]):
                row = (n * source_h + row_source[a]) * source_w
                b, end = column_first[j], column_first[j + 1]
                while b + 3 <= end:
                    _add_three_products(
                        flat, o, source,
                        (row + column_source[b]) * channels,
                        (row + column_source[b + 1]) * channels,
                        (row + column_source[b + 2]) * channels,
                        w,
                        (row_tap[a] * k_w + column_tap[b]) * channels,
                        (row_tap[a] * k_w + column_tap[b + 1]) * channels,
                        (row_tap[a] * k_w + column_tap[b + 2]) * channels,
                        channels,
                    )  # fmt: skip
                    b += 3
                while b < end:
                    tap = (row_tap[a] * k_w + column_tap[b]) * channels
                    _add_product(flat, o, source, (row + column_source[b]) * channels, w, tap, channels)
                    b += 1


@jit_parallel
def _correlate(
    x, grad, partial, in_h, in_w, k_w, row_first, row_tap, row_source, column_first, column_tap, column_source
):
    """partial[range, kh, kw] = sum over the range's positions and their links of x[n, row, column] * grad[n, p, q]."""
    n_images, height, width, channels = grad.shape
    flat = grad.reshape(-1)
    ranges = partial.shape[0]
    for job in prange(ranges):
        part = np.int64(job)
        for line in range(part * n_images * height // ranges, (part + 1) * n_images * height // ranges):
            n, p = line // height, line % height
            for a in range(row_first[p], row_first[p + 1]):
                row = (n * in_h + row_source[a]) * in_w
                for q in range(width):
                    for b in range(column_first[q], column_first[q + 1]):
                        tap = (row_tap[a] * k_w + column_tap[b]) * channels
                        at = (row + column_source[b]) * channels
                        _add_product(partial[part], tap, x, at, flat, (line * width + q) * channels, channels)
