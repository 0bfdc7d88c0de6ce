"""Max and average pooling with windows, and adaptive pooling to a fixed number of bins."""

import numpy as np

from ..checks import check_argmax, check_image
from ..geometry import adaptive_bounds
from .rounding import on_maps


def _windows(win):
    """(p, q, rows, columns) of every output position: the part of its window that lies inside the input."""
    for p in range(win.out_h):
        top = p * win.stride_h - win.pad_top
        rows = slice(max(top, 0), min(top + win.k_h, win.in_h))
        for q in range(win.out_w):
            left = q * win.stride_w - win.pad_left
            yield p, q, rows, slice(max(left, 0), min(left + win.k_w, win.in_w))


def _bins(in_h, in_w, out_h, out_w):
    """(p, q, rows, columns) of every bin of an adaptive pooling."""
    for p, (top, bottom) in enumerate(zip(*adaptive_bounds(in_h, out_h), strict=True)):
        for q, (left, right) in enumerate(zip(*adaptive_bounds(in_w, out_w), strict=True)):
            yield p, q, slice(int(top), int(bottom)), slice(int(left), int(right))


def _max(x, windows, out_h, out_w):
    n, _, in_w, c = x.shape
    y = np.empty((n, out_h, out_w, c), x.dtype)
    argmax = np.empty((n, out_h, out_w, c), np.int32)
    for p, q, rows, columns in windows:
        patch = x[:, rows, columns]  # (N, h, w, C)
        flat = patch.reshape(n, -1, c)
        best = flat.argmax(axis=1)  # (N, C), first of equals, NaN wins
        y[:, p, q] = np.take_along_axis(flat, best[:, None], axis=1)[:, 0]
        h, w = np.divmod(best, patch.shape[2])
        argmax[:, p, q] = (rows.start + h) * in_w + columns.start + w
    return y, argmax


def _max_grad(grad, argmax, x_shape):
    n, in_h, in_w, c = x_shape
    grad_x = np.zeros((n, in_h * in_w, c), grad.dtype)
    images, channels = np.arange(n)[:, None, None, None], np.arange(c)
    np.add.at(grad_x, (images, argmax, channels), grad)
    return grad_x.reshape(x_shape)


@on_maps()
def max_pool2d(x, win):
    """Largest value of each window; padding never wins.

    Returns:
        y (N, out_h, out_w, C) and argmax int32 of that shape: row * W + column of the value taken, the first of equals.
    """
    win.check("pool", x=x)
    return _max(x, _windows(win), win.out_h, win.out_w)


@on_maps()
def max_pool2d_grad(grad, argmax, win):
    """Each gradient goes to the pixel that won. Returns (N, H, W, C).

    grad_x[n, h, w, c] = sum of grad[n, p, q, c] over all p, q with argmax[n, p, q, c] = h W + w
    """
    win.check("pool", grad=grad)
    check_argmax("max_pool2d", argmax, grad)
    return _max_grad(grad, argmax, win.x_shape)


@on_maps()
def average_pool2d(x, win):
    """Mean over the part of each window inside the input (padding is not counted)."""
    win.check("pool", x=x)
    y = np.empty(win.y_shape, x.dtype)
    for p, q, rows, columns in _windows(win):
        y[:, p, q] = x[:, rows, columns].mean(axis=(1, 2), dtype=np.float64)
    return y


@on_maps()
def average_pool2d_grad(grad, win):
    """Each gradient is shared equally by the pixels of its window. Returns (N, H, W, C).

    grad_x[n, h, w, c] = sum of grad[n, p, q, c] / |window(p, q)| over all p, q whose window holds the pixel (h, w)
    """
    win.check("pool", grad=grad)
    grad_x = np.zeros(win.x_shape, grad.dtype)
    for p, q, rows, columns in _windows(win):
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        grad_x[:, rows, columns] += (grad[:, p, q] / grad.dtype.type(area))[:, None, None]
    return grad_x


@on_maps()
def adaptive_average_pool2d(x, out_h, out_w):
    """Mean of each bin; bin i covers [floor(i H / out_h), ceil((i + 1) H / out_h)). One bin: global pooling."""
    check_image("adaptive_average_pool2d", "x", x)
    y = np.empty((x.shape[0], out_h, out_w, x.shape[3]), x.dtype)
    for p, q, rows, columns in _bins(*x.shape[1:3], out_h, out_w):
        y[:, p, q] = x[:, rows, columns].mean(axis=(1, 2), dtype=np.float64)
    return y


@on_maps()
def adaptive_average_pool2d_grad(grad, in_h, in_w):
    """Each gradient is shared equally by the pixels of its bin. Returns (N, in_h, in_w, C).

    grad_x[n, h, w, c] = sum of grad[n, p, q, c] / |bin(p, q)| over all p, q whose bin holds the pixel (h, w)
    """
    check_image("adaptive_average_pool2d", "grad", grad)
    n, out_h, out_w, c = grad.shape
    grad_x = np.zeros((n, in_h, in_w, c), grad.dtype)
    for p, q, rows, columns in _bins(in_h, in_w, out_h, out_w):
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        grad_x[:, rows, columns] += (grad[:, p, q] / grad.dtype.type(area))[:, None, None]
    return grad_x


@on_maps()
def adaptive_max_pool2d(x, out_h, out_w):
    """Largest value of each bin. Returns y and argmax as `max_pool2d`."""
    check_image("adaptive_max_pool2d", "x", x)
    return _max(x, _bins(*x.shape[1:3], out_h, out_w), out_h, out_w)


@on_maps()
def adaptive_max_pool2d_grad(grad, argmax, in_h, in_w):
    """Each gradient goes to the pixel that won its bin. Returns (N, in_h, in_w, C).

    grad_x[n, h, w, c] = sum of grad[n, p, q, c] over all p, q with argmax[n, p, q, c] = h in_w + w
    """
    check_argmax("adaptive_max_pool2d", argmax, grad)
    return _max_grad(grad, argmax, (grad.shape[0], in_h, in_w, grad.shape[3]))
