"""What training minimises."""

import numpy as np

from . import ops


def cross_entropy(logits, labels, ignore_index=255, class_weights=None, size=None):
    """Mean of -log softmax(logits)[label] over the pixels that are not void, weighted by class if asked.

        loss = sum_i w[label_i] * -log p_i[label_i] / sum_i w[label_i]

    A batch of void only gives 0 with zero gradients.

    Args:
        logits: (N, h, w, K) tensor; labels: (N, H, W) integer array of 0 .. K - 1 and ignore_index.
        class_weights: (K,) numbers, or None for ones.
        size: (height, width) that the logits are enlarged to, line by line; None where h = H and w = W.

    Returns:
        Scalar tensor.

    Raises:
        ValueError: a label out of range (with its position), or shapes that differ. TypeError: labels that are not
            integers.

    Source: DeepLab v1, sections 3.1 and 4.1; void handling as in the VOC development kit.
    """
    if class_weights is not None:
        class_weights = np.asarray(class_weights, logits.dtype)
    return ops.cross_entropy(logits, labels, ignore_index, class_weights, size)
