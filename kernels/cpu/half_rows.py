"""Rows of bfloat16 numbers copied, rounded or paired by vectors.

LLVM code, because rows are short: to make a slice of a flat array costs as much as a loop over it. Arrays are flat,
offsets count their elements; the bits of bfloat16 numbers are uint16.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvm import array_data, broadcast, vector_and_fma
from .llvm_bfloat16 import nearest_bits, rounded_bits, widened

_I = types.intp


@intrinsic
def copy_numbers(typingctx, source, at, target, to, n):
    """target[to + j] = source[at + j] for j < n."""
    return types.void(source, _I, target, _I, _I), _by_vectors(lambda builder, value: value, lanes=32)


@intrinsic
def zero_numbers(typingctx, target, to, n):
    """target[to + j] = 0 for j < n."""

    def codegen(context, builder, signature, args):
        start = builder.gep(array_data(context, builder, signature, args)(0), [args[1]])
        itemsize = context.get_abi_sizeof(start.type.pointee)
        cgutils.memset(builder, start, builder.mul(args[2], ir.Constant(args[2].type, itemsize)), 0)
        return context.get_dummy_value()

    return types.void(target, _I, _I), codegen


@intrinsic
def narrow_numbers(typingctx, source, at, target, to, n):
    """target[to + j] = the bfloat16 nearest to source[at + j], of two the even one; NaN stays NaN.

    The instruction for it, where there is one, makes a zero of numbers below 1.2e-38.
    """
    return types.void(source, _I, target, _I, _I), _by_vectors(rounded_bits)


@intrinsic
def scale_numbers(typingctx, source, at, scale, first, shift, first_too, low, high, target, to, n):
    """target[to + j] = source[at + j] scale[first + j] + shift[first + j], between low and high, rounded likewise."""

    def emit(builder, numbers, scale, shift, low, high):
        return rounded_bits(builder, _between(builder, _scaled(builder, numbers, scale, shift), low, high))

    f = types.float32
    return types.void(source, _I, scale, _I, shift, _I, f, f, target, _I, _I), _by_vectors(emit)


@intrinsic
def scale_and_add_numbers(
    typingctx, source, at, scale, first, shift, first_too, more, at_more, low, high, target, to, n
):
    """`scale_numbers` with the bfloat16 more[at_more + j] added before the limits."""

    def emit(builder, numbers, scale, shift, more, low, high):
        number = builder.fadd(_scaled(builder, numbers, scale, shift), widened(builder, more))
        return rounded_bits(builder, _between(builder, number, low, high))

    f = types.float32
    return types.void(source, _I, scale, _I, shift, _I, more, _I, f, f, target, _I, _I), _by_vectors(emit)


@intrinsic
def pair_numbers(typingctx, lower, at_lower, upper, at_upper, target, to, n):
    """target[to + j] = lower[at_lower + j] in the lower, upper[at_upper + j] in the upper half of a uint32."""
    return types.void(lower, _I, upper, _I, target, _I, _I), _by_vectors(_paired)


@intrinsic
def pair_narrowed(typingctx, lower, at_lower, upper, at_upper, target, to, n):
    """`pair_numbers` of the bfloat16 nearest to float32 numbers."""

    def emit(builder, lower, upper):
        return _paired(builder, nearest_bits(builder, lower), nearest_bits(builder, upper))

    return types.void(lower, _I, upper, _I, target, _I, _I), _by_vectors(emit)


def _by_vectors(emit, lanes=16):
    """Code of a function (source, at, ..., number, ..., target, to, n): `emit` makes a vector of the target of those of
    the sources, which are arrays with offsets, and of numbers."""

    def codegen(context, builder, signature, args):
        data = array_data(context, builder, signature, args)
        arrays = [i for i, kind in enumerate(signature.args) if isinstance(kind, types.Array)]
        *sources, target = (builder.gep(data(i), [args[i + 1]]) for i in arrays)
        factors = [arg for arg in args if arg.type == ir.FloatType()]

        def put(at, lanes):
            def vector(start):
                kind = ir.VectorType(start.type.pointee, lanes).as_pointer()
                return builder.bitcast(builder.gep(start, [at]), kind)

            values = [builder.load(vector(source), align=2) for source in sources]
            values += [broadcast(builder, factor, ir.VectorType(factor.type, lanes)) for factor in factors]
            builder.store(emit(builder, *values), vector(target), align=2)

        def const(value):
            return ir.Constant(args[-1].type, value)

        n = args[-1]
        with cgutils.for_range_slice(builder, const(0), builder.and_(n, const(-lanes)), const(lanes)) as (at, _):
            put(at, lanes)
        for part in (lanes >> i for i in range(1, lanes.bit_length())):  # what is left, by halves: 16, 8, 4, 2, 1
            with builder.if_then(builder.icmp_signed("!=", builder.and_(n, const(part)), const(0))):
                put(builder.and_(n, const(-2 * part)), part)
        return context.get_dummy_value()

    return codegen


def _scaled(builder, numbers, scale, shift):
    """numbers scale + shift, rounded once."""
    _, fma = vector_and_fma(builder, numbers.type.count, 4)
    return builder.call(fma, [numbers, scale, shift])


def _between(builder, numbers, low, high):
    """No less than low and no more than high; NaN stays NaN."""
    numbers = builder.select(builder.fcmp_ordered("<", numbers, low), low, numbers)
    return builder.select(builder.fcmp_ordered(">", numbers, high), high, numbers)


def _paired(builder, lower, upper):
    """Two halves of 32 bits."""
    kind = ir.VectorType(ir.IntType(32), lower.type.count)
    lower, upper = builder.zext(lower, kind), builder.zext(upper, kind)
    return builder.or_(lower, builder.shl(upper, ir.Constant(kind, [16] * kind.count)))
