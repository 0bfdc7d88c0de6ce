"""LLVM code written by hand for rows of labels: sums of gathered rows, and the two halves of a softmax (gather.py).

All are Numba intrinsics, as those of llvm.py, whose helpers they use.
"""

from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvm import array_data, broadcast, held_or_zero, prefetch, vector_and_fma

_AHEAD = 32  # entries
_LINE = 64  # bytes of a cache line


def gather_intrinsic(n_vectors, vector_bytes):
    """The loop of `gather.gather_row_plain` for n_vectors vectors of columns from `first` on.

    A vector that would end after the row starts earlier, so that it ends with it: `width` is a vector's lanes at least.
    """

    @intrinsic
    def gather(typingctx, x, width, first, index, weight, begin, end, y, at, minus, minus_at):
        i = types.intp
        signature = types.void(x, i, i, index, weight, i, i, y, i, minus, i)
        itemsize = 8 if y.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            _emit_gather(
                builder,
                (n_vectors, vector_bytes // itemsize, itemsize),
                (data(0), data(3), data(4), data(7), data(9)),
                *(args[i] for i in (1, 2, 5, 6, 8, 10)),
                *(context.make_array(signature.args[i])(context, builder, args[i]).nitems for i in (9, 3)),
            )
            return context.get_dummy_value()

        return signature, codegen

    return gather


def _emit_gather(builder, shape, pointers, width, first, begin, end, at, minus_at, has_minus, n_entries):
    """A loop over the entries of a sparse row, with the sums in registers.

    Rows lie anywhere in memory: those of later entries, of the next sparse rows perhaps, are asked for ahead.
    """
    n_vectors, lanes, itemsize = shape
    vector, fma = vector_and_fma(builder, lanes, itemsize)
    x, index, weight, y, minus = pointers
    i64 = first.type
    last = builder.sub(width, ir.Constant(i64, lanes))
    columns = [builder.add(first, ir.Constant(i64, v * lanes)) for v in range(n_vectors)]
    columns = [builder.select(builder.icmp_signed("<", column, last), column, last) for column in columns]

    def vectors(start):
        return [builder.bitcast(builder.gep(start, [column]), vector.as_pointer()) for column in columns]

    outs = vectors(builder.gep(y, [at]))
    held = held_or_zero(builder, vectors(builder.gep(minus, [minus_at])), itemsize, has_minus)
    sums = [cgutils.alloca_once_value(builder, builder.fsub(ir.Constant(vector, None), value)) for value in held]
    with cgutils.for_range_slice(builder, begin, end, ir.Constant(i64, 1)) as (entry, _):
        later = builder.add(entry, ir.Constant(i64, _AHEAD))
        final = builder.sub(n_entries, ir.Constant(i64, 1))
        later = builder.select(builder.icmp_signed("<", later, final), later, final)
        row = builder.sext(builder.load(builder.gep(index, [later])), i64)
        start = builder.gep(x, [builder.add(builder.mul(row, width), first)])
        for line in range(0, n_vectors * lanes * itemsize, _LINE):
            prefetch(builder, builder.gep(start, [ir.Constant(i64, line // itemsize)]), to_write=False)
        row = builder.sext(builder.load(builder.gep(index, [entry])), i64)
        factor = broadcast(builder, builder.load(builder.gep(weight, [entry])), vector)
        for pointer, total in zip(vectors(builder.gep(x, [builder.mul(row, width)])), sums, strict=True):
            value = builder.load(pointer, align=itemsize)
            builder.store(builder.call(fma, [factor, value, builder.load(total)]), total)
    for out, total in zip(outs, sums, strict=True):
        builder.store(builder.load(total), out, align=itemsize)


def blur_vector_intrinsic(vector_bytes):
    """y[to + k] = x[at + k] + x[forward + k] / 2 + x[back + k] / 2 for k < a vector's lanes."""

    @intrinsic
    def blur_vector(typingctx, x, at, forward, back, y, to):
        i = types.intp
        signature = types.void(x, i, i, i, y, i)
        itemsize = 8 if x.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            vector, fma = vector_and_fma(builder, vector_bytes // itemsize, itemsize)

            def pointer(start, offset):
                return builder.bitcast(builder.gep(start, [offset]), vector.as_pointer())

            total, *steps = (builder.load(pointer(data(0), offset), align=itemsize) for offset in args[1:4])
            half = ir.Constant(vector, [0.5] * vector.count)
            for step in steps:
                total = builder.call(fma, [half, step, total])
            builder.store(total, pointer(data(4), args[5]), align=itemsize)
            return context.get_dummy_value()

        return signature, codegen

    return blur_vector


def subtract_largest_intrinsic(n_vectors, vector_bytes):
    """y[k] = max(x[k] - max_j x[j], lowest) for each of `count` rows of k, j < width, a vector's lanes at least.

    Of n_vectors vectors, the last of which may overlap the one before; of any number if it is 0.
    """

    @intrinsic
    def subtract_largest(typingctx, x, count, width, y, lowest):
        i = types.intp
        signature = types.void(x, i, i, y, x.dtype)
        itemsize = 8 if x.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            row = _Row(builder, args[2], n_vectors, vector_bytes // itemsize, itemsize)
            lowest = broadcast(builder, args[4], row.vector)
            top = cgutils.alloca_once(builder, row.vector)
            with cgutils.for_range(builder, args[1]) as pixel:
                source, target = (builder.gep(data(i), [builder.mul(pixel.index, args[2])]) for i in (0, 3))
                builder.store(row.load(source, row.zero), top)
                for column, _ in row.vectors():
                    builder.store(_larger(builder, builder.load(top), row.load(source, column)), top)
                largest = broadcast(builder, row.reduce(builder.load(top), partial(_larger, builder)), row.vector)
                for column, _ in row.vectors():
                    shifted = builder.fsub(row.load(source, column), largest)
                    row.store(_larger(builder, shifted, lowest), target, column)
            return context.get_dummy_value()

        return signature, codegen

    return subtract_largest


def normalise_and_damp_intrinsic(n_vectors, vector_bytes):
    """q[at + k] <- damping q[at + k] + (1 - damping) e[k] / sum_j e[j] for each of `count` rows of k, j < width.

    `largest`, a vector's lanes, keeps the largest change, in a register till the end and one comparison for each row:
    rows that left theirs in memory would wait for each other. `width`, n_vectors: as of `subtract_largest_intrinsic`.
    """

    @intrinsic
    def normalise_and_damp(typingctx, e, count, width, q, at, damping, largest):
        i = types.intp
        signature = types.void(e, i, i, q, i, q.dtype, largest)
        itemsize = 8 if q.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            row = _Row(builder, args[2], n_vectors, vector_bytes // itemsize, itemsize)
            none = ir.Constant(row.vector, None)
            rest = builder.fsub(ir.Constant(args[5].type, 1.0), args[5])
            damping = broadcast(builder, args[5], row.vector)
            change = cgutils.alloca_once_value(builder, row.load(data(6), row.zero))
            total, upcoming, most = (cgutils.alloca_once(builder, row.vector) for _ in range(3))
            with cgutils.for_range(builder, args[1]) as pixel:
                first = builder.mul(pixel.index, args[2])
                source, target = builder.gep(data(0), [first]), builder.gep(data(3), [builder.add(args[4], first)])
                builder.store(none, total)
                for column, fresh in row.vectors():
                    part = builder.select(fresh, row.load(source, column), none)
                    builder.store(builder.fadd(builder.load(total), part), total)
                share = builder.fdiv(rest, row.reduce(builder.load(total), builder.fadd))
                share = broadcast(builder, share, row.vector)
                builder.store(row.load(target, row.zero), upcoming)
                builder.store(none, most)
                for column, _ in row.vectors():
                    # the next vector is loaded before this one is stored: it may overlap, and would wait for the store
                    old = builder.load(upcoming)
                    builder.store(row.load(target, row.after(column)), upcoming)
                    new = builder.call(row.fma, [damping, old, builder.fmul(share, row.load(source, column))])
                    difference = builder.call(row.absolute, [builder.fsub(new, old)])
                    builder.store(_larger(builder, difference, builder.load(most)), most)
                    row.store(new, target, column)
                builder.store(_larger(builder, builder.load(most), builder.load(change)), change)
            row.store(builder.load(change), data(6), row.zero)
            return context.get_dummy_value()

        return signature, codegen

    return normalise_and_damp


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


class _Row:
    """A row of `width` elements as vectors; the last one starts earlier so that it ends with the row.

    Their number is n_vectors; if that is 0 it is found when the code runs.
    """

    def __init__(self, builder, width, n_vectors, lanes, itemsize):
        self.builder, self.n_vectors, self.lanes, self.itemsize = builder, n_vectors, lanes, itemsize
        self.vector, self.fma = vector_and_fma(builder, lanes, itemsize)
        name, kind = f"llvm.fabs.v{lanes}f{8 * itemsize}", ir.FunctionType(self.vector, [self.vector])
        self.absolute = cgutils.get_or_insert_function(builder.module, kind, name)
        self.width, self.zero = width, ir.Constant(width.type, 0)
        self.last = builder.sub(width, self._const(lanes))

    def _const(self, value):
        return ir.Constant(self.width.type, value)

    def _at(self, start, column):
        return self.builder.bitcast(self.builder.gep(start, [column]), self.vector.as_pointer())

    def load(self, start, column):  # element alignment: NumPy promises no more
        return self.builder.load(self._at(start, column), align=self.itemsize)

    def store(self, value, start, column):
        self.builder.store(value, self._at(start, column), align=self.itemsize)

    def after(self, column):
        """The first column of the next vector; of the last one its own."""
        return self._within(self.builder.add(column, self._const(self.lanes)))

    def _within(self, column):
        return self.builder.select(self.builder.icmp_signed("<", column, self.last), column, self.last)

    def vectors(self):
        """For each vector (its first column, which of its lanes no vector before it had), to emit what is done with it.

        Without a known number there is one pair, in a loop of the code that is emitted.
        """
        if self.n_vectors:
            for i in range(self.n_vectors):
                yield self._vector(self._const(i * self.lanes))
            return
        count = self.builder.sdiv(self.builder.add(self.width, self._const(self.lanes - 1)), self._const(self.lanes))
        with cgutils.for_range(self.builder, count) as loop:
            yield self._vector(self.builder.mul(loop.index, self._const(self.lanes)))

    def _vector(self, whole):
        builder, lane_type = self.builder, ir.VectorType(self.width.type, self.lanes)
        column = self._within(whole)
        seen = broadcast(builder, builder.sub(whole, column), lane_type)
        numbers = ir.Constant(lane_type, list(range(self.lanes)))
        return column, builder.icmp_signed(">=", numbers, seen)

    def reduce(self, value, combine):
        """combine() over all lanes, halves first: the same order on every processor."""
        i32, half = ir.IntType(32), self.lanes // 2
        while half:
            order = ir.Constant(
                ir.VectorType(i32, self.lanes), [(lane + half) % self.lanes for lane in range(self.lanes)]
            )
            value = combine(value, self.builder.shuffle_vector(value, value, order))
            half //= 2
        return self.builder.extract_element(value, ir.Constant(i32, 0))
