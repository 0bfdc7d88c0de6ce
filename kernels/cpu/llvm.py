"""LLVM code written by hand: register tiles, which plain Numba does not keep in registers, and a transposition of
squares.

Beside this file those named llvm_*.py, bfloat16_block.py, bfloat16.py and jobs.py write LLVM code. All are Numba
intrinsics: called inside kernels like functions, they put their instructions there.
"""

import itertools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvm_bfloat16 import widened

ASKS = 4  # steps of the dense tile between requests


def prefetch(builder, pointer, to_write):
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

    by_channel: the loop of `tile.channel_tile_plain`: a is read in vectors as b is, not one value for a whole row. With
    two vectors of bfloat16 a row of sums is that of the even columns, then that of the odd ones.
    """

    @intrinsic
    def tile(typingctx, a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, accumulate, ahead):
        i = types.intp
        signature = types.void(a, a_rows, a_segments, i, b, b_segments, i, lengths, c, c_rows, i, types.UniTuple(i, 3))
        itemsize = 8 if c.dtype == types.float64 else 4
        halves = a.dtype == types.uint16

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
                halves=halves,
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


def copy_intrinsic(vector_bytes):
    """target[to + j] = source[at + j] for j < the dtype's lanes in a vector."""

    @intrinsic
    def copy(typingctx, source, at, target, to):
        i = types.intp
        signature = types.void(source, i, target, i)
        itemsize = 8 if source.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)
            vector, _ = vector_and_fma(builder, vector_bytes // itemsize, itemsize)
            start, end = (builder.bitcast(builder.gep(data(i), [args[i + 1]]), vector.as_pointer()) for i in (0, 2))
            builder.store(builder.load(start, align=itemsize), end, align=itemsize)
            return context.get_dummy_value()

        return signature, codegen

    return copy


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


def _unforeseen(builder, value):
    """The same number, of which LLVM knows nothing.

    Where a caller has no requests, for good, LLVM drops their loop, moves loads of all steps to the front, and keeps
    four accumulators of five in memory: half the speed.
    """
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=True)


def vector_and_fma(builder, lanes, itemsize):
    """The vector type, and LLVM's fused multiply-add for it."""
    vector = ir.VectorType(ir.DoubleType() if itemsize == 8 else ir.FloatType(), lanes)
    name = f"llvm.fma.v{lanes}f{8 * itemsize}"
    return vector, cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)


def load_vector(builder, pointer, vector, halves=False):
    """The vector at a pointer to its first element; of `halves`, bfloat16 in memory, each in the upper bits of a lane.

    It is aligned as an element: NumPy promises no more.
    """
    if not halves:
        align = 8 if vector.element == ir.DoubleType() else 4
        return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=align)
    bits = ir.VectorType(ir.IntType(16), vector.count)
    return widened(builder, builder.load(builder.bitcast(pointer, bits.as_pointer()), align=2))


def _load_pairs(builder, pointer, vector):
    """Twice as many bfloat16 numbers as a vector has lanes: those at even places, and those at odd places.

    So each is widened by one instruction: the number of a pair that lies lower moves up, the other one is masked.
    """
    words = ir.VectorType(ir.IntType(32), vector.count)
    pairs = builder.load(builder.bitcast(pointer, words.as_pointer()), align=2)
    even = builder.shl(pairs, ir.Constant(words, [16] * vector.count))
    odd = builder.and_(pairs, ir.Constant(words, [0xFFFF0000] * vector.count))
    return [builder.bitcast(half, vector) for half in (even, odd)]


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


def _emit_tile(builder, shape, flat, rows, segments, steps, n_segments, accumulate, ahead, by_channel, halves):
    """A loop over segments and in it one over k; the accumulators are phi nodes of both, so they stay in registers.

    Both operands have one pointer that advances, and rows a fixed distance from it. With an address of its own for each
    row and each request LLVM keeps a counter for each, runs out of registers, and counts in memory. For the same
    reason, and because a request costs as much as a load, the dense tile makes its requests every ASKS steps.
    """
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
        if halves and n_vectors == 2:
            return _load_pairs(builder, pointer, vector)
        return [
            load_vector(builder, builder.gep(pointer, [const(j * lanes)]), vector, halves) for j in range(n_vectors)
        ]

    def repeated(pointer):
        return [broadcast(builder, builder.load(pointer, align=itemsize), vector)] * n_vectors

    cells = [(i, j) for i in range(n_rows) for j in range(n_vectors)]
    c_row = [builder.gep(c, [load_i64(c_rows, const(i))]) for i in range(n_rows)]
    a_row = [load_i64(a_rows, const(i)) for i in range(n_rows)]

    def step(a_k, b_k, sums):
        """The sums after one more k."""
        b_row, after = load_vectors(b_k), []
        for i in range(n_rows):
            x = (load_vectors if by_channel else repeated)(builder.gep(a_k, [a_row[i]]))
            after += [builder.call(fma, [x[j], b_row[j], sums[i * n_vectors + j]]) for j in range(n_vectors)]
        return after

    def run(name, count, unrolled, start, asks):
        """`count` times `unrolled` steps of k from start = (pointers in a and b, address and row to ask for, *sums)."""
        before = builder.block
        body, end = (builder.append_basic_block(f"tile.{name}{part}") for part in ("", ".end"))
        builder.cbranch(builder.icmp_signed(">", count, const(0)), body, end)
        builder.position_at_end(body)
        index, state = builder.phi(i64), [builder.phi(value.type) for value in start]
        a_k, b_k, address, row, *sums = state
        if asks:
            address, row = asks(index, a_k, b_k, address, row)
        for _ in range(unrolled):
            sums = step(a_k, b_k, sums)
            a_k, b_k = builder.gep(a_k, [a_step]), builder.gep(b_k, [b_step])
        following = builder.add(index, const(1))
        for phi, first, value in zip(
            (index, *state), (const(0), *start), (following, a_k, b_k, address, row, *sums), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(value, builder.block)
        last = builder.block
        builder.cbranch(builder.icmp_signed("<", following, count), body, end)
        builder.position_at_end(end)
        merged = [builder.phi(value.type) for value in start]
        for phi, without, after in zip(merged, start, (a_k, b_k, address, row, *sums), strict=True):
            phi.add_incoming(without, before)
            phi.add_incoming(after, last)
        return merged

    def ask_by_channel(k, a_k, b_k, address, row):
        a_line = builder.gep(a_k, [builder.add(a_row[-1], builder.add(ahead[0], builder.mul(k, ahead[1])))])
        b_line = builder.gep(b_k, [ahead[2]])
        for line, j in itertools.product((a_line, b_line), range(n_vectors)):
            prefetch(builder, vector_pointer(line, j), to_write=False)
        return address, row

    def ask(group, a_k, b_k, address, row):
        """Two rows of the results, while there are some, and ahead[2] lines."""
        with builder.if_then(builder.icmp_unsigned("<", row, const(n_rows - n_rows % 2))):
            for i, j in itertools.product(range(2), range(n_vectors)):
                # of vectors the last number: where rows do not start at a line, the one before holds the start
                line = builder.gep(c, [load_i64(c_rows, builder.add(row, const(i)))])
                prefetch(builder, builder.gep(line, [const((j + 1) * lanes - 1)]), to_write=True)
        with cgutils.for_range(builder, ahead[2]) as loop:
            line = builder.add(address, builder.mul(loop.index, ahead[1]))
            prefetch(builder, builder.inttoptr(line, ir.IntType(8).as_pointer()), to_write=False)
        return builder.add(address, builder.mul(ahead[1], ahead[2])), builder.add(row, const(2))

    if not by_channel:
        ahead = (*ahead[:2], _unforeseen(builder, ahead[2]))
    start = held_or_zero(builder, [vector_pointer(c_row[i], j) for i, j in cells], itemsize, accumulate)
    before = builder.block
    head, segment, done = (builder.append_basic_block(f"tile.{n}") for n in ("head", "segment", "done"))
    builder.branch(head)

    builder.position_at_end(head)  # for s in range(n_segments)
    s, address, row, *outer = (builder.phi(kind) for kind in (i64, i64, i64, *[vector] * len(cells)))
    builder.cbranch(builder.icmp_signed("<", s, n_segments), segment, done)

    builder.position_at_end(segment)
    a_k, b_k = builder.gep(a, [load_i64(a_segments, s)]), builder.gep(b, [load_i64(b_segments, s)])
    length, state = load_i64(lengths, s), (a_k, b_k, address, row, *outer)
    if by_channel:
        state = run("k", length, 1, state, ask_by_channel)
    else:
        state = run("group", builder.udiv(length, const(ASKS)), ASKS, state, ask)
        state = run("k", builder.urem(length, const(ASKS)), 1, state, None)
    following = builder.add(s, const(1)), *state[2:]
    phis, firsts = (s, address, row, *outer), (const(0), ahead[0], const(0), *start)
    for phi, first, value in zip(phis, firsts, following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(value, builder.block)
    builder.branch(head)

    builder.position_at_end(done)
    for (i, j), value in zip(cells, outer, strict=True):
        builder.store(value, vector_pointer(c_row[i], j), align=itemsize)
