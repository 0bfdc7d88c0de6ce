"""What training minimises."""

import numpy as np

import kernels
from minideeplab.autograd import ops


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
        Scalar tensor.

    Raises:
        ValueError: a label out of range (with its position), or shapes that differ. TypeError: labels that are not
            integers.

    Source: DeepLab v1, sections 3.1 and 4.1; void handling as in the VOC development kit.
    """
    if class_weights is not None:
        class_weights = kernels.to_device(np.asarray(class_weights, logits.dtype), logits.device)
    if isinstance(labels, np.ndarray) and logits.device == "cuda":
        labels = kernels.to_device(labels, "cuda")
    return ops.cross_entropy(logits, labels, ignore_index, class_weights, size)
