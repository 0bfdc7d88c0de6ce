"""Softmax, its logarithm, and the largest channel."""

import numpy as np

from ..checks import check_alike, check_argmax_of, check_floats
from .rounding import on_maps


@on_maps()
def argmax(x):
    """The channel of the largest value of each pixel, the first of equals; NaN counts as largest.

    Args:
        x: (..., K), K <= 256.

    Returns:
        (...) uint8.
    """
    check_argmax_of(x)
    return x.argmax(axis=-1).astype(np.uint8)


def softmax(x):
    """exp(x[k]) / sum_j exp(x[j]) over the last axis, shifted by the maximum so that nothing overflows."""
    check_floats("softmax", x=x)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_grad(grad, y):
    """grad_x[k] = y[k] (grad[k] - sum_j grad[j] y[j]), y being the softmax."""
    check_floats("softmax", grad=grad, y=y)
    check_alike("softmax", grad=grad, y=y)
    return y * (grad - (grad * y).sum(axis=-1, keepdims=True))


def log_softmax(x):
    """x[k] - log sum_j exp(x[j])."""
    check_floats("log_softmax", x=x)
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def log_softmax_grad(grad, y):
    """grad_x[k] = grad[k] - exp(y[k]) sum_j grad[j], y being the log-softmax."""
    check_floats("log_softmax", grad=grad, y=y)
    check_alike("log_softmax", grad=grad, y=y)
    return grad - np.exp(y) * grad.sum(axis=-1, keepdims=True)
