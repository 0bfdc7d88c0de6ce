"""1x1 convolution: a matrix product over the pixels."""

import numpy as np

from .conv2d import _last_step
from .rounding import on_maps


@on_maps()
def pointwise(x, w, win, scale=None, shift=None, activation=None, residual=None):
    """y[n, p, q] = x[n, p, q] @ w[0, 0]. Args and returns as `conv2d` with a window for which win.is_pointwise."""
    win.check("pointwise", activation, x=x, weight=w, scale=scale, shift=shift, residual=residual)
    return _last_step(x @ w[0, 0], scale, shift, activation, residual)


@on_maps()
def pointwise_grad_input(grad, w, win):
    """grad_x[n, p, q] = grad[n, p, q] @ w[0, 0]^T."""
    win.check("pointwise", grad=grad, weight=w)
    return grad @ w[0, 0].T


@on_maps(0)
def pointwise_grad_weight(x, grad, win):
    """grad_w[0, 0] = sum_{n, p, q} x[n, p, q]^T grad[n, p, q]: (1, 1, C, K)."""
    win.check("pointwise", x=x, grad=grad)
    return np.tensordot(x, grad, axes=([0, 1, 2], [0, 1, 2]))[None, None]
