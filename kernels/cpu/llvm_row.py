"""The loop over a row of positions of a depthwise convolution, as LLVM code: see `tile.channel_row_plain`.

In bfloat16 its sums take the last step and are rounded in registers.
"""

import itertools
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvm import array_data, broadcast, held_or_zero, load_vector, prefetch, vector_and_fma
from .llvm_bfloat16 import rounded_bits


def row_intrinsic(n_rows, n_columns, n_positions, vector_bytes):
    """The loop of `tile.channel_row_plain` for n_rows x n_columns taps, by runs of positions and vectors of channels.

    Of n_vectors vectors of channels from channel `first` on; `accumulate` adds to c.
    With more than one column the taps of a kernel row must be a_step apart, as positions are: a value that is loaded
    then serves several positions. In this case `length` must be n_positions at least, and `accumulate` false.

    `last` is None, or (y, y_row, scale, shift, low, high) for bfloat16: then, if `final`, the sums go to y[y_row + ..]
    and not to c[..], rounded, after the last step: scale and shift (may be empty), and kept between low and high.
    """

    @intrinsic
    def row(
        typingctx, a, a_row, a_step, a_taps, w, w_taps, c, c_row, c_step, length, first, n_vectors, accumulate, last,
        final,
    ):  # fmt: skip
        i = types.intp
        signature = types.void(a, i, i, a_taps, w, w_taps, c, i, i, i, i, i, i, last, i)
        itemsize = 8 if c.dtype == types.float64 else 4
        halves = a.dtype == types.uint16

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            step = None
            if isinstance(last, types.BaseTuple):
                y, y_row, scale, shift, low, high = cgutils.unpack_tuple(builder, args[13])
                y, scale, shift = (
                    context.make_array(kind)(context, builder, array)
                    for kind, array in zip((last[0], last[2], last[3]), (y, scale, shift), strict=True)
                )
                step = _LastStep(
                    args[14], builder.gep(y.data, [y_row]), scale.nitems, scale.data, shift.data, low, high
                )
            _emit_row(
                builder,
                (n_rows, n_columns, n_positions, vector_bytes // itemsize, itemsize),
                flat=(data(0), data(4), data(6)),
                rows=(args[1], args[7]),
                steps=(args[2], args[8]),
                taps=(data(3), data(5)),
                length=args[9],
                channels=args[10:12],
                accumulate=args[12],
                halves=halves,
                last=step,
            )
            return context.get_dummy_value()

        return signature, codegen

    return row


def _emit_row(builder, shape, flat, rows, steps, taps, length, channels, accumulate, halves, last):
    """A loop over runs of positions and in it one over vectors of channels, where a weight serves all positions."""
    n_rows, n_columns, n_positions, lanes, itemsize = shape
    i64, (vector, fma) = ir.IntType(64), vector_and_fma(builder, lanes, itemsize)
    (a, w, c), (a_row, c_row), (a_step, c_step), (first, n_vectors) = flat, rows, steps, channels

    def const(value):
        return ir.Constant(i64, value)

    def smaller(x, y):
        return builder.select(builder.icmp_signed("<", x, y), x, y)

    def pointer(start, offset):
        return builder.bitcast(builder.gep(start, [offset]), vector.as_pointer())

    def load_table(table, step=1):
        return [builder.load(builder.gep(table, [const(i)])) for i in range(0, n_rows * n_columns, step)]

    runs = builder.sdiv(builder.add(length, const(n_positions - 1)), const(n_positions))
    run_step = builder.mul(a_step, const(n_positions))
    with cgutils.for_range(builder, runs) as run:
        k = builder.mul(run.index, const(n_positions))
        if n_columns > 1:  # the last run starts earlier, so that it ends with the row
            k = smaller(k, builder.sub(length, const(n_positions)))
        sources, targets, rounded = [], [], []
        for p in range(n_positions + n_columns - 1):
            position = builder.add(k, const(p))
            if n_columns == 1:  # the last run repeats its last position
                position = smaller(position, builder.sub(length, const(1)))
            sources.append(builder.gep(a, [builder.add(a_row, builder.mul(position, a_step))]))
            at = builder.add(c_row, builder.mul(position, c_step))
            targets.append(builder.gep(c, [at]))
            rounded.append(builder.gep(last.y, [at]) if last else None)
        targets, rounded = targets[:n_positions], rounded[:n_positions]
        with cgutils.for_range(builder, n_vectors) as loop:
            channel = builder.add(first, builder.mul(loop.index, const(lanes)))
            # offsets are read for every vector: LLVM would keep all their sums, and run out of registers
            a_taps = [builder.add(channel, tap) for tap in load_table(taps[0], n_columns)]
            for source in sources[-n_positions:]:  # what the next run will be the first to read
                prefetch(builder, pointer(source, builder.add(a_taps[-1], run_step)), to_write=False)
            outs = [pointer(target, channel) for target in targets]
            sums = held_or_zero(builder, outs, itemsize, accumulate)
            weights = [
                load_vector(builder, builder.gep(w, [builder.add(channel, tap)]), vector) for tap in load_table(taps[1])
            ]
            for i, a_tap in enumerate(a_taps):
                values = [load_vector(builder, builder.gep(source, [a_tap]), vector, halves) for source in sources]
                for j, p in itertools.product(range(n_columns), range(n_positions)):
                    sums[p] = builder.call(fma, [values[p + j], weights[i * n_columns + j], sums[p]])
            if last is None:
                _store(builder, sums, outs, itemsize)  # all loads come before: positions may repeat
            else:
                with builder.if_else(builder.icmp_signed("!=", last.final, const(0))) as (to_maps, to_sums):
                    with to_sums:
                        _store(builder, sums, outs, itemsize)
                    with to_maps:
                        _finish(builder, last, channel, sums, [builder.gep(y, [channel]) for y in rounded], fma)


class _LastStep(NamedTuple):
    """What happens to complete sums of bfloat16 products, in LLVM's values; see `row_intrinsic`."""

    final: ir.Value
    y: ir.Value
    n_scales: ir.Value
    scale: ir.Value
    shift: ir.Value
    low: ir.Value
    high: ir.Value


def _store(builder, values, pointers, itemsize):
    for value, pointer in zip(values, pointers, strict=True):
        builder.store(value, pointer, align=itemsize)


def _finish(builder, last, channel, sums, outs, fma):
    """outs <- the sums after the last step, if there is one, as bfloat16."""
    vector = sums[0].type
    before = builder.block
    with builder.if_then(builder.icmp_signed("!=", last.n_scales, ir.Constant(last.n_scales.type, 0))):
        scale, shift = (load_vector(builder, builder.gep(a, [channel]), vector) for a in (last.scale, last.shift))
        low, high = (broadcast(builder, bound, vector) for bound in (last.low, last.high))
        scaled = []
        for value in sums:
            value = builder.call(fma, [value, scale, shift])
            value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
            scaled.append(builder.select(builder.fcmp_ordered(">", value, high), high, value))
        after = builder.block
    results = [builder.phi(vector) for _ in sums]
    for result, plain, value in zip(results, sums, scaled, strict=True):
        result.add_incoming(plain, before)
        result.add_incoming(value, after)
    for result, out in zip(results, outs, strict=True):
        bits = rounded_bits(builder, result)
        builder.store(bits, builder.bitcast(out, bits.type.as_pointer()), align=2)
