"""One step of mean-field inference in a dense conditional random field."""

import numpy as np

from ..checks import check_mean_field
from .lattice import slice_lattice
from .softmax import softmax


def mean_field_update(lattice, values, unary, message, q, damping=0.0):
    """q <- damping q + (1 - damping) softmax(slice(values) + message - unary), in place.

    Args:
        lattice, values: the messages of kernels that are filtered on a lattice: (M, K), blurred; both None for none.
        unary: (N, K), costs of the labels; message: (N, K), other kernels' messages, or None.
        q: (N, K) probabilities of the labels, contiguous; overwritten.
        damping: share of the old probabilities, in [0, 1).

    Returns:
        float: the largest change of a probability.

    All numbers must be finite: NaN is not looked for.

    Source: Krähenbühl & Koltun 2011, algorithm 1.
    """
    check_mean_field(lattice, values, unary, message, q, damping)
    logits = -unary
    if message is not None:
        logits += message
    if lattice is not None:
        logits += slice_lattice(lattice, values)
    new = damping * q + (1 - damping) * softmax(logits)
    change = float(np.abs(new - q).max())
    q[...] = new
    return change
