"""Batch normalisation over N, H, W, and an activation."""

import numpy as np

from ..activation import check_activation
from ..checks import check_alike, check_channels, check_image, check_norm_grad, check_running
from .elementwise import activate, activate_grad
from .rounding import on_maps


@on_maps(0)
def batch_norm_statistics(x):
    """Mean and biased variance of each channel over N, H, W.

    Returns:
        mean, var: (C,) in the dtype of x, summed in float64.
    """
    check_image("batch_norm", "x", x)
    mean = x.mean(axis=(0, 1, 2), dtype=np.float64)
    var = ((x - mean) ** 2).mean(axis=(0, 1, 2), dtype=np.float64)
    return mean.astype(x.dtype), var.astype(x.dtype)


@on_maps()
def batch_norm(x, mean, var, gamma, beta, eps, activation, residual=None):
    """y = activation(gamma (x - mean) / sqrt(var + eps) + beta + residual).

    Args:
        x: (N, H, W, C); mean, var, gamma, beta: (C,); eps: variance floor; residual: as x, or None for zero;
            activation: by name (kernels/activation.py).

    Source: Ioffe and Szegedy 2015, algorithm 1.
    """
    check_channels("batch_norm", x, mean=mean, var=var, gamma=gamma, beta=beta)
    check_activation("batch_norm", activation)
    if residual is not None:
        check_alike("batch_norm", x=x, residual=residual)
    factor = gamma / np.sqrt(var + x.dtype.type(eps))
    y = (x - mean) * factor + beta
    return activate(y if residual is None else y + residual, activation)


def batch_norm_factors(mean, var, gamma, beta, eps):
    """(scale, shift) such that scale x + shift is `batch_norm`: what a convolution takes in its last step.

    scale = gamma / sqrt(var + eps),  shift = beta - scale mean
    """
    check_alike("batch_norm", mean=mean, var=var, gamma=gamma, beta=beta)
    scale = gamma / np.sqrt(var + var.dtype.type(eps))
    return scale, beta - scale * mean


@on_maps(1)
def batch_norm_grad(grad, x, mean, var, gamma, beta, eps, activation, training):
    """Gradients of `batch_norm` in x, gamma, beta.

    With g = grad activation'(gamma x^ + beta), x^ = (x - mean) / sqrt(var + eps) and M = N H W:

        grad_beta = sum g,  grad_gamma = sum g x^
        grad_x = gamma / sqrt(var + eps) (g - [grad_beta + x^ grad_gamma] / M)    the bracket only in training, where
                                                                                 mean and var depend on x
    Args:
        training: mean and var came from x.

    The activation's argument is computed again from x, as in `batch_norm`, so that the output need not be kept.
    A residual needs the activation's derivative alone: with one, give `activate_grad` of the gradient, and None here.
    """
    check_norm_grad(grad, x, activation, mean=mean, var=var, gamma=gamma, beta=beta)
    inverse = 1 / np.sqrt(var + x.dtype.type(eps))
    x_hat = (x - mean) * inverse
    grad = activate_grad(grad, (x - mean) * (gamma / np.sqrt(var + x.dtype.type(eps))) + beta, activation)
    grad_beta = grad.sum(axis=(0, 1, 2), dtype=np.float64)
    grad_gamma = (grad * x_hat).sum(axis=(0, 1, 2), dtype=np.float64)
    grad_x = grad
    if training:
        grad_x = grad - (grad_beta + x_hat * grad_gamma) / (x.size // x.shape[3])
    grad_x = (gamma * inverse * grad_x).astype(x.dtype)
    return grad_x, grad_gamma.astype(x.dtype), grad_beta.astype(x.dtype)


def update_running(running_mean, running_var, mean, var, momentum, count):
    """running <- (1 - momentum) running + momentum batch, in place; the variance unbiased: var count / (count - 1).

    Args:
        count: values of each channel in the batch, > 1.
    """
    check_running(running_mean, running_var, mean, var, count)
    t = mean.dtype.type
    running_mean += t(momentum) * (mean - running_mean)
    running_var += t(momentum) * (var * t(count / (count - 1)) - running_var)
