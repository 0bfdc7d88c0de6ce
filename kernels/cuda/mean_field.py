"""One step of mean-field inference: slice, unary costs, softmax and the change of the probabilities in one kernel."""

import math

import numpy as np

from ..checks import check_mean_field
from .arrays import empty, to_numpy, zeros
from .channels import ACROSS, DOWN, layout
from .device import Kernel, cuda
from .llvm import max_over_lanes, sum_over_lanes


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
    n, labels = q.shape
    if lattice is None:
        corners, vertex, weight, values = 0, empty((1,), np.int32), unary, unary
    else:
        corners, vertex, weight = lattice.vertex.shape[1], lattice.vertex, lattice.slice_weight
    adds, message = message is not None, unary if message is None else message
    spills, change = labels > ACROSS, zeros((1,), q.dtype)
    logits = empty(q.shape if spills else (1,), q.dtype)
    down = layout(labels, n)[0][1]
    _update(
        down, (ACROSS, DOWN), n, labels, corners, values, vertex, weight, unary, message, adds, q,
        q.dtype.type(damping), spills, logits, change,
    )  # fmt: skip
    return float(to_numpy(change)[0])


@Kernel
def _update(n, labels, corners, values, vertex, weight, unary, message, adds, q, damping, spills, logits, change):
    """Warp: a pixel, its lanes every ACROSS-th label.

    A lane keeps its logit in a register if it has one only; else it `spills` them into `logits`.
    """
    lane = cuda.threadIdx.x
    zero, one = q.dtype.type(0), q.dtype.type(1)
    largest, logit = zero, zero
    for first in range(cuda.blockIdx.x * DOWN, n, cuda.gridDim.x * DOWN):
        i = first + cuda.threadIdx.y
        mine = labels if i < n else 0  # a warp without a pixel has no labels, but meets the others
        top, total = q.dtype.type(-math.inf), zero
        for k in range(lane, mine, ACROSS):
            at = i * labels + k
            logit = -unary[at]
            if adds:
                logit += message[at]
            for corner in range(i * corners, (i + 1) * corners):
                logit += weight[corner] * values[vertex[corner] * labels + k]
            if spills:
                logits[at] = logit
            top = max(top, logit)
        top = max_over_lanes(top)
        for k in range(lane, mine, ACROSS):
            at = i * labels + k
            if spills:
                logit = logits[at]
            logit = math.exp(logit - top)
            total += logit
            if spills:
                logits[at] = logit
        total = sum_over_lanes(total)
        for k in range(lane, mine, ACROSS):
            at = i * labels + k
            if spills:
                logit = logits[at]
            new = damping * q[at] + (one - damping) * (logit / total)
            largest = max(largest, abs(new - q[at]))
            q[at] = new
    largest = max_over_lanes(largest)
    if lane == 0:
        cuda.atomic.max(change, 0, largest)
