"""Rows of labels, for lattice and mean field: sums of weighted rows, and the softmax before and after its exp.

    y[at : at + K] = sum_e weight[e] x[index[e]]    a sparse matrix times a dense one by rows

Splat, blur and slice of a lattice are three such products. Rows of labels are short (21) and their number is known only
at run time, so that plain Numba leaves the loop over them scalar; here it runs in vectors of 32 bytes, up to four at a
time in registers, and the last vector of a row starts earlier so that it ends with the row: some columns are computed
twice, to the same bits.
"""

from numba.extending import overload

from .jit import jit, jit_inline
from .llvm_gather import (
    blur_vector_intrinsic,
    gather_intrinsic,
    normalise_and_damp_intrinsic,
    subtract_largest_intrinsic,
)
from .tile import VECTORISED

_BYTES = 32
PANEL_BYTES = _BYTES  # of a row of a panel: a vector
LANES = _BYTES // 4  # numbers in a vector of float32; float64 has half as many
_blur_vector = blur_vector_intrinsic(_BYTES)
_subtract_largest, *_of_few = (subtract_largest_intrinsic(n, _BYTES) for n in range(5))
_subtract_largest1, _subtract_largest2, _subtract_largest3, _subtract_largest4 = _of_few
_normalise_and_damp, *_of_few = (normalise_and_damp_intrinsic(n, _BYTES) for n in range(5))
_normalise_and_damp1, _normalise_and_damp2, _normalise_and_damp3, _normalise_and_damp4 = _of_few
_gather1, _gather2, _gather3, _gather4 = (gather_intrinsic(n, _BYTES) for n in (1, 2, 3, 4))


def _lanes(x):
    """Numbers of x in a vector."""
    return _BYTES // x.itemsize


@overload(_lanes)
def _overload_lanes(x):
    """A constant: Numba reads the size of an item from the array, so that every row would wait for a division."""
    lanes = _BYTES * 8 // x.dtype.bitwidth
    return lambda x: lanes


@jit
def gather_row_plain(x, width, index, weight, begin, end, y, at, minus, minus_at):
    """y[at + k] = sum_e weight[e] x[index[e] * width + k] - minus[minus_at + k] for e in begin .. end, k < width.

    Args:
        x, y: flat arrays of one float dtype; index: int32 rows of x; weight: floats.
        minus: a flat array, or one without elements: nothing is subtracted.
    """
    for k in range(width):
        total = -minus[minus_at + k] if minus.size else y.dtype.type(0)
        for e in range(begin, end):
            total += weight[e] * x[index[e] * width + k]
        y[at + k] = total


@jit_inline
def gather_row(x, width, index, weight, begin, end, y, at, minus, minus_at):
    """`gather_row_plain` in vector registers where the processor and the width allow it."""
    lanes = _lanes(x)
    if not VECTORISED or width < lanes:
        gather_row_plain(x, width, index, weight, begin, end, y, at, minus, minus_at)
        return
    n_vectors, start = (width + lanes - 1) // lanes, 0
    while start < n_vectors:  # the last vector and the one that it overlaps go together
        left, first = n_vectors - start, start * lanes
        if left == 1:
            _gather1(x, width, first, index, weight, begin, end, y, at, minus, minus_at)
            start += 1
        elif left == 2:
            _gather2(x, width, first, index, weight, begin, end, y, at, minus, minus_at)
            start += 2
        elif left == 3 or left == 5:
            _gather3(x, width, first, index, weight, begin, end, y, at, minus, minus_at)
            start += 3
        else:
            _gather4(x, width, first, index, weight, begin, end, y, at, minus, minus_at)
            start += 4


@jit
def blur_vector_plain(x, at, forward, back, y, to):
    """y[to + k] = x[at + k] + x[forward + k] / 2 + x[back + k] / 2 for k < a vector's lanes."""
    half = x.dtype.type(0.5)
    for k in range(_lanes(x)):
        y[to + k] = x[at + k] + half * x[forward + k] + half * x[back + k]


@jit_inline
def blur_vector(x, at, forward, back, y, to):
    """`blur_vector_plain` in a vector register where the processor has one."""
    if VECTORISED:
        _blur_vector(x, at, forward, back, y, to)
    else:
        blur_vector_plain(x, at, forward, back, y, to)


@jit
def subtract_largest_plain(x, count, width, y, lowest):
    """y[k] = max(x[k] - max_j x[j], lowest) for each of `count` rows of `width` numbers."""
    for at in range(0, count * width, width):
        top = x[at]
        for k in range(1, width):
            top = max(top, x[at + k])
        for k in range(width):
            y[at + k] = max(x[at + k] - top, lowest)


@jit_inline
def subtract_largest(x, count, width, y, lowest):
    """`subtract_largest_plain` in vector registers where the processor and the width allow it."""
    lanes = _lanes(x)
    n_vectors = (width + lanes - 1) // lanes
    if not VECTORISED or width < lanes:
        subtract_largest_plain(x, count, width, y, lowest)
    elif n_vectors == 1:
        _subtract_largest1(x, count, width, y, lowest)
    elif n_vectors == 2:
        _subtract_largest2(x, count, width, y, lowest)
    elif n_vectors == 3:
        _subtract_largest3(x, count, width, y, lowest)
    elif n_vectors == 4:
        _subtract_largest4(x, count, width, y, lowest)
    else:
        _subtract_largest(x, count, width, y, lowest)


@jit
def normalise_and_damp_plain(e, count, width, q, at, damping, largest):
    """q[at + k] <- damping q[at + k] + (1 - damping) e[k] / sum_j e[j] for each of `count` rows of `width` numbers.

    `largest` (LANES,) keeps the largest change, in whichever of its elements.
    """
    for row in range(0, count * width, width):
        total = e.dtype.type(0)
        for k in range(width):
            total += e[row + k]
        share = (e.dtype.type(1) - damping) / total
        for k in range(width):
            old = q[at + row + k]
            new = damping * old + share * e[row + k]
            largest[0] = max(largest[0], abs(new - old))
            q[at + row + k] = new


@jit_inline
def normalise_and_damp(e, count, width, q, at, damping, largest):
    """`normalise_and_damp_plain` in vector registers where the processor and the width allow it."""
    lanes = _lanes(e)
    n_vectors = (width + lanes - 1) // lanes
    if not VECTORISED or width < lanes:
        normalise_and_damp_plain(e, count, width, q, at, damping, largest)
    elif n_vectors == 1:
        _normalise_and_damp1(e, count, width, q, at, damping, largest)
    elif n_vectors == 2:
        _normalise_and_damp2(e, count, width, q, at, damping, largest)
    elif n_vectors == 3:
        _normalise_and_damp3(e, count, width, q, at, damping, largest)
    elif n_vectors == 4:
        _normalise_and_damp4(e, count, width, q, at, damping, largest)
    else:
        _normalise_and_damp(e, count, width, q, at, damping, largest)
