"""Cross-entropy of segmentation with void pixels left out."""

import numpy as np

from ..checks import check_labels, check_shape
from .layout import crop, pad
from .resize import resize_bilinear, resize_bilinear_grad


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
    logits = _enlarged(logits, labels, size)
    shift = logits.max(axis=-1)
    log_normaliser = shift + np.log(np.exp(logits - shift[..., None]).sum(axis=-1))
    valid = labels != ignore_index
    label = np.where(valid, labels, 0).astype(np.int64)
    weight = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    weight = np.where(valid, weight[label], 0).astype(np.float64)
    nll = log_normaliser - np.take_along_axis(logits, label[..., None], axis=-1)[..., 0]
    total = float(weight.sum())
    return float((weight * nll)[valid].sum()) / total if total else 0.0, total, log_normaliser


def cross_entropy_grad(logits, labels, log_normaliser, total_weight, class_weights, ignore_index, scale, size=None):
    """scale * d loss / d logits; 0 at void pixels.

        grad[i, k] = scale w[label_i] (softmax(logits_i)[k] - [k = label_i]) / total_weight

    With `size` the adjoint of the enlargement follows, and the result is (N, h, w, K) as the logits are.
    """
    check_labels(logits, labels, class_weights, ignore_index, size)
    check_shape("cross_entropy", "log_normaliser", log_normaliser, labels.shape)
    small, logits = logits, _enlarged(logits, labels, size)
    valid = labels != ignore_index
    label = np.where(valid, labels, 0).astype(np.int64)
    weight = np.ones(logits.shape[-1], logits.dtype) if class_weights is None else class_weights
    factor = np.where(valid, weight[label] * (scale / total_weight if total_weight else 0.0), 0.0).astype(logits.dtype)
    grad = np.exp(logits - log_normaliser[..., None])
    np.put_along_axis(grad, label[..., None], np.take_along_axis(grad, label[..., None], axis=-1) - 1, axis=-1)
    grad = np.where(valid[..., None], grad * factor[..., None], logits.dtype.type(0))
    if size is None:
        return grad
    (_, h, w, _), (_, in_h, in_w, _) = grad.shape, small.shape
    return resize_bilinear_grad(pad(grad, 0, size[0] - h, 0, size[1] - w), in_h, in_w, True)


def _enlarged(logits, labels, size):
    """The part of the enlarged logits that has labels, or the logits as they are."""
    return logits if size is None else crop(resize_bilinear(logits, *size, True), 0, 0, *labels.shape[1:])
