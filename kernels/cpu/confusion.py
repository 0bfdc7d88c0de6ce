"""How many pixels of each class were given which class: one thread, for it costs less than a hundredth of a network."""

import numpy as np

from ..checks import check_confusion
from .arrays import contiguous
from .jit import jit


def confusion_matrix(truth, prediction, n_classes, ignore_index):
    """counts[t, p] = number of pixels of true class t that were predicted as p.

    Args:
        truth: integers of any shape, classes or `ignore_index`; pixels of the latter do not count.
        prediction: integers of the same shape, all of them classes.

    Returns:
        (n_classes, n_classes) int64.

    Raises:
        ValueError: a label out of range, or shapes that differ. TypeError: labels that are not integers.
    """
    check_confusion(truth, prediction, n_classes, ignore_index)
    truth, prediction = contiguous(truth, prediction)
    counts = np.zeros((n_classes, n_classes), np.int64)
    _confusion_matrix(truth.reshape(-1), prediction.reshape(-1), ignore_index, counts)
    return counts


@jit
def _confusion_matrix(truth, prediction, ignore_index, counts):
    for i in range(truth.size):
        if truth[i] != ignore_index:
            counts[truth[i], prediction[i]] += 1
