"""Softmax over channels and the cross-entropy of segmentation, with void pixels left out.

Channels are few (21), so the exponentials are taken over runs of pixels at once, as one long vector.
"""

import math

import numpy as np
from numba import prange

from ..checks import check_alike, check_floats, check_labels, check_shape
from .arrays import contiguous, empty
from .exponential import exponentiate
from .jit import jit, jit_parallel
from .parts import PARTS, bounds

_RUN = 64  # pixels at a time


def softmax(x):
    """exp(x[k]) / sum_j exp(x[j]) over the last axis, shifted by the maximum so that nothing overflows."""
    check_floats("softmax", x=x)
    return _over_rows(_softmax, x)


def softmax_grad(grad, y):
    """y (grad - sum_k grad[k] y[k]), y being the softmax."""
    check_alike("softmax", grad=grad, y=y)
    return _over_rows(_softmax_grad, grad, y)


def log_softmax(x):
    """x[k] - log sum_j exp(x[j])."""
    check_floats("log_softmax", x=x)
    return _over_rows(_log_softmax, x)


def log_softmax_grad(grad, y):
    """grad - exp(y) sum_k grad[k], y being the log-softmax."""
    check_alike("log_softmax", grad=grad, y=y)
    return _over_rows(_log_softmax_grad, grad, y)


def _over_rows(kernel, *arrays):
    """Run a kernel on the arrays as rows of channels; the result has their shape."""
    result = empty(arrays[0].shape, arrays[0].dtype)
    width = arrays[0].shape[-1]
    kernel(*(a.reshape(-1, width) for a in contiguous(*arrays)), result.reshape(-1, width))
    return result


def cross_entropy(logits, labels, class_weights, ignore_index):
    """Weighted mean of -log softmax(logits)[label] over the pixels whose label is not `ignore_index`.

        loss = sum_i w[label_i] (log_normaliser_i - logits_i[label_i]) / sum_i w[label_i]

    Args:
        logits: (N, H, W, K); labels: integers (N, H, W); class_weights: (K,) in the logits' dtype, or None for ones.

    Returns:
        loss: Python float, 0.0 when every pixel is void.
        total_weight: Python float, sum_i w[label_i].
        log_normaliser: (N, H, W), log sum_k exp(logits[k]); saved for the gradient.

    Raises:
        ValueError: a label that is neither a class nor void, with its position.
    """
    check_labels(logits, labels, class_weights, ignore_index)
    logits, labels = contiguous(logits, labels)
    weights = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    log_normaliser = empty(labels.shape, logits.dtype)
    losses, totals = np.zeros(PARTS), np.zeros(PARTS)
    rows = logits.reshape(-1, logits.shape[-1])
    _cross_entropy(rows, labels.reshape(-1), weights, ignore_index, log_normaliser.reshape(-1), losses, totals)
    total = float(totals.sum())
    return float(losses.sum()) / total if total else 0.0, total, log_normaliser


def cross_entropy_grad(logits, labels, log_normaliser, total_weight, class_weights, ignore_index, scale):
    """scale * d loss / d logits = scale w[label] (softmax - onehot(label)) / total_weight; 0 at void pixels."""
    check_labels(logits, labels, class_weights, ignore_index)
    check_shape("cross_entropy", "log_normaliser", log_normaliser, labels.shape)
    logits, labels = contiguous(logits, labels)
    weights = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    weights = (weights * (scale / total_weight if total_weight else 0.0)).astype(logits.dtype)
    grad = empty(logits.shape, logits.dtype)
    rows = (a.reshape(-1, logits.shape[-1]) for a in (logits, grad))
    _cross_entropy_grad(*rows, labels.reshape(-1), log_normaliser.reshape(-1), weights, ignore_index)
    return grad


@jit
def _shifted_exponentials(rows, first, count, top, e):
    """e[i, k] = exp(rows[first + i, k] - top[i]), top[i] the row's largest value."""
    for i in range(count):
        top[i] = rows[first + i, 0]
        for k in range(rows.shape[1]):
            top[i] = max(top[i], rows[first + i, k])
        for k in range(rows.shape[1]):
            e[i, k] = rows[first + i, k] - top[i]
    exponentiate(e[:count].reshape(-1))


@jit_parallel
def _softmax(x, y):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.shape[0])
        top, e = np.empty(_RUN, x.dtype), np.empty((_RUN, x.shape[1]), x.dtype)
        for start in range(first, last, _RUN):
            count = min(_RUN, last - start)
            _shifted_exponentials(x, start, count, top, e)
            for i in range(count):
                inverse = x.dtype.type(1) / e[i].sum()
                for k in range(x.shape[1]):
                    y[start + i, k] = e[i, k] * inverse


@jit_parallel
def _softmax_grad(grad, y, grad_x):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, y.shape[0])
        for i in range(first, last):
            dot = y.dtype.type(0)
            for k in range(y.shape[1]):
                dot += grad[i, k] * y[i, k]
            for k in range(y.shape[1]):
                grad_x[i, k] = y[i, k] * (grad[i, k] - dot)


@jit_parallel
def _log_softmax(x, y):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.shape[0])
        top, e = np.empty(_RUN, x.dtype), np.empty((_RUN, x.shape[1]), x.dtype)
        for start in range(first, last, _RUN):
            count = min(_RUN, last - start)
            _shifted_exponentials(x, start, count, top, e)
            for i in range(count):
                log_sum = x.dtype.type(math.log(e[i].sum()))
                for k in range(x.shape[1]):
                    y[start + i, k] = x[start + i, k] - top[i] - log_sum


@jit_parallel
def _log_softmax_grad(grad, y, grad_x):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, y.shape[0])
        for i in range(first, last):
            e = y[i].copy()
            exponentiate(e)
            total = grad[i].sum()
            for k in range(y.shape[1]):
                grad_x[i, k] = grad[i, k] - e[k] * total


@jit_parallel
def _cross_entropy(logits, labels, weights, ignore_index, log_normaliser, losses, totals):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, logits.shape[0])
        top, e = np.empty(_RUN, logits.dtype), np.empty((_RUN, logits.shape[1]), logits.dtype)
        loss, total = 0.0, 0.0  # float64: a batch has millions of pixels
        for start in range(first, last, _RUN):
            count = min(_RUN, last - start)
            _shifted_exponentials(logits, start, count, top, e)
            for i in range(count):
                row, label = start + i, np.int64(labels[start + i])
                log_normaliser[row] = top[i] + math.log(e[i].sum())
                if label != ignore_index:
                    loss += weights[label] * (log_normaliser[row] - logits[row, label])
                    total += weights[label]
        losses[np.int64(part)], totals[np.int64(part)] = loss, total


@jit_parallel
def _cross_entropy_grad(logits, grad, labels, log_normaliser, weights, ignore_index):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, logits.shape[0])
        for start in range(first, last, _RUN):
            stop = min(start + _RUN, last)
            for row in range(start, stop):
                for k in range(logits.shape[1]):
                    grad[row, k] = logits[row, k] - log_normaliser[row]
            exponentiate(grad[start:stop].reshape(-1))
            for row in range(start, stop):
                label = np.int64(labels[row])
                if label == ignore_index:
                    grad[row] = 0
                else:
                    for k in range(logits.shape[1]):
                        grad[row, k] *= weights[label]
                    grad[row, label] -= weights[label]
