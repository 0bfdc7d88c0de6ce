"""Dense convolution, forward and both gradients, on the register tile of `tile.py`.

Forward and input gradient are sums over channels and taps (sum_over_channels.py) along a plan (plan.py); the weight
gradient is a sum over pixels (sum_over_pixels.py). Every output element is computed by one thread in one order, so any
number of threads gives the same bits.
"""

import numpy as np

from . import pointwise as _pointwise
from .arrays import contiguous, empty
from .plan import forward_plan, grad_input_plan
from .sum_over_channels import pack, run_plan
from .sum_over_pixels import sum_over_pixels
from .tile import ROWS


def conv2d(x, w, win):
    """y[n, p, q, k] = sum_{kh, kw, c} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c, k], zero outside x.

    Args:
        x: (N, H, W, C); w: (KH, KW, C, K), same dtype; win: Window.conv(x.shape, w.shape, ...).

    Returns:
        (N, out_h, out_w, K).

    Cost:
        win.macs multiply-adds less those in the padding; the rate does not matter.
    """
    if win.is_pointwise:
        return _pointwise.pointwise(x, w, win)
    win.check("conv2d", x=x, weight=w)
    x, w = contiguous(x, w)
    packed = pack(w, win.c_in, win.c_out, (win.c_out, 1))
    return run_plan(x, packed, empty(win.y_shape, x.dtype), forward_plan(win))


def conv2d_grad_input(grad, w, win):
    """Adjoint of `conv2d` in x: (N, out_h, out_w, K) -> (N, H, W, C)."""
    if win.is_pointwise:
        return _pointwise.pointwise_grad_input(grad, w, win)
    win.check("conv2d", grad=grad, weight=w)
    grad, w = contiguous(grad, w)
    packed = pack(w, win.c_out, win.c_in, (1, win.c_out))
    return run_plan(grad, packed, empty(win.x_shape, grad.dtype), grad_input_plan(win))


def conv2d_grad_weight(x, grad, win):
    """Adjoint of `conv2d` in w: each tap collects x at the tap times grad over all positions. (KH, KW, C, K)."""
    if win.is_pointwise:
        return _pointwise.pointwise_grad_weight(x, grad, win)
    win.check("conv2d", x=x, grad=grad)
    x, grad = contiguous(x, grad)
    k_w, rate_w, left, c = win.k_w, win.rate_w, win.pad_left, win.c_in
    if rate_w == 1 and c < ROWS:  # the stem: join the taps of a kernel row into one axis of KW * C rows, on padded x
        x = np.pad(x, ((0, 0), (0, 0), (left, win.pad_right), (0, 0)))
        k_w, left, c = 1, 0, win.k_w * c
    taps = [(kh * win.rate_h - win.pad_top, kw * rate_w - left) for kh in range(win.k_h) for kw in range(k_w)]
    h, w, c_x = x.shape[1:]
    spans = np.array([_span(d, win.stride_h, h, win.out_h) + _span(e, win.stride_w, w, win.out_w) for d, e in taps])
    if c != c_x:
        spans[:, 2:] = 0, win.out_w  # all columns: the padding is there
    offsets = np.array([(d * w + e) * c_x for d, e in taps])
    strides = (h * w * c_x, win.stride_h * w * c_x, win.stride_w * c_x)
    grad_w = empty((len(taps), c, win.c_out), x.dtype)
    sum_over_pixels(x, grad.reshape(-1, win.out_h, win.out_w, win.c_out), grad_w, spans, offsets, strides)
    return grad_w.reshape(win.w_shape)


def _span(offset, stride, size, out_size):
    """Output positions [first, end) whose tap at `offset` is inside the input."""
    first = max(0, -(offset // stride))
    return first, max(first, min(out_size, (size - 1 - offset) // stride + 1))
