"""Cross-entropy of segmentation with void pixels left out, from logits that are enlarged where they are needed.

The enlarged logits and their gradient, the largest arrays of a training step, never exist: a thread interpolates the
channels of its pixel. In the gradient a thread takes one column of the small logits on one line of the image, and sums
over the pixels that read it; each pixel's softmax is computed by the two columns beside it.
"""

import math

import numba
import numpy as np

from ..checks import check_labels, check_shape
from .arrays import empty, full, to_numpy
from .device import THREADS, Kernel, cuda, device_function
from .resize import bilinear_table, collect, mix

_BLOCKS = 2 if THREADS < 32 else 264  # their partial losses are added in order


def cross_entropy(logits, labels, class_weights, ignore_index, size=None):
    """Weighted mean of -log softmax(logits)[label] over the pixels whose label is not `ignore_index`.

        loss = sum_i w[label_i] (log_normaliser_i - logits_i[label_i]) / sum_i w[label_i]

    Args:
        logits: (N, h, w, K); labels: integers (N, H, W); class_weights: (K,) in the logits' dtype, or None for ones.
        size: (height, width) that the logits are enlarged to first, bilinearly with aligned corners, no less than
            (H, W): what lies below and right of the labels is left out. None: h = H and w = W.

    Returns:
        loss: Python float, 0.0 when total_weight is 0: every pixel is void, or of a class without weight.
        total_weight: Python float, sum_i w[label_i].
        log_normaliser: (N, H, W), log sum_k exp(logits[k]); saved for the gradient.

    Raises:
        ValueError: a label that is neither a class nor void, with its position; sizes that do not fit.
    """
    check_labels(logits, labels, class_weights, ignore_index, size)
    (_, h, w, k), (_, height, width) = logits.shape, labels.shape
    log_normaliser = empty(labels.shape, logits.dtype)
    sums = empty((_BLOCKS, 3), np.float64)  # for each block: loss, weight, number of labels out of range
    _cross_entropy(
        _BLOCKS, THREADS, logits, h, w, k, labels, labels.size, height, width, *_tables(logits, labels, size),
        _weights(logits, class_weights), ignore_index, log_normaliser, sums,
    )  # fmt: skip
    loss, total, wrong = to_numpy(sums).sum(axis=0)
    if wrong:
        check_labels(logits, to_numpy(labels), class_weights, ignore_index, size)  # it names the pixel
    return float(loss) / float(total) if total else 0.0, float(total), log_normaliser


def cross_entropy_grad(logits, labels, log_normaliser, total_weight, class_weights, ignore_index, scale, size=None):
    """scale * d loss / d logits = scale w[label] (softmax - onehot(label)) / total_weight; 0 at void pixels.

    With `size` the adjoint of the enlargement follows, and the result is (N, h, w, K) as the logits are.
    """
    check_labels(logits, labels, class_weights, ignore_index, size)
    check_shape("cross_entropy", "log_normaliser", log_normaliser, labels.shape)
    (n, h, w, k), (_, height, width) = logits.shape, labels.shape
    narrow = empty((n, height, w, k), logits.dtype)  # every line of the image, on the logits' columns
    scale = logits.dtype.type(scale / total_weight if total_weight else 0.0)
    count, (rows, columns) = n * height * w, _tables_with_readers(logits, size)
    _cross_entropy_grad.flat(
        count, count, logits, h, w, k, labels, height, width, *rows[:3], *columns,
        log_normaliser, _weights(logits, class_weights), scale, ignore_index, narrow,
    )  # fmt: skip
    if size is None:
        return narrow
    grad = empty(logits.shape, logits.dtype)
    collect(narrow, rows, height, h, w * k, grad)
    return grad


def _weights(logits, class_weights):
    return full((logits.shape[3],), 1, logits.dtype) if class_weights is None else class_weights


def _tables_with_readers(logits, size):
    _, h, w, _ = logits.shape
    height, width = size or (h, w)
    return bilinear_table(h, height, True, logits.dtype), bilinear_table(w, width, True, logits.dtype)


def _tables(logits, labels, size):
    rows, columns = _tables_with_readers(logits, size)
    return *rows[:3], *columns[:3]


@device_function
def _logit(logits, above, below, left, right, f, g, classes, k):
    """Class k of one enlarged pixel."""
    return mix(
        mix(logits[(above + left) * classes + k], logits[(below + left) * classes + k], f),
        mix(logits[(above + right) * classes + k], logits[(below + right) * classes + k], f),
        g,
    )


@Kernel
def _cross_entropy(
    logits, in_h, in_w, classes, labels, count, height, width, row_low, row_high, row_f, column_low, column_high,
    column_f, weights, ignore_index, log_normaliser, sums,
):  # fmt: skip
    partial = cuda.shared.array((THREADS, 3), numba.float64)
    t = cuda.threadIdx.x
    loss, weight, wrong = 0.0, 0.0, 0.0  # float64: a batch has millions of pixels
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        line, q = i // width, i % width
        n, p = line // height, line % height
        above, below = (n * in_h + row_low[p]) * in_w, (n * in_h + row_high[p]) * in_w
        left, right, f, g = column_low[q], column_high[q], row_f[p], column_f[q]
        top = _logit(logits, above, below, left, right, f, g, classes, 0)
        for k in range(1, classes):
            top = max(top, _logit(logits, above, below, left, right, f, g, classes, k))
        total = logits.dtype.type(0)
        for k in range(classes):
            total += math.exp(_logit(logits, above, below, left, right, f, g, classes, k) - top)
        log_normaliser[i] = top + math.log(total)
        label = labels[i]
        if label != ignore_index:
            if 0 <= label < classes:
                value = _logit(logits, above, below, left, right, f, g, classes, label)
                loss += np.float64(weights[label]) * np.float64(log_normaliser[i] - value)
                weight += np.float64(weights[label])
            else:
                wrong += 1.0
    partial[t, 0], partial[t, 1], partial[t, 2] = loss, weight, wrong
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            for j in range(3):
                partial[t, j] += partial[t + half, j]
        cuda.syncthreads()
        half //= 2
    if t < 3:
        sums[cuda.blockIdx.x * 3 + t] = partial[0, t]


@Kernel
def _cross_entropy_grad(
    count, logits, in_h, in_w, classes, labels, height, width, row_low, row_high, row_f, column_low, column_high,
    column_f, first, last, log_normaliser, weights, scale, ignore_index, narrow,
):  # fmt: skip
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        line, w = i // in_w, i % in_w
        n, p = line // height, line % height
        above, below, f = (n * in_h + row_low[p]) * in_w, (n * in_h + row_high[p]) * in_w, row_f[p]
        for k in range(classes):
            narrow[i * classes + k] = 0
        for q in range(first[w], min(last[w], width)):
            pixel = line * width + q
            label = labels[pixel]
            left, right, g = column_low[q], column_high[q], column_f[q]
            one, share = logits.dtype.type(1), logits.dtype.type(0)
            if left == w:
                share += one - g
            if right == w:
                share += g
            if label != ignore_index and 0 <= label < classes and share != 0:
                share *= weights[label] * scale
                for k in range(classes):
                    value = _logit(logits, above, below, left, right, f, g, classes, k)
                    p_k = math.exp(value - log_normaliser[pixel])
                    narrow[i * classes + k] += share * (p_k - one if k == label else p_k)
