"""Max and average pooling with windows, and adaptive pooling to a fixed number of bins.

Both are tables: which input rows (and columns) each output row reads, and which output rows read an input row. The
gradients are gathered: an input element asks the windows that cover it, so nothing is added by two threads.
"""

from functools import lru_cache

import numpy as np

from ..checks import check_argmax, check_image
from ..geometry import adaptive_bounds
from .arrays import constant, empty
from .device import Kernel, cuda


def _reads(win):
    """Tables of the rows and of the columns of a window."""
    rows = _windows(win.in_h, win.out_h, win.k_h, win.stride_h, win.pad_top)
    return *rows, *_windows(win.in_w, win.out_w, win.k_w, win.stride_w, win.pad_left)


def _bins(in_h, in_w, out_h, out_w):
    """Tables of the rows and of the columns of adaptive pooling."""
    return *_with_readers(in_h, *adaptive_bounds(in_h, out_h)), *_with_readers(in_w, *adaptive_bounds(in_w, out_w))


@lru_cache(maxsize=256)
def _windows(in_size, out_size, k, stride, pad):
    start = np.arange(out_size) * stride - pad
    return _with_readers(in_size, np.maximum(start, 0), np.minimum(start + k, in_size))


def _with_readers(in_size, start, end):
    """(start, end) of each output and (first, last) of the outputs that read each input; both ends excluded."""
    i = np.arange(in_size)
    first, last = np.searchsorted(end, i, side="right"), np.searchsorted(start, i, side="right")
    return tuple(constant(table.astype(np.int64)) for table in (start, end, first, last))


def _largest(x, tables, out_h, out_w):
    (start_h, end_h, _, _, start_w, end_w, _, _), (n, h, w, c) = tables, x.shape
    y, argmax = empty((n, out_h, out_w, c), x.dtype), empty((n, out_h, out_w, c), np.int32)
    _max.flat(y.size, y.size, x, h, w, c, start_h, end_h, start_w, end_w, out_h, out_w, y, argmax)
    return y, argmax


def _largest_grad(grad, argmax, tables, in_h, in_w):
    (_, _, first_h, last_h, _, _, first_w, last_w), (n, out_h, out_w, c) = tables, grad.shape
    grad_x = empty((n, in_h, in_w, c), grad.dtype)
    _max_grad.flat(
        grad_x.size, grad_x.size, grad, argmax, out_h, out_w, c, first_h, last_h, first_w, last_w, in_h, in_w, grad_x
    )
    return grad_x


def _mean(x, tables, out_h, out_w):
    (start_h, end_h, _, _, start_w, end_w, _, _), (n, h, w, c) = tables, x.shape
    y = empty((n, out_h, out_w, c), x.dtype)
    _average.flat(y.size, y.size, x, h, w, c, start_h, end_h, start_w, end_w, out_h, out_w, y)
    return y


def _mean_grad(grad, tables, in_h, in_w):
    n, out_h, out_w, c = grad.shape
    grad_x = empty((n, in_h, in_w, c), grad.dtype)
    _average_grad.flat(grad_x.size, grad_x.size, grad, out_h, out_w, c, *tables, in_h, in_w, grad_x)
    return grad_x


def max_pool2d(x, win):
    """Largest value of each window; padding never wins.

    Returns:
        y (N, out_h, out_w, C) and argmax int32 of that shape: row * W + column of the value taken, the first of equals.
    """
    win.check("pool", x=x)
    return _largest(x, _reads(win), win.out_h, win.out_w)


def max_pool2d_grad(grad, argmax, win):
    """Each gradient goes to the pixel that won. Returns (N, H, W, C)."""
    win.check("pool", grad=grad)
    check_argmax("max_pool2d", argmax, grad)
    return _largest_grad(grad, argmax, _reads(win), win.in_h, win.in_w)


def average_pool2d(x, win):
    """Mean over the part of each window inside the input (padding is not counted)."""
    win.check("pool", x=x)
    return _mean(x, _reads(win), win.out_h, win.out_w)


def average_pool2d_grad(grad, win):
    """Each gradient is shared equally by the pixels of its window. Returns (N, H, W, C)."""
    win.check("pool", grad=grad)
    return _mean_grad(grad, _reads(win), win.in_h, win.in_w)


def adaptive_average_pool2d(x, out_h, out_w):
    """Mean of each bin; bin i covers [floor(i H / out_h), ceil((i + 1) H / out_h)). One bin: global pooling."""
    check_image("adaptive_average_pool2d", "x", x)
    return _mean(x, _bins(*x.shape[1:3], out_h, out_w), out_h, out_w)


def adaptive_average_pool2d_grad(grad, in_h, in_w):
    """Each gradient is shared equally by the pixels of its bin. Returns (N, in_h, in_w, C)."""
    check_image("adaptive_average_pool2d", "grad", grad)
    return _mean_grad(grad, _bins(in_h, in_w, *grad.shape[1:3]), in_h, in_w)


def adaptive_max_pool2d(x, out_h, out_w):
    """Largest value of each bin. Returns y and argmax as `max_pool2d`."""
    check_image("adaptive_max_pool2d", "x", x)
    return _largest(x, _bins(*x.shape[1:3], out_h, out_w), out_h, out_w)


def adaptive_max_pool2d_grad(grad, argmax, in_h, in_w):
    """Each gradient goes to the pixel that won its bin. Returns (N, in_h, in_w, C)."""
    check_argmax("adaptive_max_pool2d", argmax, grad)
    return _largest_grad(grad, argmax, _bins(in_h, in_w, *grad.shape[1:3]), in_h, in_w)


@Kernel
def _max(count, x, in_h, in_w, channels, start_h, end_h, start_w, end_w, out_h, out_w, y, argmax):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel, c = i // channels, i % channels
        line, q = pixel // out_w, pixel % out_w
        n, p = line // out_h, line % out_h
        at = start_h[p] * in_w + start_w[q]
        best = x[(n * in_h * in_w + at) * channels + c]
        for h in range(start_h[p], end_h[p]):
            for w in range(start_w[q], end_w[q]):
                value = x[(n * in_h * in_w + h * in_w + w) * channels + c]
                if value > best or (value != value and best == best):  # NaN wins, the first of equals stays
                    best, at = value, h * in_w + w
        y[i] = best
        argmax[i] = at


@Kernel
def _max_grad(count, grad, argmax, out_h, out_w, channels, first_h, last_h, first_w, last_w, in_h, in_w, grad_x):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel, c = i // channels, i % channels
        n, at = pixel // (in_h * in_w), pixel % (in_h * in_w)
        h, w = at // in_w, at % in_w
        total = grad_x.dtype.type(0)
        for p in range(first_h[h], last_h[h]):
            for q in range(first_w[w], last_w[w]):
                j = ((n * out_h + p) * out_w + q) * channels + c
                if argmax[j] == at:
                    total += grad[j]
        grad_x[i] = total


@Kernel
def _average(count, x, in_h, in_w, channels, start_h, end_h, start_w, end_w, out_h, out_w, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel, c = i // channels, i % channels
        line, q = pixel // out_w, pixel % out_w
        n, p = line // out_h, line % out_h
        total = x.dtype.type(0)
        for h in range(start_h[p], end_h[p]):
            for w in range(start_w[q], end_w[q]):
                total += x[((n * in_h + h) * in_w + w) * channels + c]
        y[i] = total / x.dtype.type((end_h[p] - start_h[p]) * (end_w[q] - start_w[q]))


@Kernel
def _average_grad(
    count, grad, out_h, out_w, channels, start_h, end_h, first_h, last_h, start_w, end_w, first_w, last_w, in_h, in_w,
    grad_x,
):  # fmt: skip
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel, c = i // channels, i % channels
        line, w = pixel // in_w, pixel % in_w
        n, h = line // in_h, line % in_h
        total = grad_x.dtype.type(0)
        for p in range(first_h[h], last_h[h]):
            for q in range(first_w[w], last_w[w]):
                area = (end_h[p] - start_h[p]) * (end_w[q] - start_w[q])
                total += grad[((n * out_h + p) * out_w + q) * channels + c] / grad_x.dtype.type(area)
        grad_x[i] = total
