"""Depthwise convolution: one filter for each channel, any stride and rate."""

import numpy as np

from .conv2d import _last_step, _padded, _tap, _taps
from .rounding import on_maps


@on_maps()
def depthwise_conv2d(x, w, win, scale=None, shift=None, activation=None):
    """y[n, p, q, c] = sum_{kh, kw} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c].

    Args:
        x: (N, H, W, C); w: (KH, KW, C); win: Window.depthwise(x.shape, w.shape, ...).
        scale, shift: (C,), both or none; activation: as in `conv2d`.

    Returns:
        (N, out_h, out_w, C).
    """
    win.check("depthwise_conv2d", activation, x=x, weight=w, scale=scale, shift=shift)
    padded = _padded(x, win)
    y = np.zeros(win.y_shape, x.dtype)
    for kh, kw in _taps(win):
        y += padded[_tap(kh, kw, win)] * w[kh, kw]
    return _last_step(y, scale, shift, activation)


@on_maps()
def depthwise_conv2d_grad_input(grad, w, win):
    """Adjoint in x: each tap hands grad * w[kh, kw] back to the pixels that it read. Returns (N, H, W, C).

    grad_x[n, h, w, c] = sum of grad[n, p, q, c] w[kh, kw, c] over all p, q, kh, kw for which
    p s + kh r - top = h and q s + kw r - left = w
    """
    win.check("depthwise_conv2d", grad=grad, weight=w)
    padded = _padded(np.zeros(win.x_shape, grad.dtype), win)
    for kh, kw in _taps(win):
        padded[_tap(kh, kw, win)] += grad * w[kh, kw]
    return padded[:, win.pad_top : win.pad_top + win.in_h, win.pad_left : win.pad_left + win.in_w].copy()


@on_maps(0)
def depthwise_conv2d_grad_weight(x, grad, win):
    """Adjoint in w: each tap collects what it read times grad over all positions. Returns (KH, KW, C).

    grad_w[kh, kw, c] = sum_{n, p, q} x[n, p s + kh r - top, q s + kw r - left, c] grad[n, p, q, c]
    """
    win.check("depthwise_conv2d", x=x, grad=grad)
    padded = _padded(x, win)
    grad_w = np.zeros(win.w_shape, x.dtype)
    for kh, kw in _taps(win):
        grad_w[kh, kw] = (padded[_tap(kh, kw, win)] * grad).sum(axis=(0, 1, 2))
    return grad_w
