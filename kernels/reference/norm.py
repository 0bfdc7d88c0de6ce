"""Batch normalisation over N, H, W, and an activation."""

import numpy as np

from ..activation import check_activation
from ..checks import check_alike, check_channels, check_image, check_norm_grad, check_norm_sums, check_running
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


@on_maps(0)
def batch_norm_grad_sums(grad, x, mean, var, gamma, beta, eps, activation):
    """The sums over N, H, W that `batch_norm_grad_input` needs: gradients of `batch_norm` in beta and in gamma.

    With g = grad activation'(gamma x^ + beta) and x^ = (x - mean) / sqrt(var + eps):

        grad_beta = sums[0] = sum g,  grad_gamma = sums[1] = sum g x^

    Where mean and var are of several arrays, as those of several processes, the sums of these are added.

    Returns:
        (2, C) float64 whatever the dtype of x.
    """
    g, x_hat, _ = _before(grad, x, mean, var, gamma, beta, eps, activation)
    return np.stack([g.sum(axis=(0, 1, 2), dtype=np.float64), (g * x_hat).sum(axis=(0, 1, 2), dtype=np.float64)])


@on_maps()
def batch_norm_grad_input(grad, x, mean, var, gamma, beta, eps, activation, sums, count):
    """Gradient of `batch_norm` in x, from the sums over all that mean and var are of.

    With g and x^ as in `batch_norm_grad_sums`:

        grad_x = gamma / sqrt(var + eps) (g - [sums[0] + x^ sums[1]] / count)

    Args:
        sums: (2, C) float64, added over x and all other arrays that mean and var are of.
        count: values of each channel in these; 0: mean and var do not depend on x, and there is no bracket.

    Raises:
        ValueError, TypeError: sums of another shape or dtype; a negative count.
    """
    g, x_hat, inverse = _before(grad, x, mean, var, gamma, beta, eps, activation)
    check_norm_sums(x, sums, count)
    if count:
        g = g - (sums[0] + x_hat * sums[1]) / count
    return (gamma * inverse * g).astype(x.dtype)


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
    affine = mean, var, gamma, beta, eps, activation
    sums = batch_norm_grad_sums(grad, x, *affine)
    grad_x = batch_norm_grad_input(grad, x, *affine, sums, x.size // x.shape[3] if training else 0)
    grad_beta, grad_gamma = sums.astype(x.dtype)
    return grad_x, grad_gamma, grad_beta


def update_running(running_mean, running_var, mean, var, momentum, count):
    """running <- (1 - momentum) running + momentum batch, in place; the variance unbiased: var count / (count - 1).

    Args:
        count: values of each channel in the batch, > 1.
    """
    check_running(running_mean, running_var, mean, var, count)
    t = mean.dtype.type
    running_mean += t(momentum) * (mean - running_mean)
    running_var += t(momentum) * (var * t(count / (count - 1)) - running_var)


def _before(grad, x, mean, var, gamma, beta, eps, activation):
    """The gradient before the activation, x^ = (x - mean) / sqrt(var + eps), and 1 / sqrt(var + eps)."""
    check_norm_grad(grad, x, activation, mean=mean, var=var, gamma=gamma, beta=beta)
    deviation = np.sqrt(var + x.dtype.type(eps))
    inverse = 1 / deviation
    g = activate_grad(grad, (x - mean) * (gamma / deviation) + beta, activation)
    return g, (x - mean) * inverse, inverse
