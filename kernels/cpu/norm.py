"""Batch normalisation over N, H, W, and an activation, at the speed of memory.

Sums over pixels run in fixed parts, whose results are merged in order and in float64: the same bits on any number of
threads. The variance comes from deviations, never from a difference of large squares. x, y, residual and grad may be
bfloat16: all is computed in float32 then, the dtype of the parameters, and rounded once at the end.
"""

import numpy as np

from ..activation import GATES, SHOWN_BY_RESULT, check_activation, limits_of, slope_limits_of
from ..bfloat16 import sum_dtype
from ..checks import check_alike, check_channels, check_image, check_norm_grad, check_norm_sums, check_running
from .activation import between, hardswish, hardswish_slope
from .arrays import contiguous, empty
from .bfloat16 import narrow_as, numbers, wide
from .elementwise import activate, activate_grad, rounded_as, widened
from .jit import jit, jit_inline, jit_parallel
from .parts import PARTS, bounds

_PART = 1 << 16  # least elements of a part of a sum
_STEP = 64  # pixels that are summed in the parameters' dtype, and read twice while in cache, before they go to float64


def batch_norm_statistics(x):
    """Mean and biased variance of each channel over N, H, W.

    Returns:
        mean, var: (C,) in the dtype of x, float32 for bfloat16; merged in float64.

    Source: Chan, Golub and LeVeque 1979 (merging of partial means and squared deviations).
    """
    check_image("batch_norm", "x", x)
    (x,) = contiguous(x)
    rows, dtype = _rows(x), sum_dtype(x.dtype)
    parts = _parts(rows)
    mean, squares = np.zeros((parts, x.shape[-1])), np.zeros((parts, x.shape[-1]))
    _deviations(parts, rows, np.empty((parts, 2, x.shape[-1]), dtype), mean, squares)
    _merge(len(rows), mean, squares)
    return mean[0].astype(dtype), (squares[0] / len(rows)).astype(dtype)


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
    if activation in GATES:
        other = None if residual is None else widened(residual)
        return rounded_as(x, activate(batch_norm(widened(x), mean, var, gamma, beta, eps, None, other), activation))
    x, other = contiguous(x, x if residual is None else residual)
    y = empty(x.shape, x.dtype)
    factor = factor_of(var, gamma, eps)
    limits, is_hardswish = limits_of(activation, var.dtype), activation == "hardswish"
    _normalise(PARTS, _rows(x), _rows(other), _rows(y), mean, factor, beta, residual is not None, limits, is_hardswish)
    return y


def batch_norm_factors(mean, var, gamma, beta, eps):
    """(scale, shift) such that scale x + shift is `batch_norm`: what a convolution takes in its last step.

    scale = gamma / sqrt(var + eps),  shift = beta - scale mean
    """
    check_alike("batch_norm", mean=mean, var=var, gamma=gamma, beta=beta)
    scale = factor_of(var, gamma, eps)
    return scale, beta - scale * mean


def factor_of(var, gamma, eps):
    """gamma / sqrt(var + eps), (C,)."""
    return gamma / np.sqrt(var + var.dtype.type(eps))


def batch_norm_grad_sums(grad, x, mean, var, gamma, beta, eps, activation):
    """The sums over N, H, W that `batch_norm_grad_input` needs: gradients of `batch_norm` in beta and in gamma.

    With g = grad activation'(gamma x^ + beta) and x^ = (x - mean) / sqrt(var + eps):

        grad_beta = sums[0] = sum g,  grad_gamma = sums[1] = sum g x^

    Where mean and var are of several arrays, as those of several processes, the sums of these are added.

    Returns:
        (2, C) float64 whatever the dtype of x.
    """
    sums, _ = _sums_and_grads(*_operands(grad, x, mean, var, gamma, beta, eps, activation))
    return sums


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
    operands, inverse = _operands(grad, x, mean, var, gamma, beta, eps, activation)
    check_norm_sums(x, sums, count)
    (sums,) = contiguous(sums)
    return _grad_x(x, operands, inverse, gamma, sums, count)


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
    operands, inverse = _operands(grad, x, mean, var, gamma, beta, eps, activation)
    sums, grads = _sums_and_grads(operands, inverse)
    grad_x = _grad_x(x, operands, inverse, gamma, sums, x.size // x.shape[-1] if training else 0)
    return grad_x, grads[1], grads[0]


def update_running(running_mean, running_var, mean, var, momentum, count):
    """running <- (1 - momentum) running + momentum batch, in place; the variance unbiased: var count / (count - 1).

    Args:
        count: values of each channel in the batch, > 1.
    """
    check_running(running_mean, running_var, mean, var, count)
    t = mean.dtype.type
    running_mean += t(momentum) * (mean - running_mean)
    running_var += t(momentum) * (var * t(count / (count - 1)) - running_var)


def _rows(x):
    """The pixels of x, (N H W, C), as kernels index them."""
    return numbers(x).reshape(-1, x.shape[-1])


def _parts(rows):
    """Parts of a sum over rows: fewer for small arrays, whose partial sums would cost more than the rows."""
    return max(1, min(PARTS, len(rows), rows.size // _PART))


def _operands(grad, x, mean, var, gamma, beta, eps, activation):
    """What each pass over memory reads, as `_grad_sums` names it; and 1 / sqrt(var + eps)."""
    check_norm_grad(grad, x, activation, mean=mean, var=var, gamma=gamma, beta=beta)
    if activation in GATES:
        before = batch_norm(widened(x), mean, var, gamma, beta, eps, None)
        grad, activation = activate_grad(widened(grad), before, activation), None
    grad, x = contiguous(grad, x)
    deviation = np.sqrt(var + var.dtype.type(eps))
    shape = activation in SHOWN_BY_RESULT, slope_limits_of(activation, var.dtype), activation == "hardswish"
    return (_rows(grad), _rows(x), mean, gamma / deviation, beta, *shape), 1 / deviation


def _sums_and_grads(operands, inverse):
    """`batch_norm_grad_sums` (2, C), and the same rounded: the gradients in beta and gamma."""
    rows = operands[1]
    parts = np.zeros((_parts(rows), 2, rows.shape[1]))
    _grad_sums(len(parts), *operands, parts)
    sums, grads = np.empty(parts.shape[1:]), np.empty(parts.shape[1:], inverse.dtype)
    _merge_grads(parts, inverse, sums, grads)
    return sums, grads


def _grad_x(x, operands, inverse, gamma, sums, count):
    """`batch_norm_grad_input` of these sums, in the shape of x."""
    terms = np.zeros((3, gamma.size), gamma.dtype)  # grad_x = factor g + offset + slope (x - mean)
    _merge_terms(count, sums, inverse, gamma, terms)
    grad_x = empty(x.shape, x.dtype)
    _grad_input(PARTS, *operands, terms, _rows(grad_x))
    return grad_x


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
def _deviations(part, rows, steps, mean, squares):
    """Mean and sum of squared deviations of each part of the rows, by merging steps of a few rows."""
    channels = rows.shape[1]
    first, last = bounds(part, len(mean), rows.shape[0])
    m, s = mean[part], squares[part]
    step_sum, step_squares = steps[part, 0], steps[part, 1]
    for start in range(first, last, _STEP):
        stop = min(start + _STEP, last)
        step_sum[:] = 0
        step_squares[:] = 0
        for i in range(start, stop):
            for c in range(channels):
                step_sum[c] += wide(rows[i, c])
        inverse = steps.dtype.type(1) / steps.dtype.type(stop - start)
        for c in range(channels):
            step_sum[c] *= inverse  # the step's mean
        for i in range(start, stop):
            for c in range(channels):
                d = wide(rows[i, c]) - step_sum[c]
                step_squares[c] += d * d
        share = (stop - start) / (stop - first)  # this step's part of the pixels merged so far
        weight = share * (start - first)
        for c in range(channels):
            delta = step_sum[c] - m[c]
            m[c] += delta * share
            s[c] += step_squares[c] + delta * delta * weight


@jit_parallel
def _normalise(part, x, residual, y, mean, factor, beta, adds, limits, is_hardswish):
    """y = activation((x - mean) factor + beta (+ residual where it `adds`)) in one pass over memory."""
    low, high = limits
    first, last = bounds(part, PARTS, x.shape[0])
    for i in range(first, last):
        for c in range(x.shape[1]):
            v = (wide(x[i, c]) - mean[c]) * factor[c] + beta[c]
            v = v + wide(residual[i, c]) if adds else v
            v = hardswish(v) if is_hardswish else between(v, low, high)
            y[i, c] = narrow_as(v, x[i, c])


@jit_inline
def _before(grad, d, factor, beta, masks, limits, is_hardswish):
    """The gradient before the activation of v = d factor + beta; where it `masks`, grad or 0."""
    low, high = limits
    v = d * factor + beta
    g = grad if not masks or (v > low) & (v <= high) else type(grad)(0)
    return g * hardswish_slope(v) if is_hardswish else g


@jit_parallel
def _grad_sums(part, grad, x, mean, factor, beta, masks, limits, is_hardswish, sums):
    """Sum of g and of g (x - mean) for each part, g being the gradient before the activation."""
    channels = x.shape[1]
    first, last = bounds(part, len(sums), x.shape[0])
    step_sum, step_product = np.empty(channels, mean.dtype), np.empty(channels, mean.dtype)
    for start in range(first, last, _STEP):
        step_sum[:] = 0
        step_product[:] = 0
        for i in range(start, min(start + _STEP, last)):
            for c in range(channels):
                d = wide(x[i, c]) - mean[c]
                g = _before(wide(grad[i, c]), d, factor[c], beta[c], masks, limits, is_hardswish)
                step_sum[c] += g
                step_product[c] += g * d
        for c in range(channels):
            sums[part, 0, c] += step_sum[c]
            sums[part, 1, c] += step_product[c]


@jit
def _merge_grads(parts, inverse, sums, grads):
    """Sums of g and g x^, in float64 and rounded; parts: of g and g (x - mean), added in order."""
    for part in range(1, len(parts)):
        for i in range(2):
            for c in range(parts.shape[2]):
                parts[0, i, c] += parts[part, i, c]
    for c in range(parts.shape[2]):
        sums[0, c], sums[1, c] = parts[0, 0, c], parts[0, 1, c] * inverse[c]
        grads[0, c], grads[1, c] = sums[0, c], sums[1, c]


@jit
def _merge_terms(count, sums, inverse, gamma, terms):
    """The terms of grad_x; `count` 0: those of the sums stay zero."""
    for c in range(len(gamma)):
        factor = gamma[c] * inverse[c]
        terms[0, c] = factor
        if count:
            terms[1, c] = -factor * sums[0, c] / count
            terms[2, c] = -factor * inverse[c] * sums[1, c] / count


@jit_parallel
def _grad_input(part, grad, x, mean, factor, beta, masks, limits, is_hardswish, terms, grad_x):
    """grad_x = scale g + offset + slope (x - mean), g as in `_grad_sums`; terms: (3, C) these three."""
    scale, offset, slope = terms[0], terms[1], terms[2]
    first, last = bounds(part, PARTS, x.shape[0])
    for i in range(first, last):
        for c in range(x.shape[1]):
            d = wide(x[i, c]) - mean[c]
            g = _before(wide(grad[i, c]), d, factor[c], beta[c], masks, limits, is_hardswish)
            grad_x[i, c] = narrow_as(scale[c] * g + offset[c] + slope[c] * d, x[i, c])
