"""Max and average pooling with windows, and adaptive pooling to a fixed number of bins.

All four are one idea: along each axis output position p covers the input interval [start[p], end[p]). Windows and bins
differ only in these intervals. A gradient is gathered, not scattered: each input row asks the output rows that cover
it, so that one thread owns it.
"""

import numpy as np

from ..checks import check_argmax, check_image
from ..geometry import adaptive_bounds
from .arrays import contiguous, empty
from .bfloat16 import narrow_as, numbers, round_into, sums_of, wide
from .jit import jit_parallel
from .rows import copy_row


def _window_bounds(win):
    """(start, end) down and across: the part of each window inside the input."""
    axes = (
        (win.out_h, win.stride_h, win.pad_top, win.k_h, win.in_h),
        (win.out_w, win.stride_w, win.pad_left, win.k_w, win.in_w),
    )
    starts = [np.arange(out) * stride - before for out, stride, before, _, _ in axes]
    return [(np.maximum(s, 0), np.minimum(s + k, size)) for s, (*_, k, size) in zip(starts, axes, strict=True)]


def _max(x, rows, columns):
    (x,) = contiguous(x)
    shape = (len(x), len(rows[0]), len(columns[0]), x.shape[3])
    y, argmax = empty(shape, x.dtype), empty(shape, np.int32)
    _max_forward(len(y) * y.shape[1], numbers(x), *rows, *columns, numbers(y), argmax)
    return y, argmax


def _max_grad(grad, argmax, x_shape, rows, columns):
    grad, argmax = contiguous(grad, argmax)
    grad_x = empty(x_shape, grad.dtype)
    _max_backward(len(grad_x) * grad_x.shape[1], numbers(grad), argmax, *rows, *columns, numbers(grad_x))
    return grad_x


def _average(x, rows, columns):
    (x,) = contiguous(x)
    y = empty((len(x), len(rows[0]), len(columns[0]), x.shape[3]), x.dtype)
    _average_forward(len(y) * y.shape[1], numbers(x), *rows, *columns, numbers(y))
    return y


def _average_grad(grad, x_shape, rows, columns):
    (grad,) = contiguous(grad)
    grad_x = empty(x_shape, grad.dtype)
    _average_backward(len(grad_x) * grad_x.shape[1], numbers(grad), *rows, *columns, numbers(grad_x))
    return grad_x


def max_pool2d(x, win):
    """Largest value of each window; padding never wins.

    Returns:
        y (N, out_h, out_w, C) and argmax int32 of that shape: row * W + column of the value taken, the first of equals.
    """
    win.check("pool", x=x)
    return _max(x, *_window_bounds(win))


def max_pool2d_grad(grad, argmax, win):
    """Each gradient goes to the pixel that won. Returns (N, H, W, C)."""
    win.check("pool", grad=grad)
    check_argmax("max_pool2d", argmax, grad)
    return _max_grad(grad, argmax, win.x_shape, *_window_bounds(win))


def average_pool2d(x, win):
    """Mean over the part of each window inside the input (padding is not counted)."""
    win.check("pool", x=x)
    return _average(x, *_window_bounds(win))


def average_pool2d_grad(grad, win):
    """Each gradient is shared equally by the pixels of its window. Returns (N, H, W, C)."""
    win.check("pool", grad=grad)
    return _average_grad(grad, win.x_shape, *_window_bounds(win))


def adaptive_average_pool2d(x, out_h, out_w):
    """Mean of each bin; bin i covers [floor(i H / out_h), ceil((i + 1) H / out_h)). One bin: global pooling."""
    check_image("adaptive_average_pool2d", "x", x)
    return _average(x, adaptive_bounds(x.shape[1], out_h), adaptive_bounds(x.shape[2], out_w))


def adaptive_average_pool2d_grad(grad, in_h, in_w):
    """Each gradient is shared equally by the pixels of its bin. Returns (N, in_h, in_w, C)."""
    check_image("adaptive_average_pool2d", "grad", grad)
    n, out_h, out_w, c = grad.shape
    return _average_grad(grad, (n, in_h, in_w, c), adaptive_bounds(in_h, out_h), adaptive_bounds(in_w, out_w))


def adaptive_max_pool2d(x, out_h, out_w):
    """Largest value of each bin. Returns y and argmax as `max_pool2d`."""
    check_image("adaptive_max_pool2d", "x", x)
    return _max(x, adaptive_bounds(x.shape[1], out_h), adaptive_bounds(x.shape[2], out_w))


def adaptive_max_pool2d_grad(grad, argmax, in_h, in_w):
    """Each gradient goes to the pixel that won its bin. Returns (N, in_h, in_w, C)."""
    check_argmax("adaptive_max_pool2d", argmax, grad)
    n, out_h, out_w, c = grad.shape
    bins = adaptive_bounds(in_h, out_h), adaptive_bounds(in_w, out_w)
    return _max_grad(grad, argmax, (n, in_h, in_w, c), *bins)


@jit_parallel
def _max_forward(line, x, top, bottom, left, right, y, argmax):
    _, out_h, out_w, channels = y.shape
    n, p = line // out_h, line % out_h
    for q in range(out_w):
        best, where = y[n, p, q], argmax[n, p, q]
        copy_row(x[n, top[p], left[q]], best)
        where[:] = top[p] * x.shape[2] + left[q]
        for h in range(top[p], bottom[p]):
            for w in range(left[q], right[q]):
                v, at = x[n, h, w], np.int32(h * x.shape[2] + w)
                for c in range(channels):
                    a, b = wide(v[c]), wide(best[c])
                    wins = (a > b) | ((a != a) & (b == b))  # the first NaN, as in NumPy
                    best[c] = v[c] if wins else best[c]
                    where[c] = at if wins else where[c]


@jit_parallel
def _max_backward(line, grad, argmax, top, bottom, left, right, grad_x):
    _, in_h, in_w, channels = grad_x.shape
    n, h = line // in_h, line % in_h
    sums = sums_of(grad_x[n, h])
    zero = sums.dtype.type(0)
    sums[:] = 0
    for p in range(grad.shape[1]):
        if top[p] <= h < bottom[p]:
            for q in range(grad.shape[2]):
                g, where = grad[n, p, q], argmax[n, p, q]
                for w in range(left[q], right[q]):
                    out, at = sums[w], np.int32(h * in_w + w)
                    for c in range(channels):
                        out[c] += wide(g[c]) if where[c] == at else zero
    round_into(grad_x[n, h], sums)


@jit_parallel
def _average_forward(line, x, top, bottom, left, right, y):
    _, out_h, out_w, channels = y.shape
    n, p = line // out_h, line % out_h
    for q in range(out_w):
        sums = np.zeros(channels)  # float64: a bin may hold the whole image
        for h in range(top[p], bottom[p]):
            for w in range(left[q], right[q]):
                for c in range(channels):
                    sums[c] += wide(x[n, h, w, c])
        area = (bottom[p] - top[p]) * (right[q] - left[q])
        for c in range(channels):
            y[n, p, q, c] = narrow_as(sums[c] / area, y[n, p, q, c])


@jit_parallel
def _average_backward(line, grad, top, bottom, left, right, grad_x):
    _, in_h, _, channels = grad_x.shape
    n, h = line // in_h, line % in_h
    sums = sums_of(grad_x[n, h])
    sums[:] = 0
    for p in range(grad.shape[1]):
        if top[p] <= h < bottom[p]:
            for q in range(grad.shape[2]):
                area = sums.dtype.type((bottom[p] - top[p]) * (right[q] - left[q]))
                for w in range(left[q], right[q]):
                    for c in range(channels):
                        sums[w, c] += wide(grad[n, p, q, c]) / area  # no product that could fuse
    round_into(grad_x[n, h], sums)
