"""Batch normalisation over N, H, W, and an activation, at the speed of memory.

Sums over pixels run in fixed parts, whose results are merged in order and in float64: the same bits on any number of
threads. The variance comes from deviations, never from a difference of large squares.
"""

import numpy as np
from numba import prange

from ..activation import SHOWN_BY_RESULT, check_activation, limits_of, slope_limits_of
from ..checks import check_alike, check_channels, check_image, check_norm_grad, check_running
from .activation import between, hardswish_row, hardswish_slope
from .arrays import contiguous, empty
from .jit import jit, jit_parallel
from .parts import PARTS, bounds

_PART = 1 << 16  # least elements of a part of a sum
_STEP = 64  # pixels that are summed in the array's dtype, and read twice while in cache, before they go to float64


def batch_norm_statistics(x):
    """Mean and biased variance of each channel over N, H, W.

    Returns:
        mean, var: (C,) in the dtype of x, merged in float64.

    Source: Chan, Golub and LeVeque 1979 (merging of partial means and squared deviations).
    """
    check_image("batch_norm", "x", x)
    (x,) = contiguous(x)
    rows = x.reshape(-1, x.shape[-1])
    parts = _parts(rows)
    mean, squares = np.zeros((parts, x.shape[-1])), np.zeros((parts, x.shape[-1]))
    _deviations(rows, mean, squares)
    _merge(len(rows), mean, squares)
    return mean[0].astype(x.dtype), (squares[0] / len(rows)).astype(x.dtype)


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
    (x,) = contiguous(x)
    (other,) = (x,) if residual is None else contiguous(residual)
    y, c = empty(x.shape, x.dtype), x.shape[-1]
    factor = gamma / np.sqrt(var + x.dtype.type(eps))
    rows = (a.reshape(-1, c) for a in (x, other, y))
    limits, is_hardswish = limits_of(activation, x.dtype), activation == "hardswish"
    _normalise(*rows, mean, factor, beta, residual is not None, limits, is_hardswish)
    return y


def batch_norm_factors(mean, var, gamma, beta, eps):
    """(scale, shift) such that scale x + shift is `batch_norm`: what a convolution takes in its last step.

    scale = gamma / sqrt(var + eps),  shift = beta - scale mean
    """
    check_alike("batch_norm", mean=mean, var=var, gamma=gamma, beta=beta)
    scale = gamma / np.sqrt(var + var.dtype.type(eps))
    return scale, beta - scale * mean


def batch_norm_grad(grad, x, y, mean, var, gamma, beta, eps, activation, training):
    """Gradients of `batch_norm` in x, gamma, beta.

    With g = grad activation'(gamma x^ + beta), x^ = (x - mean) / sqrt(var + eps) and M = N H W:

        grad_beta = sum g,  grad_gamma = sum g x^
        grad_x = gamma / sqrt(var + eps) (g - [grad_beta + x^ grad_gamma] / M)    the bracket only in training, where
                                                                                 mean and var depend on x
    Args:
        y: the output, from which the derivative of relu and relu6 is read; else it may be None.
        beta: read with hardswish only, whose derivative needs the value before it: gamma x^ + beta is computed again.
        training: mean and var came from x.

    A residual needs the activation's derivative alone: with one, give `activate_grad` of the gradient, and None here.
    """
    check_norm_grad(grad, x, y, activation, mean=mean, var=var, gamma=gamma, beta=beta)
    c = x.shape[-1]
    masks = activation in SHOWN_BY_RESULT
    mask = masks, slope_limits_of(activation, x.dtype)
    grad, x, y = contiguous(grad, x, y if masks else x)
    grad_rows, x_rows, y_rows = grad.reshape(-1, c), x.reshape(-1, c), y.reshape(-1, c)
    inverse = 1 / np.sqrt(var + x.dtype.type(eps))
    if activation == "hardswish":
        inner_grad = empty(x.shape, x.dtype).reshape(-1, c)
        _hardswish_grad(grad_rows, x_rows, mean, gamma * inverse, beta, inner_grad)
        grad_rows = inner_grad
    parts = _parts(x_rows)
    sums, products = np.zeros((parts, c)), np.zeros((parts, c))
    _grad_sums(grad_rows, x_rows, y_rows, mean, *mask, sums, products)
    grad_beta, grad_gamma = sums.sum(axis=0), products.sum(axis=0) * inverse
    # grad_x = factor g + offset + slope (x - mean)
    factor, offset, slope = gamma * inverse, np.zeros(c, x.dtype), np.zeros(c, x.dtype)
    if training:
        offset = (-factor * grad_beta / len(x_rows)).astype(x.dtype)
        slope = (-factor * inverse * grad_gamma / len(x_rows)).astype(x.dtype)
    grad_x = empty(x.shape, x.dtype)
    _grad_input(grad_rows, x_rows, y_rows, mean, factor, offset, slope, *mask, grad_x.reshape(-1, c))
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


def _parts(rows):
    """Parts of a sum over rows: fewer for small arrays, whose partial sums would cost more than the rows."""
    return max(1, min(PARTS, len(rows), rows.size // _PART))


@jit
def _merge(count, mean, squares):
    """Make the first part's mean and squared deviations those of all parts, added in order."""
    parts, channels = mean.shape
    for part in range(1, parts):
        first, last = bounds(part, parts, count)
        share, weight = (last - first) / last, (last - first) * first / last
        for c in range(channels):
            delta = mean[part, c] - mean[0, c]
            mean[0, c] += delta * share
            squares[0, c] += squares[part, c] + delta * delta * weight


@jit_parallel
def _deviations(rows, mean, squares):
    """Mean and sum of squared deviations of each part of the rows, by merging steps of a few rows."""
    channels = rows.shape[1]
    for part in prange(len(mean)):
        first, last = bounds(part, len(mean), rows.shape[0])
        m, s = mean[np.int64(part)], squares[np.int64(part)]
        step_sum, step_squares = np.empty(channels, rows.dtype), np.empty(channels, rows.dtype)
        for start in range(first, last, _STEP):
            stop = min(start + _STEP, last)
            step_sum[:] = 0
            step_squares[:] = 0
            for i in range(start, stop):
                for c in range(channels):
                    step_sum[c] += rows[i, c]
            inverse = rows.dtype.type(1) / rows.dtype.type(stop - start)
            for c in range(channels):
                step_sum[c] *= inverse  # the step's mean
            for i in range(start, stop):
                for c in range(channels):
                    d = rows[i, c] - step_sum[c]
                    step_squares[c] += d * d
            share = (stop - start) / (stop - first)  # this step's part of the pixels merged so far
            weight = share * (start - first)
            for c in range(channels):
                delta = step_sum[c] - m[c]
                m[c] += delta * share
                s[c] += step_squares[c] + delta * delta * weight


@jit_parallel
def _normalise(x, residual, y, mean, factor, beta, adds, limits, is_hardswish):
    """y = activation((x - mean) factor + beta (+ residual where it `adds`)) in one pass over memory."""
    low, high = limits
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.shape[0])
        for i in range(first, last):
            for c in range(x.shape[1]):
                v = (x[i, c] - mean[c]) * factor[c] + beta[c]
                v = v + residual[i, c] if adds else v
                y[i, c] = between(v, low, high)
            if is_hardswish:
                hardswish_row(y[i])


@jit_parallel
def _hardswish_grad(grad, x, mean, factor, beta, inner_grad):
    """The gradient before hardswish, whose argument (x - mean) factor + beta is computed again."""
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.shape[0])
        for i in range(first, last):
            for c in range(x.shape[1]):
                inner_grad[i, c] = grad[i, c] * hardswish_slope((x[i, c] - mean[c]) * factor[c] + beta[c])


@jit_parallel
def _grad_sums(grad, x, y, mean, masks, limits, sums, products):
    """Sum of g and of g (x - mean) for each part, g being grad, where it `masks` that where low < y <= high."""
    zero, channels = x.dtype.type(0), x.shape[1]
    low, high = limits
    for part in prange(len(sums)):
        first, last = bounds(part, len(sums), x.shape[0])
        step_sum, step_product = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for start in range(first, last, _STEP):
            step_sum[:] = 0
            step_product[:] = 0
            for i in range(start, min(start + _STEP, last)):
                for c in range(channels):
                    passes = not masks or (y[i, c] > low) & (y[i, c] <= high)
                    g = grad[i, c] if passes else zero
                    step_sum[c] += g
                    step_product[c] += g * (x[i, c] - mean[c])
            for c in range(channels):
                sums[np.int64(part), c] += step_sum[c]
                products[np.int64(part), c] += step_product[c]


@jit_parallel
def _grad_input(grad, x, y, mean, factor, offset, slope, masks, limits, grad_x):
    """grad_x = factor g + offset + slope (x - mean), g as in `_grad_sums`."""
    zero = x.dtype.type(0)
    low, high = limits
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.shape[0])
        for i in range(first, last):
            for c in range(x.shape[1]):
                passes = not masks or (y[i, c] > low) & (y[i, c] <= high)
                g = grad[i, c] if passes else zero
                grad_x[i, c] = factor[c] * g + offset[c] + slope[c] * (x[i, c] - mean[c])
