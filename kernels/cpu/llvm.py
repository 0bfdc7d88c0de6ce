"""LLVM code written by hand: the register tile, which plain Numba cannot keep in registers, and one bit cast.

This is the only file that writes LLVM code. Both are Numba intrinsics: called inside kernels like functions, they put
their instructions there.
"""

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


def tile_intrinsic(n_rows, n_vectors, vector_bytes, by_channel=False):
    """The loop of `tile.tile_plain` with an n_rows x n_vectors tile of accumulators in vector registers.

    by_channel: the loop of `tile.channel_tile_plain`: a is read in vectors as b is, not one value for a whole row.
    """

    @intrinsic
    def tile(typingctx, a, a_rows, a_segments, a_step, b, b_segments, b_step, n_segments, n_k, c, c_rows, accumulate):
        i = types.intp
        signature = types.void(a, a_rows, a_segments, i, b, b_segments, i, i, n_k, c, c_rows, i)
        itemsize = 8 if c.dtype == types.float64 else 4

        def codegen(context, builder, signature, args):
            def data(position):
                return context.make_array(signature.args[position])(context, builder, args[position]).data

            _emit_tile(
                builder,
                (n_rows, n_vectors, vector_bytes // itemsize, itemsize),
                flat=(data(0), data(4), data(9)),
                rows=(data(1), data(10)),
                segments=(data(2), data(5), data(8)),
                steps=(args[3], args[6]),
                n_segments=args[7],
                accumulate=args[11],
                by_channel=by_channel,
            )
            return context.get_dummy_value()

        return signature, codegen

    return tile


def _emit_tile(builder, shape, flat, rows, segments, steps, n_segments, accumulate, by_channel):
    """A loop over segments and in it one over k; the accumulators are phi nodes of both, so they stay in registers."""
    n_rows, n_vectors, lanes, itemsize = shape
    element = ir.DoubleType() if itemsize == 8 else ir.FloatType()
    i64, i32 = ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(element, lanes)
    (a, b, c), (a_rows, c_rows), (a_segments, b_segments, n_k), (a_step, b_step) = flat, rows, segments, steps
    fma_name = f"llvm.fma.v{lanes}f{8 * itemsize}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), fma_name)
    zero = ir.Constant(vector, None)
    splat = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)

    def const(value):
        return ir.Constant(i64, value)

    def load_i64(pointer, index):
        return builder.load(builder.gep(pointer, [index]))

    def vector_pointer(pointer, j):  # element alignment: NumPy promises no more
        return builder.bitcast(builder.gep(pointer, [const(j * lanes)]), vector.as_pointer())

    def load_vectors(pointer):
        return [builder.load(vector_pointer(pointer, j), align=itemsize) for j in range(n_vectors)]

    def broadcast(pointer):
        scalar = builder.load(pointer, align=itemsize)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(i32, 0))
        return [builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), splat)] * n_vectors

    cells = [(i, j) for i in range(n_rows) for j in range(n_vectors)]
    c_row = [builder.gep(c, [load_i64(c_rows, const(i))]) for i in range(n_rows)]
    a_row = [load_i64(a_rows, const(i)) for i in range(n_rows)]

    # start values: zero, or what c holds
    entry = builder.block
    with builder.if_then(builder.icmp_signed("!=", accumulate, const(0))):
        held = [builder.load(vector_pointer(c_row[i], j), align=itemsize) for i, j in cells]
        loaded = builder.block
    start = []
    for value in held:
        phi = builder.phi(vector)
        phi.add_incoming(zero, entry)
        phi.add_incoming(value, loaded)
        start.append(phi)
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
    length = load_i64(n_k, s)
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
    summed = []
    for i in range(n_rows):
        x = (load_vectors if by_channel else broadcast)(builder.gep(a_pointers[i], [a_offset]))
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
