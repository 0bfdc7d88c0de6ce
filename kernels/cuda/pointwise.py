"""1x1 convolution: a matrix product over the pixels."""

from .conv2d import forward, grad_input
from .gather import forward_gather
from .sum_over_pixels import sum_over_pixels


def pointwise(x, w, win, scale=None, shift=None, activation=None, residual=None):
    """y[n, p, q] = x[n, p, q] @ w[0, 0]. Args and returns as `conv2d` with a window for which win.is_pointwise."""
    win.check("pointwise", activation, x=x, weight=w, scale=scale, shift=shift, residual=residual)
    return forward(x, w, win, scale, shift, activation, residual)


def pointwise_grad_input(grad, w, win):
    """grad[n, p, q] @ w[0, 0]^T."""
    win.check("pointwise", grad=grad, weight=w)
    return grad_input(grad, w, win)


def pointwise_grad_weight(x, grad, win):
    """sum over pixels of x[n, p, q]^T grad[n, p, q]: (1, 1, C, K)."""
    win.check("pointwise", x=x, grad=grad)
    return sum_over_pixels(x, grad, win, forward_gather(win))
