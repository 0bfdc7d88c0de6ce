"""1x1 convolution: a matrix product over the pixels, as a convolution with one tap on an image of one long row.

Which of the two kinds of drivers computes it `bfloat16_block.blocks_compute` says, as in conv2d.py.
"""

from dataclasses import replace

import numpy as np

from . import blocks_over_channels, blocks_over_pixels
from .arrays import contiguous, empty
from .bfloat16_block import blocks_compute
from .plan import forward_plan, grad_input_plan
from .sum_over_channels import pack, run_plan
from .sum_over_pixels import sum_over_pixels


def pointwise(x, w, win, scale=None, shift=None, activation=None, residual=None):
    """y[n, p, q] = x[n, p, q] @ w[0, 0]. Args and returns as `conv2d`; win.is_pointwise must hold."""
    win.check("pointwise", activation, x=x, weight=w, scale=scale, shift=shift, residual=residual)
    x, w = contiguous(x, w)
    if blocks_compute(x.dtype, win):
        return blocks_over_channels.forward(x, w, one_row(win), scale, shift, activation, residual).reshape(win.y_shape)
    packed = pack(w)
    y = empty(win.y_shape, x.dtype)
    return run_plan(x.reshape(1, -1), packed, y, forward_plan(one_row(win)), scale, shift, activation, residual)


def pointwise_grad_input(grad, w, win):
    """grad[n, p, q] @ w[0, 0]^T."""
    win.check("pointwise", grad=grad, weight=w)
    grad, w = contiguous(grad, w)
    if blocks_compute(grad.dtype, win):
        return blocks_over_channels.grad_input(grad, w, one_row(win)).reshape(win.x_shape)
    packed = pack(w, transposed=True)
    return run_plan(grad.reshape(1, -1), packed, empty(win.x_shape, grad.dtype), grad_input_plan(one_row(win)))


def pointwise_grad_weight(x, grad, win):
    """sum over pixels of x[n, p, q]^T grad[n, p, q]: (1, 1, C, K)."""
    win.check("pointwise", x=x, grad=grad)
    x, grad = contiguous(x, grad)
    if blocks_compute(x.dtype, win):
        return blocks_over_pixels.grad_weight(x, grad, one_row(win))
    row = one_row(win)
    grad_w = empty((1, win.c_in, win.c_out), x.dtype)
    spans, strides = np.array([[0, 1, 0, row.out_w]]), (0, 0, win.c_in)
    sum_over_pixels(
        x, grad.reshape(1, 1, row.out_w, win.c_out), grad_w, spans, np.zeros(1, np.int64), np.arange(win.c_in), strides
    )
    return grad_w.reshape(win.w_shape)


def one_row(win):
    """The window of the same pixels as one image of one long row."""
    pixels = win.n * win.in_h * win.in_w
    return replace(win, n=1, in_h=1, in_w=pixels, out_h=1, out_w=pixels)
