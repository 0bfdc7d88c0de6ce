"""Bilinear and nearest resize with their exact adjoints.

The adjoint is gathered in two steps, first along the width (each row is one thread's), then along the height (each
input row asks the output rows that read it), so that no two threads write one element.
"""

import numpy as np

from ..bfloat16 import sum_dtype
from ..checks import check_image
from ..geometry import bilinear_taps, check_resize
from .arrays import contiguous, empty
from .bfloat16 import narrow_as, numbers, round_into, sums_of, wide
from .jit import jit, jit_parallel


def _nearest_taps(in_size, out_size):
    """Nearest resize as a bilinear one with no fraction: position i takes floor(i * in / out)."""
    check_resize(in_size, out_size)
    low = np.arange(out_size) * in_size // out_size
    return low, low, np.zeros(out_size)


def _resize(x, rows, columns):
    (x,) = contiguous(x)
    y = empty((x.shape[0], len(rows[0]), len(columns[0]), x.shape[3]), x.dtype)
    _interpolate(len(y) * y.shape[1], numbers(x), *in_dtype(rows, x), *in_dtype(columns, x), numbers(y))
    return y


def _resize_grad(grad, rows, columns, in_h, in_w):
    (grad,) = contiguous(grad)
    n, out_h, _, c = grad.shape
    narrow, grad_x = empty((n, out_h, in_w, c), sum_dtype(grad.dtype)), empty((n, in_h, in_w, c), grad.dtype)
    _collect_columns(n * out_h, numbers(grad), *in_dtype(columns, grad), narrow)
    collect_rows(n * in_h, narrow, *in_dtype(rows, grad), numbers(grad_x))
    return grad_x


def in_dtype(taps, array):
    """The fractions of `bilinear_taps` in the dtype of sums of the array."""
    low, high, f = taps
    return low, high, f.astype(sum_dtype(array.dtype))


def resize_bilinear(x, out_h, out_w, align_corners):
    """Bilinear resize of (N, H, W, C) to (N, out_h, out_w, C); corner conventions in `geometry.bilinear_taps`."""
    check_image("resize_bilinear", "x", x)
    _, h, w, _ = x.shape
    return _resize(x, bilinear_taps(h, out_h, align_corners), bilinear_taps(w, out_w, align_corners))


def resize_bilinear_grad(grad, in_h, in_w, align_corners):
    """Exact adjoint: (N, out_h, out_w, C) -> (N, in_h, in_w, C)."""
    check_image("resize_bilinear", "grad", grad)
    _, h, w, _ = grad.shape
    return _resize_grad(grad, bilinear_taps(in_h, h, align_corners), bilinear_taps(in_w, w, align_corners), in_h, in_w)


def resize_nearest(x, out_h, out_w):
    """Output position i takes input floor(i * in / out)."""
    check_image("resize_nearest", "x", x)
    return _resize(x, _nearest_taps(x.shape[1], out_h), _nearest_taps(x.shape[2], out_w))


def resize_nearest_grad(grad, in_h, in_w):
    """Exact adjoint: each input pixel collects the gradients of the outputs that took it."""
    check_image("resize_nearest", "grad", grad)
    return _resize_grad(grad, _nearest_taps(in_h, grad.shape[1]), _nearest_taps(in_w, grad.shape[2]), in_h, in_w)


@jit_parallel
def _interpolate(line, x, row_low, row_high, row_f, column_low, column_high, column_f, y):
    _, out_h = y.shape[:2]
    n, p = line // out_h, line % out_h
    mixed = np.empty(x.shape[2:], row_f.dtype)
    above, below = x[n, row_low[p]], x[n, row_high[p]]
    interpolate_line(above, below, row_f[p], column_low, column_high, column_f, mixed, y[n, p])


@jit
def interpolate_line(above, below, f, low, high, column_f, mixed, line):
    """line = (1 - fw) x_left + fw x_right of x = (1 - f) above + f below: the two rows are mixed first, once a line.

    above, below, mixed: (w, C); line: (W, C). A neighbour that does not count is not read: it may be NaN.
    """
    one, channels = mixed.dtype.type(1), above.shape[1]
    for w in range(len(mixed)):
        for c in range(channels):
            a, b = wide(above[w, c]), wide(below[w, c])
            mixed[w, c] = (one - f) * a + f * b if f != 0 else a
    for q in range(len(line)):
        g, left, right = column_f[q], low[q], high[q]
        for c in range(channels):
            value = (one - g) * mixed[left, c] + g * mixed[right, c] if g != 0 else mixed[left, c]
            line[q, c] = narrow_as(value, line[q, c])


@jit_parallel
def _collect_columns(line, grad, low, high, f, narrow):
    _, out_h = grad.shape[:2]
    n, p = line // out_h, line % out_h
    collect_line(grad[n, p], low, high, f, narrow[n, p])


@jit
def collect_line(line, low, high, f, narrow):
    """Adjoint of the second half of `interpolate_line`: (W, C) -> (w, C). A weight of 0 adds nothing, even to NaN."""
    one = narrow.dtype.type(1)
    narrow[:] = 0
    for q in range(len(line)):
        g, left, right = f[q], low[q], high[q]
        for c in range(line.shape[1]):
            narrow[left, c] += (one - g) * wide(line[q, c])
        if g != 0:
            for c in range(line.shape[1]):
                narrow[right, c] += g * wide(line[q, c])


@jit_parallel
def collect_rows(line, narrow, low, high, f, grad_x):
    _, in_h, in_w, channels = grad_x.shape
    one = narrow.dtype.type(1)
    n, h = line // in_h, line % in_h
    sums = sums_of(grad_x[n, h])
    sums[:] = 0
    for p in range(len(low)):
        if high[p] < h or low[p] > h:
            continue
        weight = narrow.dtype.type(0)
        if low[p] == h:
            weight += one - f[p]
        if high[p] == h:
            weight += f[p]
        if weight != 0:
            for w in range(in_w):
                for c in range(channels):
                    sums[w, c] += weight * narrow[n, p, w, c]
    round_into(grad_x[n, h], sums)
