"""The register tile: the one loop in which every dense convolution, forward and both gradients, spends its time.

    c[c_rows[i] + j] (+)= sum_s sum_k a[a_rows[i] + a_segments[s] + k * a_step] * b[b_segments[s] + k * b_step + j]

for i < ROWS, j < columns(dtype). A segment is a run of the reduction in which both operands advance by a constant step:
a tap's channels in the forward pass, an image row's pixels in the weight gradient. All offsets count elements of the
flat arrays. The ROWS x columns accumulators stay in vector registers from the first segment to the last: each step of k
loads one row of b, broadcasts ROWS values of a, and does ROWS * VECTORS fused multiply-adds.

`tile` is that loop as LLVM vector code, because plain Numba does not keep a tile of accumulators in registers;
`tile_plain` is the same in plain Numba: what tests compare with, tutorials show, and unknown processors run.
This is the only file that writes LLVM code.
"""

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import jit


def _host_tile():
    """(bytes of a vector, vectors in a row of the tile, rows): accumulators and operands fit the registers."""
    features = numba.config.CPU_FEATURES
    if features is None:
        features = llvm.get_host_cpu_features().flatten()
    if "+avx512f" in features:
        return 64, 2, 14  # 32 registers: 28 accumulators, 2 of b, 1 broadcast
    if "+avx2" in features and "+fma" in features:
        return 32, 2, 6  # 16 registers: 12 accumulators, 2 of b, 1 broadcast
    if "+neon" in features or "+asimd" in features:
        return 16, 3, 8  # 32 registers: 24 accumulators, 3 of b, 1 broadcast
    return None


_HOST = None if numba.config.DISABLE_JIT else _host_tile()
VECTOR_BYTES, VECTORS, ROWS = _HOST or (32, 2, 4)


def columns(dtype):
    """Output channels in a tile: those of VECTORS vectors of the dtype."""
    return VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize


@jit
def tile_plain(a, a_rows, a_segments, a_step, b, b_segments, b_step, n_segments, n_k, c, c_rows, n_columns, accumulate):
    """The tile's equation as loops; n_k[s] is the length of segment s. The inner loop over j runs in vectors."""
    sums = np.zeros((ROWS, n_columns), c.dtype)
    if accumulate:
        for i in range(ROWS):
            for j in range(n_columns):
                sums[i, j] = c[c_rows[i] + j]
    for s in range(n_segments):
        for k in range(n_k[s]):
            b_row = b_segments[s] + k * b_step
            for i in range(ROWS):
                x = a[a_rows[i] + a_segments[s] + k * a_step]
                for j in range(n_columns):
                    sums[i, j] += x * b[b_row + j]
    for i in range(ROWS):  # all loads of c come before all stores: rows of a tile may repeat
        for j in range(n_columns):
            c[c_rows[i] + j] = sums[i, j]


def _emit_tile(builder, flat, rows, n_segments, segments, steps, accumulate, element, lanes, itemsize):
    """The tile as LLVM code: loop over segments, inside it a loop over k, all accumulators as phi nodes."""
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

    def broadcast(pointer):
        scalar = builder.load(pointer, align=itemsize)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(i32, 0))
        return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), splat)

    cells = [(i, j) for i in range(ROWS) for j in range(VECTORS)]
    c_row = [builder.gep(c, [load_i64(c_rows, const(i))]) for i in range(ROWS)]
    a_row = [load_i64(a_rows, const(i)) for i in range(ROWS)]

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
    b_row = [builder.load(vector_pointer(b_k, j), align=itemsize) for j in range(VECTORS)]
    a_offset = builder.mul(k, a_step)
    summed = []
    for i in range(ROWS):
        x = broadcast(builder.gep(a_pointers[i], [a_offset]))
        summed += [builder.call(fma, [x, b_row[j], inner[i * VECTORS + j]]) for j in range(VECTORS)]
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


@intrinsic
def _tile_vector(
    typingctx,
    a,
    a_rows,
    a_segments,
    a_step,
    b,
    b_segments,
    b_step,
    n_segments,
    n_k,
    c,
    c_rows,
    n_columns,
    accumulate,
):
    signature = types.void(
        a,
        a_rows,
        a_segments,
        types.intp,
        b,
        b_segments,
        types.intp,
        types.intp,
        n_k,
        c,
        c_rows,
        types.intp,
        types.intp,
    )
    itemsize = 8 if c.dtype == types.float64 else 4
    element = ir.DoubleType() if itemsize == 8 else ir.FloatType()

    def codegen(context, builder, sig, args):
        def data(position):
            return context.make_array(sig.args[position])(context, builder, args[position]).data

        _emit_tile(
            builder,
            flat=(data(0), data(4), data(9)),
            rows=(data(1), data(10)),
            n_segments=args[7],
            segments=(data(2), data(5), data(8)),
            steps=(args[3], args[6]),
            accumulate=args[12],
            element=element,
            lanes=VECTOR_BYTES // itemsize,
            itemsize=itemsize,
        )
        return context.get_dummy_value()

    return signature, codegen


@jit
def tile_vector(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, n_segments, n_k, c, c_rows, n_columns, accumulate
):
    """The tile's equation in vector registers; arguments as `tile_plain` (n_columns must be columns(dtype))."""
    _tile_vector(
        a,
        a_rows,
        a_segments,
        a_step,
        b,
        b_segments,
        b_step,
        n_segments,
        n_k,
        c,
        c_rows,
        n_columns,
        accumulate,
    )


tile = tile_vector if _HOST else tile_plain
