"""LLVM code written by hand: register tiles and rows, which plain Numba does not keep in registers, a transposition
of squares, and one bit cast.

Only this file, llvm_gather.py and llvm_transform.py write LLVM code. All are Numba intrinsics: called inside kernels
like functions, they put their instructions there.
"""

import itertools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def float_of_bits(typingctx, bits):
    """The float with these bits: int32 -> float32, int64 -> float64."""
    target = types.float32 if bits == types.int32 else types.float64

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType() if target == types.float32 else ir.DoubleType())

    return target(bits), codegen


def _prefetch(builder, pointer, to_write):
    """Ask for the pointer's cache line, to be kept in all caches; the address need not exist."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = builder.module.declare_intrinsic(
        "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    )
    keep, data = 3, 1
    builder.call(
        function, [builder.bitcast(pointer, byte), *(ir.Constant(flag, int(v)) for v in (to_write, keep, data))]
    )


def tile_intrinsic(n_rows, n_vectors, vector_bytes, by_channel=False):
    """The loop of `tile.tile_plain` with an n_rows x n_vectors tile of accumulators in vector registers.

    by_channel: the loop of `tile.channel_tile_plain`: a is read in vectors as b is, not one value for a whole row.
    """

    @intrinsic
    def tile(typingctx, a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, accumulate, ahead):
        i = types.intp
        signature = types.void(a, a_rows, a_segments, i, b, b_segments, i, lengths, c, c_rows, i, types.UniTuple(i, 3))
        itemsize = 8 if c.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            _emit_tile(
                builder,
                (n_rows, n_vectors, vector_bytes // itemsize, itemsize),
                flat=(data(0), data(4), data(8)),
                rows=(data(1), data(9)),
                segments=(data(2), data(5), data(7)),
                steps=(args[3], args[6]),
                n_segments=context.make_array(lengths)(context, builder, args[7]).nitems,
                accumulate=args[10],
                ahead=cgutils.unpack_tuple(builder, args[11]),
                by_channel=by_channel,
            )
            return context.get_dummy_value()

        return signature, codegen

    return tile


def array_data(context, builder, signature, args):
    """position -> pointer to the first element of the array that is the argument there."""
    return lambda i: context.make_array(signature.args[i])(context, builder, args[i]).data


def transpose_intrinsic(vector_bytes):
    """target[to + i * target_step + j] = source[at + j * source_step + i] for i, j < the dtype's lanes in a vector."""

    @intrinsic
    def transpose(typingctx, source, at, source_step, target, to, target_step):
        i = types.intp
        signature = types.void(source, i, i, target, i, i)
        itemsize = 8 if source.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            _emit_transpose(builder, vector_bytes // itemsize, itemsize, data(0), *args[1:3], data(3), *args[4:])
            return context.get_dummy_value()

        return signature, codegen

    return transpose


def _emit_transpose(builder, lanes, itemsize, source, at, source_step, target, to, target_step):
    """Swap the off-diagonal quarters of the square, then of each quarter, and so on: log2(lanes) rounds."""
    i32, (vector, _) = ir.IntType(32), vector_and_fma(builder, lanes, itemsize)

    def line(start, first, step, i):
        offset = builder.add(first, builder.mul(step, ir.Constant(step.type, i)))
        return builder.bitcast(builder.gep(start, [offset]), vector.as_pointer())

    rows = [builder.load(line(source, at, source_step, i), align=itemsize) for i in range(lanes)]
    half = lanes // 2
    while half:
        # lanes of two rows side by side: from one quarter, and from `half` on in every pair of quarters from the other
        upper = [l if not l & half else lanes + l - half for l in range(lanes)]
        lower = [l + half if not l & half else lanes + l for l in range(lanes)]
        upper, lower = (ir.Constant(ir.VectorType(i32, lanes), mask) for mask in (upper, lower))
        for i in range(lanes):
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i], rows[i + half] = builder.shuffle_vector(a, b, upper), builder.shuffle_vector(a, b, lower)
        half //= 2
    for i, row in enumerate(rows):
        builder.store(row, line(target, to, target_step, i), align=itemsize)


def row_intrinsic(n_rows, n_columns, n_positions, vector_bytes):
    """The loop of `tile.channel_row_plain` for n_rows x n_columns taps, by runs of positions and vectors of channels.

    Of n_vectors vectors of channels from channel `first` on; `accumulate` adds to c.
    With more than one column the taps of a kernel row must be a_step apart, as positions are: a value that is loaded
    then serves several positions. In this case `length` must be n_positions at least, and `accumulate` false.
    """

    @intrinsic
    def row(typingctx, a, a_row, a_step, a_taps, w, w_taps, c, c_row, c_step, length, first, n_vectors, accumulate):
        i = types.intp
        signature = types.void(a, i, i, a_taps, w, w_taps, c, i, i, i, i, i, i)
        itemsize = 8 if c.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
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
            )
            return context.get_dummy_value()

        return signature, codegen

    return row


def _emit_row(builder, shape, flat, rows, steps, taps, length, channels, accumulate):
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

    def load(pointer):  # element alignment: NumPy promises no more
        return builder.load(pointer, align=itemsize)

    def load_table(table, step=1):
        return [builder.load(builder.gep(table, [const(i)])) for i in range(0, n_rows * n_columns, step)]

    runs = builder.sdiv(builder.add(length, const(n_positions - 1)), const(n_positions))
    run_step = builder.mul(a_step, const(n_positions))
    with cgutils.for_range(builder, runs) as run:
        k = builder.mul(run.index, const(n_positions))
        if n_columns > 1:  # the last run starts earlier, so that it ends with the row
            k = smaller(k, builder.sub(length, const(n_positions)))
        sources, targets = [], []
        for p in range(n_positions + n_columns - 1):
            position = builder.add(k, const(p))
            if n_columns == 1:  # the last run repeats its last position
                position = smaller(position, builder.sub(length, const(1)))
            sources.append(builder.gep(a, [builder.add(a_row, builder.mul(position, a_step))]))
            targets.append(builder.gep(c, [builder.add(c_row, builder.mul(position, c_step))]))
        targets = targets[:n_positions]
        with cgutils.for_range(builder, n_vectors) as loop:
            channel = builder.add(first, builder.mul(loop.index, const(lanes)))
            # offsets are read for every vector: LLVM would keep all their sums, and run out of registers
            a_taps = [builder.add(channel, tap) for tap in load_table(taps[0], n_columns)]
            for source in sources[-n_positions:]:  # what the next run will be the first to read
                _prefetch(builder, pointer(source, builder.add(a_taps[-1], run_step)), to_write=False)
            outs = [pointer(target, channel) for target in targets]
            sums = held_or_zero(builder, outs, itemsize, accumulate)
            weights = [load(pointer(w, builder.add(channel, tap))) for tap in load_table(taps[1])]
            for i, a_tap in enumerate(a_taps):
                values = [load(pointer(source, a_tap)) for source in sources]
                for j, p in itertools.product(range(n_columns), range(n_positions)):
                    sums[p] = builder.call(fma, [values[p + j], weights[i * n_columns + j], sums[p]])
            for out, value in zip(outs, sums, strict=True):  # all loads come before: positions may repeat
                builder.store(value, out, align=itemsize)


def vector_and_fma(builder, lanes, itemsize):
    """The vector type, and LLVM's fused multiply-add for it."""
    vector = ir.VectorType(ir.DoubleType() if itemsize == 8 else ir.FloatType(), lanes)
    name = f"llvm.fma.v{lanes}f{8 * itemsize}"
    return vector, cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)


def broadcast(builder, scalar, vector):
    """A vector with the scalar in all lanes."""
    i32, undefined = ir.IntType(32), ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(i32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, vector.count), [0] * vector.count))


def held_or_zero(builder, pointers, itemsize, accumulate):
    """First values of sums: what lies at the pointers if `accumulate`, else zeros."""
    before = builder.block
    with builder.if_then(builder.icmp_signed("!=", accumulate, ir.Constant(accumulate.type, 0))):
        held, loaded = [builder.load(pointer, align=itemsize) for pointer in pointers], builder.block
    sums = [builder.phi(value.type) for value in held]
    for phi, value in zip(sums, held, strict=True):
        phi.add_incoming(ir.Constant(value.type, None), before)
        phi.add_incoming(value, loaded)
    return sums


def _emit_tile(builder, shape, flat, rows, segments, steps, n_segments, accumulate, ahead, by_channel):
    """A loop over segments and in it one over k; the accumulators are phi nodes of both, so they stay in registers."""
    n_rows, n_vectors, lanes, itemsize = shape
    i64 = ir.IntType(64)
    vector, fma = vector_and_fma(builder, lanes, itemsize)
    (a, b, c), (a_rows, c_rows), (a_segments, b_segments, lengths), (a_step, b_step) = flat, rows, segments, steps

    def const(value):
        return ir.Constant(i64, value)

    def load_i64(pointer, index):
        return builder.load(builder.gep(pointer, [index]))

    def vector_pointer(pointer, j):  # element alignment: NumPy promises no more
        return builder.bitcast(builder.gep(pointer, [const(j * lanes)]), vector.as_pointer())

    def load_vectors(pointer):
        return [builder.load(vector_pointer(pointer, j), align=itemsize) for j in range(n_vectors)]

    def repeated(pointer):
        return [broadcast(builder, builder.load(pointer, align=itemsize), vector)] * n_vectors

    cells = [(i, j) for i in range(n_rows) for j in range(n_vectors)]
    c_row = [builder.gep(c, [load_i64(c_rows, const(i))]) for i in range(n_rows)]
    a_row = [load_i64(a_rows, const(i)) for i in range(n_rows)]

    start = held_or_zero(builder, [vector_pointer(c_row[i], j) for i, j in cells], itemsize, accumulate)
    before = builder.block

    head, segment, body, tail, done = (
        builder.append_basic_block(f"tile.{n}") for n in ("head", "segment", "k", "next", "done")
    )
    builder.branch(head)

    builder.position_at_end(head)  # for s in range(n_segments)
    s = builder.phi(i64)
    s.add_incoming(const(0), before)
    outer = [builder.phi(vector) for _ in cells]
    for phi, value in zip(outer, start, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", s, n_segments), segment, done)

    builder.position_at_end(segment)
    a_base = builder.gep(a, [load_i64(a_segments, s)])
    a_pointers = [builder.gep(a_base, [row]) for row in a_row]
    b_base = builder.gep(b, [load_i64(b_segments, s)])
    length = load_i64(lengths, s)
    builder.cbranch(builder.icmp_signed(">", length, const(0)), body, tail)

    builder.position_at_end(body)  # for k in range(length)
    k = builder.phi(i64)
    k.add_incoming(const(0), segment)
    inner = [builder.phi(vector) for _ in cells]
    for phi, value in zip(inner, outer, strict=True):
        phi.add_incoming(value, segment)
    b_k = builder.gep(b_base, [builder.mul(k, b_step)])
    b_row = load_vectors(b_k)
    a_offset = builder.mul(k, a_step)
    a_ahead, a_ahead_step, b_ahead = ahead
    a_line = builder.gep(a_pointers[-1], [builder.add(a_ahead, builder.mul(k, a_ahead_step))])
    b_line = builder.gep(b_k, [b_ahead])
    a_lines = [vector_pointer(a_line, j) for j in range(n_vectors if by_channel else 1)]
    for pointer in (*a_lines, *(vector_pointer(b_line, j) for j in range(n_vectors))):
        _prefetch(builder, pointer, to_write=False)
    if not by_channel:  # the results' lines travel while the sums are made: at each step a row of them, the last again
        row = builder.select(builder.icmp_unsigned("<", k, const(n_rows - 1)), k, const(n_rows - 1))
        for j in range(n_vectors):
            _prefetch(builder, vector_pointer(builder.gep(c, [load_i64(c_rows, row)]), j), to_write=True)
    summed = []
    for i in range(n_rows):
        x = (load_vectors if by_channel else repeated)(builder.gep(a_pointers[i], [a_offset]))
        summed += [builder.call(fma, [x[j], b_row[j], inner[i * n_vectors + j]]) for j in range(n_vectors)]
    k_next = builder.add(k, const(1))
    k.add_incoming(k_next, body)
    for phi, value in zip(inner, summed, strict=True):
        phi.add_incoming(value, body)
    builder.cbranch(builder.icmp_signed("<", k_next, length), body, tail)

    builder.position_at_end(tail)
    merged = [builder.phi(vector) for _ in cells]
    for phi, without, after in zip(merged, outer, summed, strict=True):
        phi.add_incoming(without, segment)
        phi.add_incoming(after, body)
    s_next = builder.add(s, const(1))
    s.add_incoming(s_next, tail)
    for phi, value in zip(outer, merged, strict=True):
        phi.add_incoming(value, tail)
    builder.branch(head)

    builder.position_at_end(done)
    for (i, j), value in zip(cells, outer, strict=True):
        builder.store(value, vector_pointer(c_row[i], j), align=itemsize)
