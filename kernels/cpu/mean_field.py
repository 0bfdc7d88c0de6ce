"""One step of mean-field inference: slice, unary costs, softmax and the change of the probabilities in one pass.

Only the probabilities are written: messages and logits of a run of pixels stay in the cache.
"""

import numpy as np

from ..checks import check_mean_field
from .arrays import contiguous
from .exponential import exponentiate
from .gather import LANES, gather_row, normalise_and_damp, subtract_largest
from .jit import jit_parallel
from .parts import PARTS, bounds

_RUN = 64  # pixels at a time
_LOWEST = {4: -60, 8: -600}  # least exponent by itemsize: probabilities times weights stay normal numbers


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
    if lattice is None:
        corners, vertex, weight, values = 0, np.empty(0, np.int32), np.empty(0, q.dtype), np.empty((0, 0), q.dtype)
    else:
        corners, (vertex, weight) = lattice.vertex.shape[1], contiguous(lattice.vertex, lattice.slice_weight)
    unary, values, message = contiguous(unary, values, unary[:0] if message is None else message)
    change = np.zeros(PARTS)
    _update(
        PARTS, values.reshape(-1), vertex.reshape(-1), weight.reshape(-1), corners, unary.reshape(-1),
        message.reshape(-1), q.reshape(-1), q.shape[1], q.dtype.type(damping), q.dtype.type(_LOWEST[q.dtype.itemsize]),
        change,
    )  # fmt: skip
    return float(change.max())


@jit_parallel
def _update(part, values, vertex, weight, corners, unary, message, q, width, damping, lowest, change):
    n = q.size // width
    first, last = bounds(part, PARTS, n)
    logits, e = np.empty(_RUN * width, q.dtype), np.empty(_RUN * width, q.dtype)
    largest = np.zeros(LANES, q.dtype)
    for start in range(first, last, _RUN):
        count = min(_RUN, last - start)
        for i in range(count):
            at, entry = (start + i) * width, (start + i) * corners
            gather_row(values, width, vertex, weight, entry, entry + corners, logits, i * width, unary, at)
            if message.size:
                for k in range(width):
                    logits[i * width + k] += message[at + k]
        subtract_largest(logits, count, width, e, lowest)
        exponentiate(e[: count * width])
        normalise_and_damp(e, count, width, q, start * width, damping, largest)
    change[part] = largest.max()
