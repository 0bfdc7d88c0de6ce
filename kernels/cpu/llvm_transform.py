"""LLVM code written by hand: a small matrix applied to both sides of squares of pixels, many channels at a time.

Plain Numba keeps no square of 6 x 6 vectors in registers, and a loop over channels that reads 36 rows and writes 36
stays scalar, for it cannot prove that none of them overlap.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvm import array_data, vector_and_fma


def transform_intrinsic(matrix, vector_bytes):
    """target[t(p, q) + c] = sum_{i, j} matrix[p, i] matrix[q, j] source[s(i, j) + c] for c < n, n >= a vector's lanes.

    s(i, j) = at + i down + j across, t(p, q) likewise. Channels that fill no vector are taken with the last one that
    ends with them, a second time; source and target must not overlap.

    Args:
        matrix: (rows, columns), of which one is the number of interpolation points, 0, a, -a, b, -b ..., infinity.
    """

    @intrinsic
    def transform(typingctx, source, at, down, across, target, to, to_down, to_across, n):
        i = types.intp
        signature = types.void(source, i, i, i, target, i, i, i, i)
        itemsize = 8 if target.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            lanes = vector_bytes // itemsize
            _emit(builder, matrix, lanes, itemsize, (data(0), *args[1:4]), (data(4), *args[5:8]), args[8])
            return context.get_dummy_value()

        return signature, codegen

    return transform


def _emit(builder, matrix, lanes, itemsize, source, target, n):
    """A loop over vectors of channels; in it columns, then rows."""
    i64, (vector, fma) = ir.IntType(64), vector_and_fma(builder, lanes, itemsize)
    rows, columns = matrix.shape

    def const(value):
        return ir.Constant(i64, value)

    def pointer(start, down, across, i, j, channel):
        offset = builder.add(builder.mul(const(i), down), builder.mul(const(j), across))
        return builder.bitcast(builder.gep(start, [builder.add(offset, channel)]), vector.as_pointer())

    def apply(values):
        return _apply(builder, vector, fma, matrix, values)

    (source, at, *s_steps), (target, to, *t_steps) = source, target
    source, target = builder.gep(source, [at]), builder.gep(target, [to])
    last = builder.sub(n, const(lanes))
    n_vectors = builder.sdiv(builder.add(n, const(lanes - 1)), const(lanes))
    with cgutils.for_range(builder, n_vectors) as loop:
        channel = builder.mul(loop.index, const(lanes))
        channel = builder.select(builder.icmp_signed("<", channel, last), channel, last)
        half = []  # half[j][p]: column j, its rows transformed
        for j in range(columns):
            pointers = [pointer(source, *s_steps, i, j, channel) for i in range(columns)]
            half.append(apply([builder.load(p, align=itemsize) for p in pointers]))
        for p in range(rows):
            for q, value in enumerate(apply([column[p] for column in half])):
                builder.store(value, pointer(target, *t_steps, p, q, channel), align=itemsize)


def _apply(builder, vector, fma, matrix, values):
    """matrix @ values. The points a and -a share work: even powers of theirs are equal, odd ones are opposite."""
    rows, columns = matrix.shape

    def combine(weights, values):
        """sum weights * values, from the last term to the first; None for an empty sum."""
        total = None
        for weight, value in zip(weights[::-1], values[::-1], strict=True):
            if weight == 0:
                continue
            constant = ir.Constant(vector, [float(weight)] * vector.count)
            if total is None:
                total = value if weight == 1 else builder.fmul(value, constant)
            else:
                total = builder.fadd(value, total) if weight == 1 else builder.call(fma, [value, constant, total])
        return total

    if rows < columns:  # a sum over points: first the sum and the difference of each pair
        values = list(values)
        for i in range(1, columns - 1, 2):
            a, b = values[i : i + 2]
            values[i : i + 2] = builder.fadd(a, b), builder.fsub(a, b)
        halved = matrix.copy()
        for i in range(1, columns - 1, 2):
            halved[:, i], halved[:, i + 1] = (
                (matrix[:, i] + matrix[:, i + 1]) / 2,
                (matrix[:, i] - matrix[:, i + 1]) / 2,
            )
        return [combine(row, values) for row in halved]
    result = [combine(row, values) for row in matrix]
    for i in range(1, rows - 1, 2):  # a row for each point: even and odd columns once for a pair
        even, odd = np.arange(columns) % 2 == 0, np.arange(columns) % 2 == 1
        if not (matrix[i, even] == matrix[i + 1, even]).all():
            even, odd = odd, even
        e, o = combine(matrix[i] * even, values), combine(matrix[i] * odd, values)
        result[i], result[i + 1] = builder.fadd(e, o), builder.fsub(e, o)
    return result
