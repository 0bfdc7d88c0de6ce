"""Cross-entropy of segmentation with void pixels left out, from logits that are enlarged line by line.

Networks give logits at a quarter of the image's side or less. Enlarged to the image they are among the largest arrays
of a training step (22 MB for an image of 513 x 513 and 21 classes, and their gradient as much), so they never exist:
each line of the image is interpolated where it is needed, in a buffer that stays in the cache, and its gradient is
collected into the columns of the small logits at once.
"""

import math

import numpy as np

from ..checks import check_labels, check_shape
from ..geometry import bilinear_taps
from .arrays import contiguous, empty
from .exponential import exponentiate
from .jit import jit_parallel
from .parts import PARTS, bounds
from .resize import collect_line, collect_rows, in_dtype, interpolate_line
from .rows import copy_row
from .softmax import shifted_exponentials


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
    logits, labels = contiguous(logits, labels)
    weights = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    log_normaliser = empty(labels.shape, logits.dtype)
    losses, totals = np.zeros(PARTS), np.zeros(PARTS)
    taps = _taps(logits, labels, size)
    _cross_entropy(
        PARTS, logits, labels, size is not None, *taps, weights, ignore_index, log_normaliser, losses, totals
    )
    total = float(totals.sum())
    return float(losses.sum()) / total if total else 0.0, total, log_normaliser


def cross_entropy_grad(logits, labels, log_normaliser, total_weight, class_weights, ignore_index, scale, size=None):
    """scale * d loss / d logits = scale w[label] (softmax - onehot(label)) / total_weight; 0 at void pixels.

    With `size` the adjoint of the enlargement follows, and the result is (N, h, w, K) as the logits are.
    """
    check_labels(logits, labels, class_weights, ignore_index, size)
    check_shape("cross_entropy", "log_normaliser", log_normaliser, labels.shape)
    logits, labels = contiguous(logits, labels)
    weights = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    weights = (weights * (scale / total_weight if total_weight else 0.0)).astype(logits.dtype)
    taps = _taps(logits, labels, size)
    n, _, in_w, k = logits.shape
    narrow = empty((n, labels.shape[1], in_w, k), logits.dtype)  # every line of the image, on the logits' columns
    _cross_entropy_grad(PARTS, logits, labels, size is not None, *taps, log_normaliser, weights, ignore_index, narrow)
    if size is None:
        return narrow
    grad = empty(logits.shape, logits.dtype)
    collect_rows(n * grad.shape[1], narrow, *taps[:3], grad)
    return grad


def _taps(logits, labels, size):
    """`bilinear_taps` of the lines and of the columns of the labels in the logits."""
    (_, height, width), (_, h, w, _) = labels.shape, logits.shape
    large_h, large_w = size or (h, w)
    rows, columns = bilinear_taps(h, large_h, True), bilinear_taps(w, large_w, True)
    return *in_dtype([a[:height] for a in rows], logits), *in_dtype([a[:width] for a in columns], logits)


@jit_parallel
def _cross_entropy(
    part, logits, labels, enlarges, row_low, row_high, row_f, column_low, column_high, column_f, weights, ignore_index,
    log_normaliser, losses, totals,
):  # fmt: skip
    n_images, height, width = labels.shape
    in_w, classes = logits.shape[2:]
    first, last = bounds(part, PARTS, n_images * height)
    mixed, buffer = np.empty((in_w, classes), logits.dtype), np.empty((width, classes), logits.dtype)
    top, e = np.empty(width, logits.dtype), np.empty((width, classes), logits.dtype)
    loss, total = 0.0, 0.0  # float64: a batch has millions of pixels
    for i in range(first, last):
        n, p = i // height, i % height
        if enlarges:
            line, above, below = buffer, logits[n, row_low[p]], logits[n, row_high[p]]
            interpolate_line(above, below, row_f[p], column_low, column_high, column_f, mixed, line)
        else:
            line = logits[n, p]
        shifted_exponentials(line, top, e)
        for q in range(width):
            label = np.int64(labels[n, p, q])
            log_normaliser[n, p, q] = top[q] + math.log(e[q].sum())
            if label != ignore_index:
                loss += weights[label] * (log_normaliser[n, p, q] - line[q, label])
                total += weights[label]
    losses[part], totals[part] = loss, total


@jit_parallel
def _cross_entropy_grad(
    part, logits, labels, enlarges, row_low, row_high, row_f, column_low, column_high, column_f, log_normaliser,
    weights, ignore_index, narrow,
):  # fmt: skip
    n_images, height, width = labels.shape
    in_w, classes = logits.shape[2:]
    first, last = bounds(part, PARTS, n_images * height)
    mixed, buffer = np.empty((in_w, classes), logits.dtype), np.empty((width, classes), logits.dtype)
    for i in range(first, last):
        n, p = i // height, i % height
        if enlarges:
            line, above, below = buffer, logits[n, row_low[p]], logits[n, row_high[p]]
            interpolate_line(above, below, row_f[p], column_low, column_high, column_f, mixed, line)
        else:
            line = narrow[n, p]
            copy_row(logits[n, p].reshape(-1), line.reshape(-1))
        for q in range(width):
            for k in range(classes):
                line[q, k] -= log_normaliser[n, p, q]
        exponentiate(line.reshape(-1))  # the softmax
        for q in range(width):
            label = np.int64(labels[n, p, q])
            if label == ignore_index:
                line[q] = 0
            else:
                for k in range(classes):
                    line[q, k] *= weights[label]
                line[q, label] -= weights[label]
        if enlarges:
            collect_line(line, column_low, column_high, column_f, narrow[n, p])
