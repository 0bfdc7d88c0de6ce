"""Atrous convolution from its definition: literally in 1-D; in 2-D a sum of shifted pointwise convolutions."""

import numpy as np

from .elementwise import activate
from .rounding import on_maps


def atrous_conv1d(x, w, rate=1):
    """y[i] = sum_k x[i + rate * k] w[k], for every i where all taps are inside x.

    Args:
        x: (L,) signal; w: (KW,) kernel.

    Returns:
        (L - rate * (KW - 1),) array.

    Source: DeepLab v2, equation 1 (arXiv 1606.00915).
    """
    length = len(x) - rate * (len(w) - 1)
    y = np.zeros(length, x.dtype)
    for i in range(length):
        for k in range(len(w)):
            y[i] += x[i + rate * k] * w[k]
    return y


def _padded(x, win):
    return np.pad(x, ((0, 0), (win.pad_top, win.pad_bottom), (win.pad_left, win.pad_right), (0, 0)))


def _tap(kh, kw, win):
    """Index of the padded input that tap (kh, kw) sees: every stride-th pixel from the tap's offset on."""
    top, left = kh * win.rate_h, kw * win.rate_w
    rows = slice(top, top + (win.out_h - 1) * win.stride_h + 1, win.stride_h)
    columns = slice(left, left + (win.out_w - 1) * win.stride_w + 1, win.stride_w)
    return (slice(None), rows, columns)


def _taps(win):
    return [(kh, kw) for kh in range(win.k_h) for kw in range(win.k_w)]


@on_maps()
def conv2d(x, w, win, scale=None, shift=None, activation=None, residual=None):
    """y[n, p, q, k] = sum_{kh, kw, c} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c, k], zero outside x.

    With `scale` and `shift` the result is activation(scale[k] y + shift[k] + residual): a batch normalisation whose
    statistics are known, a shortcut, and an activation.

    Args:
        x: (N, H, W, C); w: (KH, KW, C, K), same dtype; win: Window.conv(x.shape, w.shape, ...).
        scale, shift: (K,), both or none; residual: as the result, or None for zero.
        activation: by name (kernels/activation.py); only with scale and shift.

    Returns:
        (N, out_h, out_w, K).
    """
    win.check("conv2d", activation, x=x, weight=w, scale=scale, shift=shift, residual=residual)
    padded = _padded(x, win)
    y = np.zeros(win.y_shape, x.dtype)
    for kh, kw in _taps(win):
        y += padded[_tap(kh, kw, win)] @ w[kh, kw]  # (N, P, Q, C) @ (C, K)
    return _last_step(y, scale, shift, activation, residual)


def _last_step(y, scale, shift, activation, residual=None):
    """activation(scale y + shift + residual) where a scale is given, else y."""
    if scale is None:
        return y
    y = scale * y + shift
    return activate(y if residual is None else y + residual, activation)


@on_maps()
def conv2d_grad_input(grad, w, win):
    """Adjoint in x: each tap hands grad @ w[kh, kw]^T back to the pixels that it read. Returns (N, H, W, C).

    grad_x[n, h, w, c] = sum of grad[n, p, q, k] w[kh, kw, c, k] over all p, q, kh, kw, k for which
    p s + kh r - top = h and q s + kw r - left = w
    """
    win.check("conv2d", grad=grad, weight=w)
    padded = _padded(np.zeros(win.x_shape, grad.dtype), win)
    for kh, kw in _taps(win):
        padded[_tap(kh, kw, win)] += grad @ w[kh, kw].T  # (N, P, Q, K) @ (K, C)
    return padded[:, win.pad_top : win.pad_top + win.in_h, win.pad_left : win.pad_left + win.in_w].copy()


@on_maps(0)
def conv2d_grad_weight(x, grad, win):
    """Adjoint in w: each tap collects what it read times grad over all positions. Returns (KH, KW, C, K).

    grad_w[kh, kw, c, k] = sum_{n, p, q} x[n, p s + kh r - top, q s + kw r - left, c] grad[n, p, q, k]
    """
    win.check("conv2d", x=x, grad=grad)
    padded = _padded(x, win)
    grad_w = np.zeros(win.w_shape, x.dtype)
    for kh, kw in _taps(win):
        grad_w[kh, kw] = np.tensordot(padded[_tap(kh, kw, win)], grad, axes=([0, 1, 2], [0, 1, 2]))
    return grad_w
