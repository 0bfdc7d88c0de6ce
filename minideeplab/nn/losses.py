"""What training minimises."""

import numpy as np

import kernels
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
    if class_weights is not None:
        class_weights = kernels.to_device(np.asarray(class_weights, logits.dtype), logits.device)
    labels = kernels.to_device(labels, logits.device)
    options = {"labels": labels, "class_weights": class_weights, "ignore_index": ignore_index, "size": size}
    mean, call = ops.CrossEntropy.record(logits, **options)
    return Loss(mean, call.weight)
