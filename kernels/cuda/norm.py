"""Batch normalisation over N, H, W, with a residual and an activation: x is read once for statistics, once for y."""

import math

import numba
import numpy as np

from ..activation import GATES, SHOWN_BY_RESULT, check_activation, limits_of, slope_limits_of
from ..checks import check_alike, check_channels, check_image, check_norm_grad, check_norm_sums, check_running
from .activation import between, hardswish, hardswish_slope
from .arrays import empty
from .channels import ACROSS, DOWN, layout
from .device import Kernel, cuda
from .elementwise import activate, activate_grad


def batch_norm_statistics(x):
    """Mean and biased variance of each channel over N, H, W.

    Returns:
        mean, var: (C,) in the dtype of x.

    Source: shifted sums along a thread's rows; merged in float64 as by Chan, Golub and LeVeque 1983.
    """
    check_image("batch_norm", "x", x)
    c, rows = x.shape[3], x.size // x.shape[3]
    grid, block = layout(c, rows)
    partial = empty((grid[1], c, 3), np.float64)
    _partial_statistics(grid, block, x, rows, c, partial)
    mean, var = empty((c,), x.dtype), empty((c,), x.dtype)
    _merge.flat(c, c, grid[1], partial, mean, var)
    return mean, var


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
    y, rows, c = empty(x.shape, x.dtype), x.size // x.shape[3], x.shape[3]
    adds, residual = residual is not None, x if residual is None else residual
    _normalise(
        *layout(c, rows), x, residual, y, rows, c, mean, var, gamma, beta, x.dtype.type(eps), adds,
        *limits_of(activation, x.dtype), activation == "hardswish",
    )  # fmt: skip
    return activate(y, activation) if activation in GATES else y


def batch_norm_factors(mean, var, gamma, beta, eps):
    """(scale, shift) such that scale x + shift is `batch_norm`: what a convolution takes in its last step.

    scale = gamma / sqrt(var + eps),  shift = beta - scale mean
    """
    check_alike("batch_norm", mean=mean, var=var, gamma=gamma, beta=beta)
    scale, shift = empty(mean.shape, mean.dtype), empty(mean.shape, mean.dtype)
    _factors.flat(mean.size, mean.size, mean, var, gamma, beta, mean.dtype.type(eps), scale, shift)
    return scale, shift


def batch_norm_grad_sums(grad, x, mean, var, gamma, beta, eps, activation):
    """The sums over N, H, W that `batch_norm_grad_input` needs: gradients of `batch_norm` in beta and in gamma.

    With g = grad activation'(gamma x^ + beta) and x^ = (x - mean) / sqrt(var + eps):

        grad_beta = sums[0] = sum g,  grad_gamma = sums[1] = sum g x^

    Where mean and var are of several arrays, as those of several processes, the sums of these are added.

    Returns:
        (2, C) float64 whatever the dtype of x.
    """
    return _sums_and_grads(_operands(grad, x, mean, var, gamma, beta, eps, activation), var, eps)[0]


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
    operands = _operands(grad, x, mean, var, gamma, beta, eps, activation)
    check_norm_sums(x, sums, count)
    return _grad_x(x, operands, sums, count)


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
    operands = _operands(grad, x, mean, var, gamma, beta, eps, activation)
    sums, grad_gamma, grad_beta = _sums_and_grads(operands, var, eps)
    grad_x = _grad_x(x, operands, sums, x.size // x.shape[3] if training else 0)
    return grad_x, grad_gamma, grad_beta


def update_running(running_mean, running_var, mean, var, momentum, count):
    """running <- (1 - momentum) running + momentum batch, in place; the variance unbiased: var count / (count - 1).

    Args:
        count: values of each channel in the batch, > 1.
    """
    check_running(running_mean, running_var, mean, var, count)
    t, c = mean.dtype.type, mean.size
    _update_running.flat(c, c, running_mean, running_var, mean, var, t(momentum), t(count / (count - 1)))


def _operands(grad, x, mean, var, gamma, beta, eps, activation):
    """Grid and block of both passes over memory, and what each reads, as `_partial_gradients` names it."""
    check_norm_grad(grad, x, activation, mean=mean, var=var, gamma=gamma, beta=beta)
    rows, c = x.size // x.shape[3], x.shape[3]
    grid, block = layout(c, rows)
    affine = mean, var, gamma, beta, x.dtype.type(eps)
    if activation in GATES:
        grad = activate_grad(grad, batch_norm(x, mean, var, gamma, beta, eps, None), activation)
    if activation == "hardswish":
        inner_grad = empty(x.shape, x.dtype)
        _hardswish_grad(grid, block, grad, x, rows, c, *affine, inner_grad)
        grad = inner_grad
    mask = activation in SHOWN_BY_RESULT, *slope_limits_of(activation, x.dtype)
    return grid, block, grad, x, rows, c, *affine, *mask


def _sums_and_grads(operands, var, eps):
    """`batch_norm_grad_sums` (2, C), and the same rounded: the gradients in gamma and beta."""
    (_, parts), c = operands[0], var.size
    partial = empty((parts, c, 2), np.float64)
    _partial_gradients(*operands, partial)
    sums, grad_gamma, grad_beta = empty((2, c), np.float64), empty((c,), var.dtype), empty((c,), var.dtype)
    _merge_gradients.flat(c, c, parts, partial, var, var.dtype.type(eps), sums, grad_gamma, grad_beta)
    return sums, grad_gamma, grad_beta


def _grad_x(x, operands, sums, count):
    """`batch_norm_grad_input` of these sums."""
    grad_x = empty(x.shape, x.dtype)
    _grad_input(*operands, sums, 1 / count if count else 0.0, grad_x)
    return grad_x


@Kernel
def _partial_statistics(x, rows, channels, partial):
    """partial[part, c] = (mean, sum of squared deviations, count) of the rows of one block."""
    shared = cuda.shared.array((DOWN, ACROSS, 3), numba.float64)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    c = cuda.blockIdx.x * ACROSS + tx
    first = cuda.blockIdx.y * DOWN + ty
    shift, total, square, count = x.dtype.type(0), x.dtype.type(0), x.dtype.type(0), 0.0
    if c < channels and first < rows:
        shift = x[first * channels + c]  # deviations from a value nearby are small, and so is what they lose
        for row in range(first, rows, cuda.gridDim.y * DOWN):
            d = x[row * channels + c] - shift
            total += d
            square += d * d
            count += 1.0
    deviation, least = np.float64(total), max(count, 1.0)
    shared[ty, tx, 0], shared[ty, tx, 2] = np.float64(shift) + deviation / least, count
    shared[ty, tx, 1] = max(np.float64(square) - deviation * (deviation / least), 0.0)
    cuda.syncthreads()
    if ty == 0 and c < channels:
        m, s, n = 0.0, 0.0, 0.0
        for i in range(DOWN):
            more = shared[i, tx, 2]
            if more > 0:
                d = shared[i, tx, 0] - m
                n += more
                m += d * more / n
                s += shared[i, tx, 1] + d * d * more * (n - more) / n
        at = (cuda.blockIdx.y * channels + c) * 3
        partial[at], partial[at + 1], partial[at + 2] = m, s, n


@Kernel
def _merge(channels, parts, partial, mean, var):
    for c in range(cuda.grid(1), channels, cuda.gridsize(1)):
        m, s, n = 0.0, 0.0, 0.0
        for part in range(parts):
            at = (part * channels + c) * 3
            more = partial[at + 2]
            if more > 0:
                d = partial[at] - m
                n += more
                m += d * more / n
                s += partial[at + 1] + d * d * more * (n - more) / n
        mean[c], var[c] = m, s / n


@Kernel
def _normalise(
    x, residual, y, rows, channels, mean, var, gamma, beta, eps, adds, low, high, is_hardswish
):  # fmt: skip
    c = cuda.blockIdx.x * ACROSS + cuda.threadIdx.x
    if c < channels:
        factor, m, b = gamma[c] / math.sqrt(var[c] + eps), mean[c], beta[c]
        for row in range(cuda.blockIdx.y * DOWN + cuda.threadIdx.y, rows, cuda.gridDim.y * DOWN):
            i = row * channels + c
            v = (x[i] - m) * factor + b
            if adds:
                v += residual[i]
            y[i] = hardswish(v) if is_hardswish else between(v, low, high)


@Kernel
def _factors(channels, mean, var, gamma, beta, eps, scale, shift):
    for c in range(cuda.grid(1), channels, cuda.gridsize(1)):
        scale[c] = gamma[c] / math.sqrt(var[c] + eps)
        shift[c] = beta[c] - scale[c] * mean[c]


@Kernel
def _hardswish_grad(grad, x, rows, channels, mean, var, gamma, beta, eps, inner_grad):
    """The gradient before hardswish, whose argument gamma (x - mean) / sqrt(var + eps) + beta is computed again."""
    c = cuda.blockIdx.x * ACROSS + cuda.threadIdx.x
    if c < channels:
        factor, m, b = gamma[c] / math.sqrt(var[c] + eps), mean[c], beta[c]
        for row in range(cuda.blockIdx.y * DOWN + cuda.threadIdx.y, rows, cuda.gridDim.y * DOWN):
            i = row * channels + c
            inner_grad[i] = grad[i] * hardswish_slope((x[i] - m) * factor + b)


@Kernel
def _partial_gradients(grad, x, rows, channels, mean, var, gamma, beta, eps, masks, low, high, partial):
    """partial[part, c] = (sum g, sum g (x - mean)) of the rows of one block.

    g is grad, where it `masks` that where low < gamma (x - mean) / sqrt(var + eps) + beta <= high.
    """
    shared = cuda.shared.array((DOWN, ACROSS, 2), numba.float64)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    c = cuda.blockIdx.x * ACROSS + tx
    zero = x.dtype.type(0)
    total, product = zero, zero
    if c < channels:
        factor, m, b = gamma[c] / math.sqrt(var[c] + eps), mean[c], beta[c]
        for row in range(cuda.blockIdx.y * DOWN + ty, rows, cuda.gridDim.y * DOWN):
            i = row * channels + c
            if not masks or low < (x[i] - m) * factor + b <= high:
                total += grad[i]
                product += grad[i] * (x[i] - m)
    shared[ty, tx, 0], shared[ty, tx, 1] = total, product
    cuda.syncthreads()
    if ty == 0 and c < channels:
        s, p = 0.0, 0.0
        for i in range(DOWN):
            s += shared[i, tx, 0]
            p += shared[i, tx, 1]
        at = (cuda.blockIdx.y * channels + c) * 2
        partial[at], partial[at + 1] = s, p


@Kernel
def _merge_gradients(channels, parts, partial, var, eps, sums, grad_gamma, grad_beta):
    """sums = (sum g, sum g x^) of the parts, added in order; the gradients are these, rounded."""
    for c in range(cuda.grid(1), channels, cuda.gridsize(1)):
        s, p = 0.0, 0.0
        for part in range(parts):
            at = (part * channels + c) * 2
            s += partial[at]
            p += partial[at + 1]
        p /= math.sqrt(var[c] + eps)
        sums[c], sums[channels + c] = s, p
        grad_beta[c], grad_gamma[c] = s, p


@Kernel
def _grad_input(
    grad, x, rows, channels, mean, var, gamma, beta, eps, masks, low, high, sums, share, grad_x
):  # fmt: skip
    """grad_x = gamma / deviation (g - share (sums[0] + x^ sums[1])); `share` is 1 / count, or 0: sums are not read."""
    c = cuda.blockIdx.x * ACROSS + cuda.threadIdx.x
    if c < channels:
        zero, one = x.dtype.type(0), x.dtype.type(1)
        inverse, m, b = one / math.sqrt(var[c] + eps), mean[c], beta[c]
        forward = gamma[c] / math.sqrt(var[c] + eps)  # the factor of `_normalise`, to the bit
        factor, offset, slope = gamma[c] * inverse, zero, zero
        if share > 0:  # rounded before the loop: an element is computed in the dtype of x
            offset, slope = x.dtype.type(share * sums[c]), x.dtype.type(share * sums[channels + c]) * inverse
        for row in range(cuda.blockIdx.y * DOWN + cuda.threadIdx.y, rows, cuda.gridDim.y * DOWN):
            i = row * channels + c
            g = grad[i] if not masks or low < (x[i] - m) * forward + b <= high else zero
            grad_x[i] = factor * (g - offset - (x[i] - m) * slope)


@Kernel
def _update_running(channels, running_mean, running_var, mean, var, momentum, unbiased):
    for c in range(cuda.grid(1), channels, cuda.gridsize(1)):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (var[c] * unbiased - running_var[c])
