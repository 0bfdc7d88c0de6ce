"""A 1x1 convolution of what a batch norm makes: its map is neither written to memory nor read from there.

Each number is normalised on its way into a block (blocks_over_channels.py, blocks_over_pixels.py), with the same bits
as by `batch_norm`. Where the register tile computes the convolution, and with a curve, which is no pair of limits,
the two kernels run one after the other.
"""

from ..activation import curve_of, limits_of
from ..checks import check_channels
from . import blocks_over_channels, blocks_over_pixels
from .arrays import contiguous
from .bfloat16_block import blocks_compute
from .norm import batch_norm, factor_of
from .pointwise import one_row, pointwise, pointwise_grad_weight


def pointwise_of_batch_norm(x, w, win, mean, var, gamma, beta, eps, activation):
    """pointwise(batch_norm(x, mean, var, gamma, beta, eps, activation), w, win).

    Args:
        x: (N, H, W, C); w: (1, 1, C, K); win: Window.conv of both, win.is_pointwise; the others as of `batch_norm`.

    Returns:
        (N, H, W, K).

    Cost: win.macs multiply-adds; reads x once.
    """
    affine = mean, var, gamma, beta, eps, activation
    if not _normalises_in_blocks(x, win, activation):
        return pointwise(batch_norm(x, *affine), w, win)
    win.check("pointwise", x=x, weight=w)
    x, w = contiguous(x, w)
    return blocks_over_channels.forward(x, w, one_row(win), norm=_norm(x, *affine)).reshape(win.y_shape)


def pointwise_of_batch_norm_grad_weight(x, grad, win, mean, var, gamma, beta, eps, activation):
    """pointwise_grad_weight(batch_norm(x, mean, var, gamma, beta, eps, activation), grad, win): (1, 1, C, K).

    Args: as of `pointwise_of_batch_norm`, with grad (N, H, W, K).
    """
    affine = mean, var, gamma, beta, eps, activation
    if not _normalises_in_blocks(x, win, activation):
        return pointwise_grad_weight(batch_norm(x, *affine), grad, win)
    win.check("pointwise", x=x, grad=grad)
    x, grad = contiguous(x, grad)
    return blocks_over_pixels.grad_weight(x, grad, one_row(win), _norm(x, *affine))


def _normalises_in_blocks(x, win, activation):
    """Whether each number can be normalised on its way into a block."""
    return blocks_compute(x.dtype, win) and not curve_of(activation)


def _norm(x, mean, var, gamma, beta, eps, activation):
    """What blocks read by: mean, factor, beta and limits of (x - mean) factor + beta."""
    check_channels("batch_norm", x, mean=mean, var=var, gamma=gamma, beta=beta)
    return *contiguous(mean, factor_of(var, gamma, eps), beta), limits_of(activation, var.dtype)
