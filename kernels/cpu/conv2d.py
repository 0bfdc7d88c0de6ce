"""Dense convolution, forward and both gradients: a choice between three ways of computing.

Forward and input gradient are sums over channels and taps (sum_over_channels.py) along a plan (plan.py); the weight
gradient is a sum over pixels (sum_over_pixels.py). Every output element is computed by one thread in one order, so any
number of threads gives the same bits. 3x3 layers of stride 1 take fewer multiplications where winograd_plan.py says so.
bfloat16 maps have drivers of their own, blocks_over_channels.py and blocks_over_pixels.py, and so has float32 where
`bfloat16_block.blocks_compute` says so.
"""

import numpy as np

from ..geometry import Window
from . import blocks_over_channels, blocks_over_pixels, winograd, winograd_grad_weight
from . import pointwise as _pointwise
from .arrays import contiguous, empty
from .bfloat16_block import blocks_compute
from .jit import jit_parallel
from .layout import pad
from .plan import forward_plan, grad_input_plan
from .rows import add_row
from .sum_over_channels import pack, run_plan
from .sum_over_pixels import sum_over_pixels
from .tile import ROWS, columns
from .winograd_plan import side_of

FEW = 4  # channels that fill no more than one FEW-th of a tile's columns are few


def conv2d(x, w, win, scale=None, shift=None, activation=None, residual=None):
    """y[n, p, q, k] = sum_{kh, kw, c} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c, k], zero outside x.

    With `scale` and `shift` the result is activation(scale[k] y + shift[k] + residual): a batch normalisation whose
    statistics are known, a shortcut, and an activation, in the same pass over memory.

    An infinity in x or w, or a finite float32 number from 3.396e38 on, may give NaN (kernels/cpu/README.md).

    Args:
        x: (N, H, W, C); w: (KH, KW, C, K), same dtype; win: Window.conv(x.shape, w.shape, ...).
        scale, shift: (K,), both or none; residual: as the result, or None for zero.
        activation: by name (kernels/activation.py); only with scale and shift.

    Returns:
        (N, out_h, out_w, K).

    Cost:
        win.macs multiply-adds less those in the padding, by squares of outputs about a quarter;
        the rate does not matter.
    """
    if win.is_pointwise:
        return _pointwise.pointwise(x, w, win, scale, shift, activation, residual)
    win.check("conv2d", activation, x=x, weight=w, scale=scale, shift=shift, residual=residual)
    x, w = contiguous(x, w)
    if side := side_of(win, "conv2d", x.dtype):
        return winograd.forward(x, w, win, side, scale, shift, activation, residual)
    if blocks_compute(x.dtype, win):
        return blocks_over_channels.forward(x, w, win, scale, shift, activation, residual)
    packed = pack(w)
    return run_plan(x, packed, empty(win.y_shape, x.dtype), forward_plan(win), scale, shift, activation, residual)


def conv2d_grad_input(grad, w, win):
    """Adjoint of `conv2d` in x: (N, out_h, out_w, K) -> (N, H, W, C)."""
    if win.is_pointwise:
        return _pointwise.pointwise_grad_input(grad, w, win)
    win.check("conv2d", grad=grad, weight=w)
    grad, w = contiguous(grad, w)
    if side := side_of(win, "conv2d_grad_input", grad.dtype):
        return winograd.grad_input(grad, w, win, side)
    if blocks_compute(grad.dtype, win):
        return blocks_over_channels.grad_input(grad, w, win)
    if win.c_in * FEW <= columns(grad.dtype):
        return _grad_of_few_channels(grad, w, win)
    packed = pack(w, transposed=True)
    return run_plan(grad, packed, empty(win.x_shape, grad.dtype), grad_input_plan(win))


def _grad_of_few_channels(grad, w, win):
    """The input gradient of a stem: C = 3 columns would leave nearly all of a tile empty.

    First what each position hands to all taps at once, (positions, K) @ (K, KH KW C), which fills the tiles; then each
    input row adds up what was handed to it.
    """
    width = win.k_h * win.k_w * win.c_in
    handed = empty((1, 1, win.n * win.out_h * win.out_w, width), grad.dtype)
    packed = pack(w.reshape(1, 1, width, win.c_out), transposed=True)
    plan = grad_input_plan(Window.conv(handed.shape, (1, 1, width, win.c_out)))
    run_plan(grad.reshape(1, -1), packed, handed, plan)
    grad_x = empty(win.x_shape, grad.dtype)
    down = (win.k_h, win.stride_h, win.rate_h, win.pad_top)
    across = (win.k_w, win.stride_w, win.rate_w, win.pad_left)
    _collect(win.n * win.in_h, handed.reshape(win.n, win.out_h, win.out_w, win.k_h, -1), grad_x, down, across)
    return grad_x


@jit_parallel
def _collect(line, handed, grad_x, down, across):
    """grad_x[n, h, w] = sum of handed[n, p, q, kh, kw] over p s + kh r - top = h, q s + kw r - left = w."""
    _, height, width, channels = grad_x.shape
    (k_h, stride_h, rate_h, top), (k_w, stride_w, rate_w, left) = down, across
    at_once = k_w if rate_w == 1 else 1  # at rate 1 the taps of a kernel row go to neighbours
    n, h = line // height, line % height
    out = grad_x[n, h].reshape(-1)
    out[:] = 0
    for kh in range(k_h):
        p = (h + top - kh * rate_h) // stride_h
        if p * stride_h + kh * rate_h - top == h and 0 <= p < handed.shape[1]:
            for q in range(handed.shape[2]):
                for kw in range(0, k_w, at_once):
                    w = q * stride_w + kw * rate_w - left
                    first, last = max(0, -w), min(at_once, width - w)
                    if first < last:
                        taps = handed[n, p, q, kh, (kw + first) * channels : (kw + last) * channels]
                        add_row(out[(w + first) * channels : (w + last) * channels], taps)


def conv2d_grad_weight(x, grad, win):
    """Adjoint of `conv2d` in w: each tap collects x at the tap times grad over all positions. (KH, KW, C, K)."""
    if win.is_pointwise:
        return _pointwise.pointwise_grad_weight(x, grad, win)
    win.check("conv2d", x=x, grad=grad)
    x, grad = contiguous(x, grad)
    if side := side_of(win, "conv2d_grad_weight", x.dtype):
        return winograd_grad_weight.grad_weight(x, grad, win, side)
    if blocks_compute(x.dtype, win):
        return blocks_over_pixels.grad_weight(x, grad, win)
    top, left = win.pad_top, win.pad_left
    # where channels fill a tile's rows badly (three of 14, or 32 of 42), those of all taps are taken together; all of
    # them must then see all positions, on padded x
    badly_filled = -(-win.c_in // ROWS) * ROWS > 1.1 * win.c_in
    joined = badly_filled and win.k_h * win.k_w > 1 and win.rate_h == win.rate_w == 1
    if joined:
        x, top, left = pad(x, win.pad_top, win.pad_bottom, win.pad_left, win.pad_right), 0, 0
    h, w, c = x.shape[1:]
    taps = [(kh * win.rate_h - top, kw * win.rate_w - left) for kh in range(win.k_h) for kw in range(win.k_w)]
    spans = [_span(d, win.stride_h, h, win.out_h) + _span(e, win.stride_w, w, win.out_w) for d, e in taps]
    offsets, channels = np.array([(d * w + e) * c for d, e in taps]), np.arange(c)
    if joined:
        spans, offsets, channels = spans[:1], np.zeros(1, np.int64), (offsets[:, None] + channels).ravel()
    strides = (h * w * c, win.stride_h * w * c, win.stride_w * c)
    grad_w = empty((len(offsets), len(channels), win.c_out), x.dtype)
    sum_over_pixels(x, grad, grad_w, np.array(spans), offsets, channels, strides)
    return grad_w.reshape(win.w_shape)


def _span(offset, stride, size, out_size):
    """Output positions [first, end) whose tap at `offset` is inside the input."""
    first = max(0, -(offset // stride))
    return first, max(first, min(out_size, (size - 1 - offset) // stride + 1))
