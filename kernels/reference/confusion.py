"""How many pixels of each class were given which class."""

import numpy as np

from ..checks import check_confusion


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
    known = truth != ignore_index
    cells = truth[known].astype(np.int64) * n_classes + prediction[known].astype(np.int64)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)
