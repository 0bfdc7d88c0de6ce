"""Bilinear and nearest resize with their exact adjoints.

The adjoint is gathered in two steps, first along the width, then along the height: each element asks the outputs that
read it, so that nothing is added by two threads.
"""

from functools import lru_cache

import numpy as np

from ..checks import check_image
from ..geometry import bilinear_taps, check_resize
from .arrays import constant, empty
from .device import Kernel, cuda, device_function


def _nearest_taps(in_size, out_size):
    """Nearest resize as a bilinear one with no fraction: position i takes floor(i * in / out)."""
    check_resize(in_size, out_size)
    low = np.arange(out_size) * in_size // out_size
    return low, low, np.zeros(out_size)


@lru_cache(maxsize=256)
def bilinear_table(in_size, out_size, align_corners, dtype):
    """`geometry.bilinear_taps` on the device: low, high, f and, for each input, its first and last reader."""
    return _table(in_size, bilinear_taps(in_size, out_size, align_corners), dtype)


@lru_cache(maxsize=256)
def _nearest_table(in_size, out_size, dtype):
    return _table(in_size, _nearest_taps(in_size, out_size), dtype)


def _table(in_size, taps, dtype):
    low, high, f = taps
    i = np.arange(in_size)
    first = np.searchsorted(high, i, side="left")  # high and low never decrease: the readers of an input are a run
    last = np.searchsorted(low, i, side="right")
    return *(constant(table) for table in (low, high, f.astype(dtype))), constant(first), constant(last)


def _resize(x, rows, columns, out_h, out_w):
    n, h, w, c = x.shape
    y = empty((n, out_h, out_w, c), x.dtype)
    _interpolate.flat(y.size, y.size, x, h, w, c, *rows[:3], *columns[:3], out_h, out_w, y)
    return y


def _resize_grad(grad, rows, columns, in_h, in_w):
    n, out_h, out_w, c = grad.shape
    narrow = empty((n, out_h, in_w, c), grad.dtype)
    collect(grad, columns, out_w, in_w, c, narrow)
    grad_x = empty((n, in_h, in_w, c), grad.dtype)
    collect(narrow, rows, out_h, in_h, in_w * c, grad_x)
    return grad_x


def collect(grad, table, out_size, in_size, inner, grad_x):
    """Adjoint along one axis: (outer, out_size, inner) -> (outer, in_size, inner)."""
    _collect.flat(grad_x.size, grad_x.size, grad, *table, out_size, in_size, inner, grad_x)


def resize_bilinear(x, out_h, out_w, align_corners):
    """Bilinear resize of (N, H, W, C) to (N, out_h, out_w, C); corner conventions in `geometry.bilinear_taps`."""
    check_image("resize_bilinear", "x", x)
    rows, columns = (
        bilinear_table(*size, align_corners, x.dtype) for size in ((x.shape[1], out_h), (x.shape[2], out_w))
    )
    return _resize(x, rows, columns, out_h, out_w)


def resize_bilinear_grad(grad, in_h, in_w, align_corners):
    """Exact adjoint: (N, out_h, out_w, C) -> (N, in_h, in_w, C)."""
    check_image("resize_bilinear", "grad", grad)
    _, h, w, _ = grad.shape
    rows, columns = (bilinear_table(*size, align_corners, grad.dtype) for size in ((in_h, h), (in_w, w)))
    return _resize_grad(grad, rows, columns, in_h, in_w)


def resize_nearest(x, out_h, out_w):
    """Output position i takes input floor(i * in / out)."""
    check_image("resize_nearest", "x", x)
    rows, columns = (_nearest_table(*size, x.dtype) for size in ((x.shape[1], out_h), (x.shape[2], out_w)))
    return _resize(x, rows, columns, out_h, out_w)


def resize_nearest_grad(grad, in_h, in_w):
    """Exact adjoint: each input pixel collects the gradients of the outputs that took it."""
    check_image("resize_nearest", "grad", grad)
    rows, columns = (_nearest_table(*size, grad.dtype) for size in ((in_h, grad.shape[1]), (in_w, grad.shape[2])))
    return _resize_grad(grad, rows, columns, in_h, in_w)


@device_function
def mix(a, b, f):
    """(1 - f) a + f b; a neighbour that does not count may be NaN. (1 - f would be float64: no literals here.)"""
    return a + f * (b - a) if f != 0 else a


@Kernel
def _interpolate(
    count, x, in_h, in_w, channels, row_low, row_high, row_f, column_low, column_high, column_f, out_h, out_w, y
):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel, c = i // channels, i % channels
        line, q = pixel // out_w, pixel % out_w
        n, p = line // out_h, line % out_h
        above, below = (n * in_h + row_low[p]) * in_w, (n * in_h + row_high[p]) * in_w
        left, right = column_low[q], column_high[q]
        f = row_f[p]
        y[i] = mix(
            mix(x[(above + left) * channels + c], x[(below + left) * channels + c], f),
            mix(x[(above + right) * channels + c], x[(below + right) * channels + c], f),
            column_f[q],
        )


@Kernel
def _collect(count, grad, low, high, f, first, last, out_size, in_size, inner, grad_x):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        line, j = i // inner, i % inner
        outer, h = line // in_size, line % in_size
        one, total = grad_x.dtype.type(1), grad_x.dtype.type(0)
        for p in range(first[h], min(last[h], out_size)):  # grad may be cropped: cross_entropy
            weight = grad_x.dtype.type(0)
            if low[p] == h:
                weight += one - f[p]
            if high[p] == h:
                weight += f[p]
            if weight != 0:
                total += weight * grad[(outer * out_size + p) * inner + j]
        grad_x[i] = total
