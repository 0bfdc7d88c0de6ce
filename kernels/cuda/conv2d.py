"""Dense convolution, forward and both gradients, as matrix products on the tile of `tile.py`.

Forward and input gradient are sums over taps and channels (sum_over_channels.py); the weight gradient is a sum over
pixels (sum_over_pixels.py). Each output has one thread and one order of its sum.
"""

from .arrays import empty
from .device import Kernel, cuda
from .gather import forward_gather, input_gather
from .sum_over_channels import sum_over_channels
from .sum_over_pixels import sum_over_pixels


def conv2d(x, w, win, scale=None, shift=None, activation=None, residual=None):
    """y[n, p, q, k] = sum_{kh, kw, c} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c, k], zero outside x.

    With `scale` and `shift` the result is activation(scale[k] y + shift[k] + residual): a batch normalisation whose
    statistics are known, a shortcut, and an activation, in the same pass over memory.

    Args:
        x: (N, H, W, C); w: (KH, KW, C, K), same dtype; win: Window.conv(x.shape, w.shape, ...).
        scale, shift: (K,), both or none; residual: as the result, or None for zero.
        activation: by name (kernels/activation.py); only with scale and shift.

    Returns:
        (N, out_h, out_w, K).
    """
    win.check("conv2d", activation, x=x, weight=w, scale=scale, shift=shift, residual=residual)
    return forward(x, w, win, scale, shift, activation, residual)


def conv2d_grad_input(grad, w, win):
    """Adjoint of `conv2d` in x: (N, out_h, out_w, K) -> (N, H, W, C)."""
    win.check("conv2d", grad=grad, weight=w)
    return grad_input(grad, w, win)


def conv2d_grad_weight(x, grad, win):
    """Adjoint of `conv2d` in w: each tap collects x at the tap times grad over all positions. (KH, KW, C, K)."""
    win.check("conv2d", x=x, grad=grad)
    return sum_over_pixels(x, grad, win, forward_gather(win))


def forward(x, w, win, scale, shift, activation, residual):
    """`conv2d` of checked arrays."""
    y = empty(win.y_shape, x.dtype)
    return sum_over_channels(x, w, y, forward_gather(win), (win.k_h, win.k_w), scale, shift, activation, residual)


def grad_input(grad, w, win):
    """`conv2d_grad_input` of checked arrays."""
    transposed = empty((win.k_h, win.k_w, win.c_out, win.c_in), w.dtype)
    _transpose.flat(w.size, w.size, win.c_in, win.c_out, w, transposed)
    grad_x = empty(win.x_shape, grad.dtype)
    return sum_over_channels(grad, transposed, grad_x, input_gather(win), (win.k_h, win.k_w))


@Kernel
def _transpose(count, c_in, c_out, w, transposed):
    """(taps, C, K) -> (taps, K, C)."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        tap, k, c = i // (c_in * c_out), i // c_in % c_out, i % c_in
        transposed[i] = w[(tap * c_in + c) * c_out + k]
