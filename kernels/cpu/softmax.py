"""Softmax, its logarithm, and the largest channel.

Channels are few (21), so the exponentials are taken over runs of pixels at once, as one long vector.
"""

import math

import numpy as np

from ..checks import check_alike, check_argmax_of, check_floats
from .arrays import contiguous, empty
from .bfloat16 import numbers, wide
from .exponential import exponentiate
from .jit import jit, jit_parallel
from .parts import PARTS, bounds

_RUN = 64  # pixels at a time


def argmax(x):
    """The channel of the largest value of each pixel, the first of equals; NaN counts as largest.

    Args:
        x: (..., K), K <= 256.

    Returns:
        (...) uint8.
    """
    check_argmax_of(x)
    (x,) = contiguous(x)
    labels = empty(x.shape[:-1], np.uint8)
    _argmax(PARTS, numbers(x).reshape(-1, x.shape[-1]), labels.reshape(-1))
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
    result = empty(arrays[0].shape, arrays[0].dtype)
    width = arrays[0].shape[-1]
    kernel(PARTS, *(a.reshape(-1, width) for a in contiguous(*arrays)), result.reshape(-1, width))
    return result


@jit
def shifted_exponentials(rows, top, e):
    """e[i, k] = exp(rows[i, k] - top[i]), top[i] the row's largest value."""
    for i in range(len(rows)):
        top[i] = rows[i, 0]
        for k in range(rows.shape[1]):
            top[i] = max(top[i], rows[i, k])
        for k in range(rows.shape[1]):
            e[i, k] = rows[i, k] - top[i]
    exponentiate(e[: len(rows)].reshape(-1))


@jit_parallel
def _argmax(part, x, labels):
    first, last = bounds(part, PARTS, x.shape[0])
    for i in range(first, last):
        best, label = wide(x[i, 0]), 0
        for k in range(1, x.shape[1]):
            if wide(x[i, k]) > best or (wide(x[i, k]) != wide(x[i, k]) and best == best):
                best, label = wide(x[i, k]), k
        labels[i] = label


@jit_parallel
def _softmax(part, x, y):
    first, last = bounds(part, PARTS, x.shape[0])
    top, e = np.empty(_RUN, x.dtype), np.empty((_RUN, x.shape[1]), x.dtype)
    for start in range(first, last, _RUN):
        count = min(_RUN, last - start)
        shifted_exponentials(x[start : start + count], top, e)
        for i in range(count):
            inverse = x.dtype.type(1) / e[i].sum()
            for k in range(x.shape[1]):
                y[start + i, k] = e[i, k] * inverse


@jit_parallel
def _softmax_grad(part, grad, y, grad_x):
    first, last = bounds(part, PARTS, y.shape[0])
    for i in range(first, last):
        dot = y.dtype.type(0)
        for k in range(y.shape[1]):
            dot += grad[i, k] * y[i, k]
        for k in range(y.shape[1]):
            grad_x[i, k] = y[i, k] * (grad[i, k] - dot)


@jit_parallel
def _log_softmax(part, x, y):
    first, last = bounds(part, PARTS, x.shape[0])
    top, e = np.empty(_RUN, x.dtype), np.empty((_RUN, x.shape[1]), x.dtype)
    for start in range(first, last, _RUN):
        count = min(_RUN, last - start)
        shifted_exponentials(x[start : start + count], top, e)
        for i in range(count):
            log_sum = x.dtype.type(math.log(e[i].sum()))
            for k in range(x.shape[1]):
                y[start + i, k] = x[start + i, k] - top[i] - log_sum


@jit_parallel
def _log_softmax_grad(part, grad, y, grad_x):
    first, last = bounds(part, PARTS, y.shape[0])
    for i in range(first, last):
        e = y[i].copy()
        exponentiate(e)
        total = grad[i].sum()
        for k in range(y.shape[1]):
            grad_x[i, k] = grad[i, k] - e[k] * total
