"""Depthwise convolution: sums of channel rows, at any stride and rate.

Forward and input gradient are one loop, `_gather`: an output row of C channels is the sum over its links (tap, source
position) of source row times tap row. Only the links differ; they are computed once for each axis. The inner loop
runs over contiguous channels, so it vectorises for every rate and stride without reordering any sum.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import prange

from .arrays import contiguous, empty
from .jit import jit_parallel
from .rows import add_product, add_three_products

_RANGES = 16  # parts of the weight gradient's sum over image rows: independent of the number of threads


class _Links(NamedTuple):
    """Along one axis: position i has the links first[i] .. first[i + 1] - 1, each a tap and the source it reads."""

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
    whole = [[(t, d // stride) for t, d in pairs if d % stride == 0] for pairs in numerators]
    return _links([[(t, p) for t, p in pairs if 0 <= p < out_size] for pairs in whole])


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
    win.check("depthwise_conv2d", x=x, weight=w)
    x, w = contiguous(x, w)
    y = empty(win.y_shape, x.dtype)
    rows, columns = (_forward_links(*axis) for axis in _axes(win))
    _gather(x, w, y, *rows, *columns)
    return y


def depthwise_conv2d_grad_input(grad, w, win):
    """Adjoint in x: (N, out_h, out_w, C) -> (N, H, W, C)."""
    win.check("depthwise_conv2d", grad=grad, weight=w)
    grad, w = contiguous(grad, w)
    grad_x = empty(win.x_shape, grad.dtype)
    rows, columns = (_backward_links(*axis) for axis in _axes(win))
    _gather(grad, w, grad_x, *rows, *columns)
    return grad_x


def depthwise_conv2d_grad_weight(x, grad, win):
    """Adjoint in w: (KH, KW, C), each tap the sum over positions of x at the tap times grad."""
    win.check("depthwise_conv2d", x=x, grad=grad)
    x, grad = contiguous(x, grad)
    rows, columns = (_forward_links(*axis) for axis in _axes(win))
    partial = np.zeros((_RANGES, *win.w_shape), x.dtype)
    _correlate(x, grad, partial, *rows, *columns)
    total = partial[0]
    for part in partial[1:]:
        total += part
    return total


@jit_parallel
def _gather(source, w, out, row_first, row_tap, row_source, column_first, column_tap, column_source):
    """out[n, i, j] = sum over links of i, links of j: source[n, row, column] * w[kh, kw]."""
    n_images, height, width, _ = out.shape
    for line in prange(n_images * height):
        n, i = np.int64(line) // height, np.int64(line) % height
        for j in range(width):
            row = out[n, i, j]
            row[:] = 0
            for a in range(row_first[i], row_first[i + 1]):
                x, taps = source[n, row_source[a]], w[row_tap[a]]
                b, end = column_first[j], column_first[j + 1]
                while b + 3 <= end:
                    x0, x1, x2 = x[column_source[b]], x[column_source[b + 1]], x[column_source[b + 2]]
                    w0, w1, w2 = taps[column_tap[b]], taps[column_tap[b + 1]], taps[column_tap[b + 2]]
                    add_three_products(row, x0, x1, x2, w0, w1, w2)
                    b += 3
                while b < end:
                    add_product(row, x[column_source[b]], taps[column_tap[b]])
                    b += 1


@jit_parallel
def _correlate(x, grad, partial, row_first, row_tap, row_source, column_first, column_tap, column_source):
    """partial[range, kh, kw] = sum over the range's positions and their links of x[n, row, column] * grad[n, p, q]."""
    n_images, height, width, _ = grad.shape
    ranges = partial.shape[0]
    for job in prange(ranges):
        part = np.int64(job)
        for line in range(part * n_images * height // ranges, (part + 1) * n_images * height // ranges):
            n, p = line // height, line % height
            for a in range(row_first[p], row_first[p + 1]):
                for q in range(width):
                    for b in range(column_first[q], column_first[q + 1]):
                        sums = partial[part, row_tap[a], column_tap[b]]
                        add_product(sums, x[n, row_source[a], column_source[b]], grad[n, p, q])
