"""Softmax, its logarithm, and the largest channel: a thread takes a pixel and walks through its channels."""

import math

import numpy as np

from ..checks import check_alike, check_argmax_of, check_floats
from .arrays import empty
from .device import Kernel, cuda


def argmax(x):
    """The channel of the largest value of each pixel, the first of equals; NaN counts as largest.

    Args:
        x: (..., K), K <= 256.

    Returns:
        (...) uint8.
    """
    check_argmax_of(x)
    channels = x.shape[len(x.shape) - 1]
    labels = empty(x.shape[: len(x.shape) - 1], np.uint8)
    _argmax.flat(labels.size, labels.size, channels, x, labels)
    return labels


def softmax(x):
    """exp(x[k]) / sum_j exp(x[j]) over the last axis, shifted by the maximum so that nothing overflows."""
    check_floats("softmax", x=x)
    return _over_rows(_softmax, x)


def softmax_grad(grad, y):
    """grad_x[k] = y[k] (grad[k] - sum_j grad[j] y[j]), y being the softmax."""
    check_floats("softmax", grad=grad, y=y)
    check_alike("softmax", grad=grad, y=y)
    return _over_rows(_softmax_grad, grad, y)


def log_softmax(x):
    """x[k] - log sum_j exp(x[j])."""
    check_floats("log_softmax", x=x)
    return _over_rows(_log_softmax, x)


def log_softmax_grad(grad, y):
    """grad_x[k] = grad[k] - exp(y[k]) sum_j grad[j], y being the log-softmax."""
    check_floats("log_softmax", grad=grad, y=y)
    check_alike("log_softmax", grad=grad, y=y)
    return _over_rows(_log_softmax_grad, grad, y)


def _over_rows(kernel, *arrays):
    """Run a kernel on the arrays as rows of channels; the result has their shape."""
    shape = arrays[0].shape
    result, channels = empty(shape, arrays[0].dtype), shape[len(shape) - 1]
    rows = result.size // max(1, channels)
    kernel.flat(rows, rows, channels, *arrays, result)
    return result


@Kernel
def _argmax(count, channels, x, labels):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        best, label = x[i * channels], 0
        for k in range(1, channels):
            value = x[i * channels + k]
            if value > best or (value != value and best == best):
                best, label = value, k
        labels[i] = label


@Kernel
def _softmax(count, channels, x, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        row, top = i * channels, x[i * channels]
        for k in range(1, channels):
            top = max(top, x[row + k])
        total = x.dtype.type(0)
        for k in range(channels):
            y[row + k] = math.exp(x[row + k] - top)
            total += y[row + k]
        for k in range(channels):
            y[row + k] /= total


@Kernel
def _softmax_grad(count, channels, grad, y, grad_x):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        row, dot = i * channels, y.dtype.type(0)
        for k in range(channels):
            dot += grad[row + k] * y[row + k]
        for k in range(channels):
            grad_x[row + k] = y[row + k] * (grad[row + k] - dot)


@Kernel
def _log_softmax(count, channels, x, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        row, top = i * channels, x[i * channels]
        for k in range(1, channels):
            top = max(top, x[row + k])
        total = x.dtype.type(0)
        for k in range(channels):
            total += math.exp(x[row + k] - top)
        log_total = math.log(total)
        for k in range(channels):
            y[row + k] = x[row + k] - top - log_total


@Kernel
def _log_softmax_grad(count, channels, grad, y, grad_x):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        row, total = i * channels, y.dtype.type(0)
        for k in range(channels):
            total += grad[row + k]
        for k in range(channels):
            grad_x[row + k] = grad[row + k] - math.exp(y[row + k]) * total
