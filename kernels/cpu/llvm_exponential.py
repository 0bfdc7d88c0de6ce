"""exp as LLVM code: see exponential.py. Of a loop of Numba's LLVM makes vectors of 32 bytes, even on AVX-512."""

import math
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvm import load_vector

_FUSES = ("contract",)  # a multiply and an add may become one operation, as everywhere: see jit.py


class _Format(NamedTuple):
    """What the arithmetic needs to know about float32 or float64."""

    low: float  # x is kept between these: exp of them is a normal number
    high: float
    log_2: tuple  # two numbers, log(2) together; multiples of the first are exact
    degree: int  # of the Taylor polynomial
    bias: int  # of the exponent
    mantissa: int  # bits


_FORMATS = {
    4: _Format(-87.0, 88.0, (0.693359375, -2.12194440e-4), 7, 127, 23),
    8: _Format(-708.0, 709.0, (0.693145751953125, 1.42860682030941723212e-6), 13, 1023, 52),
}


def exponentiate_intrinsic(vector_bytes):
    """x[k] <- exp(x[k]) for all k: whole vectors, then what is left one by one; returns nothing."""

    @intrinsic
    def exponentiate(typingctx, x):
        itemsize = 8 if x.dtype == types.float64 else 4
        lanes = vector_bytes // itemsize

        def codegen(context, builder, signature, args):
            array = context.make_array(x)(context, builder, args[0])
            data, size = array.data, array.nitems
            i64, number = size.type, ir.DoubleType() if itemsize == 8 else ir.FloatType()
            whole = builder.and_(size, ir.Constant(i64, -lanes))
            for first, end, count in ((ir.Constant(i64, 0), whole, lanes), (whole, size, 1)):
                vector = ir.VectorType(number, count)
                with cgutils.for_range_slice(builder, first, end, ir.Constant(i64, count)) as (k, _):
                    place = builder.gep(data, [k])
                    value = _exp(builder, load_vector(builder, place, vector), _FORMATS[itemsize])
                    builder.store(value, builder.bitcast(place, vector.as_pointer()), align=itemsize)
            return context.get_dummy_value()

        return types.void(x), codegen

    return exponentiate


def _exp(builder, x, form):
    """exp of a vector; NaN stays NaN."""
    vector, lanes = x.type, x.type.count
    bits = ir.VectorType(ir.IntType(64 if form.mantissa == 52 else 32), lanes)

    def const(value, kind=vector):
        return ir.Constant(kind, [value] * lanes)

    def sum_with_product(a, b, c):
        return builder.fadd(builder.fmul(a, b, flags=_FUSES), c, flags=_FUSES)

    x = builder.select(builder.fcmp_ordered("<", x, const(form.low)), const(form.low), x)
    x = builder.select(builder.fcmp_ordered(">", x, const(form.high)), const(form.high), x)
    name = f"llvm.floor.v{lanes}f{bits.element.width}"
    floor = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
    n = builder.call(floor, [sum_with_product(x, const(1 / math.log(2)), const(0.5))])
    for part in form.log_2:
        x = sum_with_product(n, const(-part), x)
    y = const(1 / math.factorial(form.degree))
    for i in reversed(range(form.degree)):
        y = sum_with_product(y, x, const(1 / math.factorial(i)))
    exponent = builder.add(builder.fptosi(n, bits), const(form.bias, bits))
    return builder.fmul(y, builder.bitcast(builder.shl(exponent, const(form.mantissa, bits)), vector))
