"""Sums of weighted rows, y[at : at + K] = sum_e weight[e] x[index[e]]: a sparse matrix times a dense one by rows.

Splat, blur and slice of a lattice are three such products. Rows of labels are short (21) and their number is known only
at run time, so that plain Numba leaves the loop over them scalar; here it runs in vectors of 32 bytes, up to four at a
time in registers, and the last vector of a row starts earlier so that it ends with the row: some columns are computed
twice, to the same bits.
"""

from .jit import jit, jit_inline
from .llvm_gather import blur_vector_intrinsic, gather_intrinsic, mix_row_intrinsic, shift_row_intrinsic
from .tile import VECTORISED

_BYTES = 32
PANEL_BYTES = _BYTES  # of a row of a panel: a vector
LANES = _BYTES // 4  # numbers in a vector of float32; float64 has half as many
_blur_vector = blur_vector_intrinsic(_BYTES)
_shift_row, _mix_row = shift_row_intrinsic(_BYTES), mix_row_intrinsic(_BYTES)
_gather1, _gather2, _gather3, _gather4 = (gather_intrinsic(n, _BYTES) for n in (1, 2, 3, 4))


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
    lanes = _BYTES // x.itemsize
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
    for k in range(_BYTES // x.itemsize):
        y[to + k] = x[at + k] + half * x[forward + k] + half * x[back + k]


@jit_inline
def blur_vector(x, at, forward, back, y, to):
    """`blur_vector_plain` in a vector register where the processor has one."""
    if VECTORISED:
        _blur_vector(x, at, forward, back, y, to)
    else:
        blur_vector_plain(x, at, forward, back, y, to)


@jit
def shift_row_plain(x, at, width, y, y_at, lowest):
    """y[y_at + k] = max(x[at + k] - max_j x[at + j], lowest) for k < width."""
    top = x[at]
    for k in range(1, width):
        top = max(top, x[at + k])
    for k in range(width):
        y[y_at + k] = max(x[at + k] - top, lowest)


@jit_inline
def shift_row(x, at, width, y, y_at, lowest):
    """`shift_row_plain` in vector registers where the processor and the width allow it."""
    if not VECTORISED or width < _BYTES // x.itemsize:
        shift_row_plain(x, at, width, y, y_at, lowest)
    else:
        _shift_row(x, at, width, y, y_at, lowest)


@jit
def mix_row_plain(e, at, width, q, q_at, damping, largest):
    """q[q_at + k] <- damping q[q_at + k] + (1 - damping) e[at + k] / sum_j e[at + j], k < width.

    `largest` (LANES,) keeps the largest change, in whichever of its elements.
    """
    total = e.dtype.type(0)
    for k in range(width):
        total += e[at + k]
    share = (e.dtype.type(1) - damping) / total
    for k in range(width):
        new = damping * q[q_at + k] + share * e[at + k]
        largest[0] = max(largest[0], abs(new - q[q_at + k]))
        q[q_at + k] = new


@jit_inline
def mix_row(e, at, width, q, q_at, damping, largest):
    """`mix_row_plain` in vector registers where the processor and the width allow it."""
    if not VECTORISED or width < _BYTES // e.itemsize:
        mix_row_plain(e, at, width, q, q_at, damping, largest)
    else:
        _mix_row(e, at, width, q, q_at, damping, largest)
