"""What training minimises."""

import numpy as np

import kernels
from kernels.geometry import bilinear_taps
from minideeplab.autograd import ops
from minideeplab.autograd.tensor import Tensor


def thinned(labels, step, size, ignore_index):
    """Every `step`-th label of each row and column, from the first; what lies beyond the last one is void.

    Args:
        labels: (N, H, W) integer array on any device; size: (height, width) of the result.

    Returns:
        (N, *size) array of the same type in host memory, from where the loss takes it.
    """
    part = kernels.to_device(labels, "cpu")[:, ::step, ::step]
    small = np.full((labels.shape[0], *size), ignore_index, labels.dtype)
    small[:, : part.shape[1], : part.shape[2]] = part
    return small


class Loss(Tensor):
    """A scalar, the mean over labelled pixels, that knows what it is a mean over.

    The mean of a batch is sum_b loss_b weight_b / sum_b weight_b over its parts b, whatever share of each is void: so
    losses and gradients of micro-batches, or of several processes, add up exactly.

    Attributes:
        weight: float, the sum of the weights of the labelled pixels; their number where classes have no weights.
    """

    __slots__ = ("weight",)

    def __init__(self, mean, weight):
        super().__init__(mean.data, mean.requires_grad)
        self.node, self.weight = mean.node, weight


def cross_entropy(logits, labels, ignore_index=255, class_weights=None, size=None):
    """Mean of -log softmax(logits)[label] over the pixels that are not void, weighted by class if asked.

        loss = sum_i w[label_i] * -log p_i[label_i] / sum_i w[label_i]

    A batch of void only gives 0 with zero gradients.

    Args:
        logits: (N, h, w, K) tensor; labels: (N, H, W) integer array of 0 .. K - 1 and ignore_index, copied to the
            logits' device where it is elsewhere.
        class_weights: (K,) numbers, or None for ones.
        size: (height, width) that the logits are enlarged to, bilinearly with aligned corners and line by line; labels
            may be smaller, what lies below and right of them is left out. None where h = H and w = W.

    Returns:
        `Loss`, whose `weight` is the denominator.

    Raises:
        ValueError: a label out of range (with its position), or shapes that differ. TypeError: labels that are not
            integers.

    Source: DeepLab v1, sections 3.1 and 4.1; void handling as in the VOC development kit.
    """
    logits = ops.to_float32(logits)
    if class_weights is not None:
        class_weights = kernels.to_device(np.asarray(class_weights, logits.dtype), logits.device)
    labels = kernels.to_device(labels, logits.device)
    options = {"labels": labels, "class_weights": class_weights, "ignore_index": ignore_index, "size": size}
    mean, call = ops.CrossEntropy.record(logits, **options)
    return Loss(mean, call.weight)


def hard_pixels(logits, labels, share, ignore_index=255, class_weights=None, size=None):
    """The labels of the pixels that the network finds hardest, all others void: bootstrapped cross-entropy.

        kept_n = the max(1, round(share * P_n)) pixels of image n with the largest w[label_i] * -log p_i[label_i]

    P_n counts the labelled pixels of image n; void never counts. Of pixels with one loss the first in reading order are
    kept. The share is one of each image, not of the batch: how a batch is cut into parts makes no difference.

    Args:
        share: in (0, 1); logits, labels, ignore_index, class_weights, size: as of `cross_entropy`, for which the
            result is meant.

    Returns:
        (N, H, W) array of the labels' type in host memory, from where the loss takes it.

    Raises:
        ValueError: a share that is not in (0, 1); and as `cross_entropy`.

    Cost: the loss once more, without derivative, and a partial sort of each image's pixels in host memory.

    Source: Wu et al. 2016 (arXiv 1604.04339), "online bootstrapping"; `top_k_percent_pixels` in DeepLab's TensorFlow
    code, where the share is one of the batch.
    """
    if not 0 < share < 1:
        raise ValueError(f"hard_pixels: share must be between 0 and 1, got {share}")
    logits, here = ops.to_float32(logits), kernels.to_device(labels, logits.device)
    _, _, log_normaliser = kernels.load(logits.device).cross_entropy(logits.data, here, None, ignore_index, size)
    scores, labels, log_normaliser = (kernels.to_device(a, "cpu") for a in (logits.data, labels, log_normaliser))
    class_weights = None if class_weights is None else np.asarray(class_weights, scores.dtype)
    kept = np.full_like(labels, ignore_index)
    for n in range(len(labels)):
        p, q = np.nonzero(labels[n] != ignore_index)
        if len(p):
            label = labels[n, p, q]
            loss = log_normaliser[n, p, q] - _scores_at(scores[n], p, q, label, size)
            loss = loss if class_weights is None else class_weights[label] * loss
            hard = _largest(loss, max(1, round(share * len(p))))
            kept[n, p[hard], q[hard]] = label[hard]
    return kept


def _scores_at(scores, p, q, channel, size):
    """scores[p[i], q[i], channel[i]] for each i, of scores (h, w, K) that are enlarged to `size` if there is one."""
    if size is None:
        return scores[p, q, channel]
    above, below, f = (a[p] for a in bilinear_taps(scores.shape[0], size[0], True))
    left, right, g = (a[q] for a in bilinear_taps(scores.shape[1], size[1], True))
    f, g = f.astype(scores.dtype), g.astype(scores.dtype)
    west = (1 - f) * scores[above, left, channel] + f * scores[below, left, channel]
    east = (1 - f) * scores[above, right, channel] + f * scores[below, right, channel]
    return (1 - g) * west + g * east


def _largest(values, count):
    """The positions of the `count` largest values, of equal ones the first; NaN is the largest of all."""
    values = np.where(np.isnan(values), np.inf, values)
    least = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > least)
    return np.concatenate([above, np.flatnonzero(values == least)[: count - len(above)]])
