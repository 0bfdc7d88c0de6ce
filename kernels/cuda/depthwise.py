"""Depthwise convolution: one filter for each channel, any stride and rate; a thread owns a channel (`channels.py`)."""

from functools import lru_cache

import numba

from ..activation import GATES, limits_of
from .activation import between, hardswish
from .arrays import empty
from .channels import ACROSS, DOWN, layout, sum_parts
from .device import Kernel, cuda, device_function
from .elementwise import activate
from .gather import forward_gather, input_gather


def depthwise_conv2d(x, w, win, scale=None, shift=None, activation=None):
    """y[n, p, q, c] = sum_{kh, kw} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c].

    Args:
        x: (N, H, W, C); w: (KH, KW, C); win: Window.depthwise(x.shape, w.shape, ...).
        scale, shift: (C,), both or none; activation: as in `conv2d`.

    Returns:
        (N, out_h, out_w, C).
    """
    win.check("depthwise_conv2d", activation, x=x, weight=w, scale=scale, shift=shift)
    y = empty(win.y_shape, x.dtype)
    _run(x, win.in_h, win.in_w, w, win, forward_gather(win), y, scale, shift, activation)
    return activate(y, activation) if activation in GATES else y


def depthwise_conv2d_grad_input(grad, w, win):
    """Adjoint in x: each pixel collects grad * w[kh, kw] from the positions that read it. Returns (N, H, W, C)."""
    win.check("depthwise_conv2d", grad=grad, weight=w)
    grad_x = empty(win.x_shape, grad.dtype)
    _run(grad, win.out_h, win.out_w, w, win, input_gather(win), grad_x)
    return grad_x


def depthwise_conv2d_grad_weight(x, grad, win):
    """Adjoint in w: each tap collects x at the tap times grad over all positions. Returns (KH, KW, C)."""
    win.check("depthwise_conv2d", x=x, grad=grad)
    (across, down), block = layout(win.c_in, win.n * win.out_h * win.out_w)
    partial = empty((down, *win.w_shape), x.dtype)
    kernel = _grad_weight(win.k_h, win.k_w, x.dtype)
    kernel(
        (across, down), block, x, win.in_h, win.in_w, grad, win.n * win.out_h, win.out_h, win.out_w, win.c_in,
        *forward_gather(win), partial,
    )  # fmt: skip
    return sum_parts(partial, win.w_shape)


def _run(source, source_h, source_w, w, win, gather, result, scale=None, shift=None, activation=None):
    scales, unused = scale is not None, w
    n, height, width, channels = result.shape
    (across, _), block = layout(channels, 1)
    lines = n * height
    _sum_over_taps(
        (across, min(lines, 65535)), block, source, source_h, source_w, w, win.k_h, win.k_w, lines, height, width,
        channels, *gather, scale if scales else unused, shift if scales else unused, scales,
        *limits_of(activation, result.dtype), activation == "hardswish", result,
    )  # fmt: skip


@device_function
def source_of(position, divisor, size):
    """The pixel that a gathered position means: position / divisor; -1 where that is none."""
    if divisor != 1:
        if position < 0 or position % divisor != 0:
            return -1
        position //= divisor
    return position if 0 <= position < size else -1


@Kernel
def _sum_over_taps(
    source, source_h, source_w, w, k_h, k_w, lines, height, width, channels, step_h, step_w, origin_h, origin_w, tap_h,
    tap_w, divisor_h, divisor_w, scale, shift, scales, low, high, is_hardswish, result,
):  # fmt: skip
    """result[n, p, q, c] = sum_{kh, kw} source[n, p step + origin + kh tap, ..., c] w[kh, kw, c], and the last step."""
    c = cuda.blockIdx.x * ACROSS + cuda.threadIdx.x
    if c >= channels:
        return
    zero = w.dtype.type(0)
    for line in range(cuda.blockIdx.y, lines, cuda.gridDim.y):
        n, p = line // height, line % height
        for q in range(cuda.threadIdx.y, width, DOWN):
            total = zero
            for kh in range(k_h):
                h = source_of(p * step_h + origin_h + kh * tap_h, divisor_h, source_h)
                if h >= 0:
                    for kw in range(k_w):
                        x = source_of(q * step_w + origin_w + kw * tap_w, divisor_w, source_w)
                        if x >= 0:
                            total += (
                                source[((n * source_h + h) * source_w + x) * channels + c]
                                * w[(kh * k_w + kw) * channels + c]
                            )
            if scales:
                total = between(total * scale[c] + shift[c], low, high)
                if is_hardswish:
                    total = hardswish(total)
            result[(line * width + q) * channels + c] = total


@lru_cache(maxsize=32)
def _grad_weight(k_h, k_w, dtype):
    """The kernel for one size of filter: a thread keeps the sums of all taps in registers."""
    taps, number = k_h * k_w, numba.from_dtype(dtype)

    def grad_weight(
        x, in_h, in_w, grad, lines, out_h, out_w, channels, step_h, step_w, origin_h, origin_w, tap_h, tap_w,
        divisor_h, divisor_w, partial,
    ):  # fmt: skip
        shared = cuda.shared.array((DOWN, ACROSS), number)
        sums = cuda.local.array(taps, number)
        tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
        c = cuda.blockIdx.x * ACROSS + tx
        for tap in range(taps):
            sums[tap] = 0
        if c < channels:
            for line in range(cuda.blockIdx.y, lines, cuda.gridDim.y):
                n, p = line // out_h, line % out_h
                for q in range(ty, out_w, DOWN):
                    g = grad[(line * out_w + q) * channels + c]
                    for kh in range(k_h):
                        h = p * step_h + origin_h + kh * tap_h
                        for kw in range(k_w):
                            w = q * step_w + origin_w + kw * tap_w
                            if 0 <= h < in_h and 0 <= w < in_w:
                                sums[kh * k_w + kw] += x[((n * in_h + h) * in_w + w) * channels + c] * g
        for tap in range(taps):
            shared[ty, tx] = sums[tap]
            cuda.syncthreads()
            if ty == 0 and c < channels:
                total = shared[0, tx]
                for i in range(1, DOWN):
                    total += shared[i, tx]
                partial[(cuda.blockIdx.y * taps + tap) * channels + c] = total
            cuda.syncthreads()

    return Kernel(grad_weight)
