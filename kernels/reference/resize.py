"""Bilinear and nearest resize along height, then width; the adjoint by the transposed matrices of the weights."""

import numpy as np

from ..checks import check_image
from ..geometry import bilinear_taps, check_resize
from .rounding import on_maps


def _bilinear_matrix(in_size, out_size, align_corners, dtype):
    """(out_size, in_size): row i holds the two weights of output position i."""
    low, high, f = bilinear_taps(in_size, out_size, align_corners)
    matrix = np.zeros((out_size, in_size))
    i = np.arange(out_size)
    np.add.at(matrix, (i, low), 1 - f)
    np.add.at(matrix, (i, high), f)
    return matrix.astype(dtype)


def _nearest_matrix(in_size, out_size, dtype):
    check_resize(in_size, out_size)
    source = np.arange(out_size) * in_size // out_size
    return np.eye(in_size, dtype=dtype)[source]


def _interpolate(x, axis, taps):
    """(1 - f) x[low] + f x[high] along one axis; a neighbour whose weight is 0 does not count, even if it is NaN."""
    low, high, f = taps
    f = f.astype(x.dtype).reshape(-1, *[1] * (x.ndim - axis - 1))
    near = np.take(x, low, axis)
    return np.where(f == 0, near, (1 - f) * near + f * np.take(x, high, axis))


def _apply(x, rows, columns):
    """y[n, p, q, c] = sum_{h, w} rows[p, h] columns[q, w] x[n, h, w, c]."""
    return np.ascontiguousarray(np.einsum("ph,qw,nhwc->npqc", rows, columns, x, optimize=True))


@on_maps()
def resize_bilinear(x, out_h, out_w, align_corners):
    """Bilinear resize of (N, H, W, C) to (N, out_h, out_w, C); corner conventions in `geometry.bilinear_taps`."""
    check_image("resize_bilinear", "x", x)
    _, h, w, _ = x.shape
    x = _interpolate(x, 1, bilinear_taps(h, out_h, align_corners))
    return _interpolate(x, 2, bilinear_taps(w, out_w, align_corners))


@on_maps()
def resize_bilinear_grad(grad, in_h, in_w, align_corners):
    """Exact adjoint: (N, out_h, out_w, C) -> (N, in_h, in_w, C).

    A resize is y = R x S^T for each channel, R and S holding the weights of rows and columns: grad_x = R^T grad S.
    """
    check_image("resize_bilinear", "grad", grad)
    _, out_h, out_w, _ = grad.shape
    rows, columns = (_bilinear_matrix(*size, align_corners, grad.dtype) for size in ((in_h, out_h), (in_w, out_w)))
    return _apply(grad, rows.T, columns.T)


@on_maps()
def resize_nearest(x, out_h, out_w):
    """Output position i takes input floor(i * in / out)."""
    check_image("resize_nearest", "x", x)
    return _apply(x, _nearest_matrix(x.shape[1], out_h, x.dtype), _nearest_matrix(x.shape[2], out_w, x.dtype))


@on_maps()
def resize_nearest_grad(grad, in_h, in_w):
    """Exact adjoint: each input pixel collects the gradients of the outputs that took it, grad_x = R^T grad S."""
    check_image("resize_nearest", "grad", grad)
    rows, columns = (_nearest_matrix(*s, grad.dtype) for s in ((in_h, grad.shape[1]), (in_w, grad.shape[2])))
    return _apply(grad, rows.T, columns.T)
