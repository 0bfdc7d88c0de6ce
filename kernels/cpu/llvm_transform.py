"""LLVM code written by hand: a small matrix applied to both sides of squares of pixels, many channels at a time.

Plain Numba keeps no square of 6x6 vectors in registers, and a loop over channels that reads 36 rows and writes 36 stays
scalar, for LLVM cannot prove that none of them overlap.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvm import array_data, vector_and_fma


def transform_intrinsic(matrix, vector_bytes):
    """target[t(p, q) + c] = sum_{i, j} matrix[p, i] matrix[q, j] source[s(i, j) + c] for c = 0 .. n - 1.

    s(i, j) = at + i down + j across, t(p, q) likewise; n is a multiple of a vector's lanes. The target must not overlap
    the source.

    Args:
        matrix: its rows, or its columns where they are more, belong to the points 0, a, -a, b, -b .. and infinity.
    """

    @intrinsic
    def transform(typingctx, source, at, down, across, target, to, to_down, to_across, n):
        i = types.intp
        signature = types.void(source, i, i, i, target, i, i, i, i)
        itemsize = 8 if target.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            shape = vector_bytes // itemsize, itemsize
            _emit_transform(builder, matrix, shape, (data(0), *args[1:4]), (data(4), *args[5:8]), args[8])
            return context.get_dummy_value()

        return signature, codegen

    return transform


def _emit_transform(builder, matrix, shape, source, target, n):
    """A loop over vectors of channels; in it the square's columns, then its rows."""
    (lanes, itemsize), i64 = shape, ir.IntType(64)
    vector, fma = vector_and_fma(builder, lanes, itemsize)
    (source, at, *source_steps), (target, to, *target_steps) = source, target

    def pointers(start, steps, size, channel):
        start = builder.gep(start, [channel])
        rows = [builder.gep(start, [builder.mul(ir.Constant(i64, i), steps[0])]) for i in range(size)]
        return [
            [
                builder.bitcast(builder.gep(row, [builder.mul(ir.Constant(i64, j), steps[1])]), vector.as_pointer())
                for j in range(size)
            ]
            for row in rows
        ]

    n_vectors = builder.sdiv(n, ir.Constant(i64, lanes))
    with cgutils.for_range(builder, n_vectors) as loop:
        channel = builder.mul(loop.index, ir.Constant(i64, lanes))
        sources = pointers(source, source_steps, matrix.shape[1], builder.add(at, channel))
        targets = pointers(target, target_steps, matrix.shape[0], builder.add(to, channel))
        columns = [[builder.load(p, align=itemsize) for p in column] for column in zip(*sources, strict=True)]
        columns = [_product(builder, fma, matrix, column) for column in columns]
        for row, line in zip(zip(*columns, strict=True), targets, strict=True):
            for value, pointer in zip(_product(builder, fma, matrix, row), line, strict=True):
                builder.store(value, pointer, align=itemsize)


def _product(builder, fma, matrix, values):
    """matrix @ values. Points a and -a share work: their even powers are equal, their odd ones opposite."""
    n_rows, n_columns = matrix.shape
    rows, columns = list(matrix), list(values)
    if n_rows < n_columns:  # columns are points: sums and differences of pairs, of which a row needs one
        for i in range(1, n_columns - 1, 2):
            columns[i : i + 2] = builder.fadd(*values[i : i + 2]), builder.fsub(*values[i : i + 2])
            for p, row in enumerate(rows):
                is_sum = matrix[p, i] == matrix[p, i + 1]
                rows[p] = np.concatenate([row[:i], [row[i] * is_sum, row[i] * (not is_sum)], row[i + 2 :]])
        return [_sum(builder, fma, row, columns) for row in rows]
    pairs = []
    for i in range(1, n_rows - 1, 2):  # rows are points: what both rows of a pair have, and what has opposite signs
        is_same = rows[i] == rows[i + 1]
        same, opposite = (_sum(builder, fma, rows[i] * part, columns) for part in (is_same, ~is_same))
        pairs += [builder.fadd(same, opposite), builder.fsub(same, opposite)]
    return [_sum(builder, fma, rows[0], columns), *pairs, _sum(builder, fma, rows[-1], columns)]


def _sum(builder, fma, weights, values):
    """sum weights * values, without the weights that are 0, from the last to the first."""
    total = None
    for weight, value in zip(weights[::-1], values[::-1], strict=True):
        constant = ir.Constant(value.type, [float(weight)] * value.type.count)
        if weight == 0:
            continue
        if total is None:
            total = value if weight == 1 else builder.fmul(value, constant)
        else:
            total = builder.fadd(total, value) if weight == 1 else builder.call(fma, [value, constant, total])
    return total
