"""How many pixels of each class were given which class. Whole numbers have one sum in any order: atomics are exact."""

import numpy as np

from ..checks import check_confusion
from .arrays import full, to_numpy, zeros
from .device import Kernel, cuda


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
    counts, wrong = zeros((n_classes, n_classes), np.int64), full((1,), 0, np.int32)
    _confusion_matrix.flat(truth.size, truth.size, truth, prediction, n_classes, ignore_index, counts, wrong)
    if to_numpy(wrong)[0]:
        check_confusion(to_numpy(truth), to_numpy(prediction), n_classes, ignore_index)  # it names the wrong label
    return counts


@Kernel
def _confusion_matrix(count, truth, prediction, n_classes, ignore_index, counts, wrong):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        t, p = np.int64(truth[i]), np.int64(prediction[i])
        if not 0 <= p < n_classes or not (0 <= t < n_classes or t == ignore_index):
            wrong[0] = 1  # all threads that find one write the same
        elif t != ignore_index:
            cuda.atomic.add(counts, t * n_classes + p, 1)
