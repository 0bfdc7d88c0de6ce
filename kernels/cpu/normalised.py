"""A 1x1 convolution of what a batch norm makes: its map is neither written to memory nor read from there.

Each number is normalised on its way into a block (half_channels.py, half_pixels.py), with the same bits as by
`batch_norm`. Where the register tile computes the convolution, the two kernels run one after the other.
"""

import numpy as np

from ..activation import limits_of
from ..checks import check_channels
from . import half_channels, half_pixels
from .arrays import contiguous
from .half_tile import takes
from .norm import batch_norm
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
    if not _in_passing(x, win, activation):
        return pointwise(batch_norm(x, *affine), w, win)
    win.check("pointwise", x=x, weight=w)
    x, w = contiguous(x, w)
    return half_channels.forward(x, w, one_row(win), norm=_norm(x, *affine)).reshape(win.y_shape)


def pointwise_of_batch_norm_grad_weight(x, grad, win, mean, var, gamma, beta, eps, activation):
    """pointwise_grad_weight(batch_norm(x, mean, var, gamma, beta, eps, activation), grad, win): (1, 1, C, K).

    Args: as of `pointwise_of_batch_norm`, with grad (N, H, W, K).
    """
    affine = mean, var, gamma, beta, eps, activation
    if not _in_passing(x, win, activation):
        return pointwise_grad_weight(batch_norm(x, *affine), grad, win)
    win.check("pointwise", x=x, grad=grad)
    x, grad = contiguous(x, grad)
    return half_pixels.grad_weight(x, grad, one_row(win), _norm(x, *affine))


def _in_passing(x, win, activation):
    return takes(x.dtype, win) and activation != "hardswish"


def _norm(x, mean, var, gamma, beta, eps, activation):
    """What blocks read by: mean, factor, beta and limits of (x - mean) factor + beta."""
    check_channels("batch_norm", x, mean=mean, var=var, gamma=gamma, beta=beta)
    factor = gamma / np.sqrt(var + var.dtype.type(eps))
    return *contiguous(mean, factor, beta), limits_of(activation, var.dtype)
