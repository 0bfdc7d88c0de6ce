"""Softmax over channels and the cross-entropy of segmentation, with void pixels left out."""

import numpy as np

from ..checks import check_alike, check_floats, check_labels, check_shape


def softmax(x):
    """exp(x[k]) / sum_j exp(x[j]) over the last axis, shifted by the maximum so that nothing overflows."""
    check_floats("softmax", x=x)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_grad(grad, y):
    """y (grad - sum_k grad[k] y[k]), y being the softmax."""
    check_alike("softmax", grad=grad, y=y)
    return y * (grad - (grad * y).sum(axis=-1, keepdims=True))


def log_softmax(x):
    """x[k] - log sum_j exp(x[j])."""
    check_floats("log_softmax", x=x)
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def log_softmax_grad(grad, y):
    """grad - exp(y) sum_k grad[k], y being the log-softmax."""
    check_alike("log_softmax", grad=grad, y=y)
    return grad - np.exp(y) * grad.sum(axis=-1, keepdims=True)


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
    shift = logits.max(axis=-1)
    log_normaliser = shift + np.log(np.exp(logits - shift[..., None]).sum(axis=-1))
    valid = labels != ignore_index
    label = np.where(valid, labels, 0).astype(np.int64)
    weight = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    weight = np.where(valid, weight[label], 0).astype(np.float64)
    nll = log_normaliser - np.take_along_axis(logits, label[..., None], axis=-1)[..., 0]
    total = float(weight.sum())
    return float((weight * nll)[valid].sum()) / total if total else 0.0, total, log_normaliser


def cross_entropy_grad(logits, labels, log_normaliser, total_weight, class_weights, ignore_index, scale):
    """scale * d loss / d logits = scale w[label] (softmax - onehot(label)) / total_weight; 0 at void pixels."""
    check_labels(logits, labels, class_weights, ignore_index)
    check_shape("cross_entropy", "log_normaliser", log_normaliser, labels.shape)
    valid = labels != ignore_index
    label = np.where(valid, labels, 0).astype(np.int64)
    weight = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    factor = np.where(valid, weight[label] * (scale / total_weight if total_weight else 0.0), 0.0).astype(logits.dtype)
    grad = np.exp(logits - log_normaliser[..., None])
    np.put_along_axis(grad, label[..., None], np.take_along_axis(grad, label[..., None], axis=-1) - 1, axis=-1)
    return np.where(valid[..., None], grad * factor[..., None], logits.dtype.type(0))
