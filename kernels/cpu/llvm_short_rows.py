"""Rows of numbers copied, scaled, rounded to bfloat16, cut into three bfloat16 numbers or paired, by vectors.

LLVM code, because rows are short: a view of an array, a[i:j], costs as much as a loop over it. Arrays are flat,
offsets count their elements; the bits of bfloat16 numbers are uint16.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .bfloat16_block import STEP
from .llvm import array_data, broadcast, prefetch, vector_and_fma
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
def ask_for(typingctx, source, at, n):
    """Ask for the cache lines of source[at : at + n]; the memory need not exist."""

    def codegen(context, builder, signature, args):
        start = builder.gep(array_data(context, builder, signature, args)(0), [args[1]])
        step = ir.Constant(args[2].type, 64 // context.get_abi_sizeof(start.type.pointee))
        with cgutils.for_range_slice(builder, ir.Constant(step.type, 0), args[2], step) as (at, _):
            prefetch(builder, builder.gep(start, [at]), to_write=False)
        return context.get_dummy_value()

    return types.void(source, _I, _I), codegen


@intrinsic
def put_numbers(typingctx, source, at, target, to, n):
    """target[to + j] = source[at + j], float32; as bfloat16 the nearest, of two the even one, and NaN stays NaN.

    The instruction for it, where there is one, makes a zero of numbers below 2^-126.
    """
    return types.void(source, _I, target, _I, _I), _by_vectors(_rounding_to(target))


@intrinsic
def lay_out(typingctx, source, at, target, to, n):
    """Bits of bfloat16 numbers as `bfloat16_block.block` reads them: whole steps, zeros after the last.

    bfloat16: target[to + j] = source[at + j]. float32: the slices of each step of 32 numbers one after the other,
    target[to + 96 s + 32 i + j] = slice i of source[at + 32 s + j].
    """
    codegen = _copy_steps if source.dtype == types.uint16 else _slice_steps
    return types.void(source, _I, target, _I, _I), codegen


def _copy_steps(context, builder, signature, args):
    """`lay_out` of bfloat16: a copy, then zeros up to a whole step."""
    _by_vectors(lambda builder, value: value, lanes=STEP)(context, builder, signature, args)
    _, _, _, to, n = args
    end = builder.gep(array_data(context, builder, signature, args)(2), [builder.add(to, n)])
    left = builder.and_(builder.neg(n), ir.Constant(n.type, STEP - 1))
    with builder.if_then(builder.icmp_signed("!=", left, ir.Constant(n.type, 0))):
        cgutils.memset(builder, end, builder.mul(left, ir.Constant(n.type, 2)), 0)
    return context.get_dummy_value()


def _slice_steps(context, builder, signature, args):
    """`lay_out` of float32: whole steps, then one of which only the first numbers are read."""
    data, (_, at, _, to, n) = array_data(context, builder, signature, args), args
    source, target = builder.gep(data(0), [at]), builder.gep(data(2), [to])
    lanes, vector = 16, ir.VectorType(ir.FloatType(), 16)

    def const(value):
        return ir.Constant(n.type, value)

    def pointer(start, at, kind):
        return builder.bitcast(builder.gep(start, [at]), kind.as_pointer())

    def load(at):
        return builder.load(pointer(source, at, vector), align=4)

    def load_up_to_n(at):
        lane = ir.Constant(ir.VectorType(n.type, lanes), list(range(lanes)))
        mask = builder.icmp_signed("<", lane, broadcast(builder, builder.sub(n, at), lane.type))
        function_type = ir.FunctionType(vector, [vector.as_pointer(), ir.IntType(32), mask.type, vector])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.masked.load.v16f32.p0")
        align, zeros = ir.Constant(ir.IntType(32), 4), ir.Constant(vector, None)
        return builder.call(function, [pointer(source, at, vector), align, mask, zeros])

    def put(at, load):
        for first in range(0, STEP, lanes):
            for i, bits in enumerate(cut_into_slices(builder, load(builder.add(at, const(first))))):
                place = builder.add(builder.mul(at, const(3)), const(i * STEP + first))
                builder.store(bits, pointer(target, place, bits.type), align=2)

    whole = builder.and_(n, const(-STEP))
    with cgutils.for_range_slice(builder, const(0), whole, const(STEP)) as (at, _):
        put(at, load)
    with builder.if_then(builder.icmp_signed("!=", whole, n)):
        put(whole, load_up_to_n)
    return context.get_dummy_value()


@intrinsic
def scale_numbers(typingctx, source, at, scale, scale_at, shift, shift_at, low, high, target, to, n):
    """target[to + j] = source[at + j] scale[scale_at + j] + shift[shift_at + j], between low and high, as
    `put_numbers`."""
    put = _rounding_to(target)

    def emit(builder, numbers, scale, shift, low, high):
        return put(builder, _between(builder, _scaled(builder, numbers, scale, shift), low, high))

    f = types.float32
    return types.void(source, _I, scale, _I, shift, _I, f, f, target, _I, _I), _by_vectors(emit)


@intrinsic
def scale_and_add_numbers(
    typingctx, source, at, scale, scale_at, shift, shift_at, more, more_at, low, high, target, to, n
):
    """`scale_numbers` with more[more_at + j], of the target's dtype, added before the limits."""
    put = _rounding_to(target)

    def emit(builder, numbers, scale, shift, more, low, high):
        more = widened(builder, more) if target.dtype == types.uint16 else more
        return put(builder, _between(builder, builder.fadd(_scaled(builder, numbers, scale, shift), more), low, high))

    f = types.float32
    return types.void(source, _I, scale, _I, shift, _I, more, _I, f, f, target, _I, _I), _by_vectors(emit)


@intrinsic
def normalise_numbers(
    typingctx, source, at, mean, mean_at, factor, factor_at, shift, shift_at, low, high, target, to, n
):
    """target[to + j] = (source[at + j] - mean[mean_at + j]) factor[factor_at + j] + shift[shift_at + j], between low
    and high; source and target of one dtype, rounded as by `put_numbers`: bit for bit what `batch_norm` makes."""
    put = _rounding_to(target)

    def emit(builder, numbers, mean, factor, shift, low, high):
        numbers = widened(builder, numbers) if source.dtype == types.uint16 else numbers
        scaled = _scaled(builder, builder.fsub(numbers, mean), factor, shift)
        return put(builder, _between(builder, scaled, low, high))

    f, arrays = types.float32, (source, _I, mean, _I, factor, _I, shift, _I)
    return types.void(*arrays, f, f, target, _I, _I), _by_vectors(emit)


@intrinsic
def pair_numbers(typingctx, lower, at_lower, upper, at_upper, target, to, pitch, n):
    """target[to + j] = lower[at_lower + j] in the lower, upper[at_upper + j] in the upper half of a uint32.

    Of float32 numbers the slices i = 0, 1, 2 go to target[to + i pitch + j].
    """
    signature = types.void(lower, _I, upper, _I, target, _I, _I, _I)
    if lower.dtype == types.uint16:
        return signature, _by_vectors(lambda builder, lower, upper: [_paired(builder, lower, upper)])

    def emit(builder, *rows):
        return [_paired(builder, *bits) for bits in zip(*(cut_into_slices(builder, row) for row in rows), strict=True)]

    return signature, _by_vectors(emit)


@intrinsic
def pair_narrowed(typingctx, lower, at_lower, upper, at_upper, target, to, n):
    """`pair_numbers` of the bfloat16 nearest to float32 numbers."""

    def emit(builder, lower, upper):
        return _paired(builder, nearest_bits(builder, lower), nearest_bits(builder, upper))

    return types.void(lower, _I, upper, _I, target, _I, _I), _by_vectors(emit)


def cut_into_slices(builder, numbers):
    """Bits of three bfloat16 vectors whose sum is the float32 one: the nearest, then the nearest to what is left.

    Each takes 8 of the 24 bits, so the last is exact; one below 2^-126 may be zero. Of infinity the second and the
    third are NaN. A finite number from 3.396e38 on rounds to infinity, and leaves -infinity, then NaN.
    """
    found = []
    for last in (False, False, True):
        found.append(rounded_bits(builder, numbers))
        if not last:
            numbers = builder.fsub(numbers, widened(builder, found[-1]))
    return found


def _rounding_to(target):
    """Code that makes float32 vectors numbers of the target: bfloat16, or as they are."""
    return rounded_bits if target.dtype == types.uint16 else lambda builder, numbers: numbers


def _by_vectors(emit, lanes=16):
    """Code of a function (source, at, ..., number, ..., target, to, n): `emit` makes a vector of the target of those of
    the sources, which are arrays with offsets, and of numbers. Between `to` and n may stand a pitch: `emit` makes as
    many vectors as it likes, for targets at this distance."""

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
            results = emit(builder, *values)
            for i, result in enumerate(results if isinstance(results, list) else [results]):
                start = builder.gep(target, [builder.mul(args[-2], const(i))]) if i else target
                builder.store(result, vector(start), align=2)

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
