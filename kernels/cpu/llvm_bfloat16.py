"""LLVM code for bfloat16: the bits of one or of a vector of numbers, widened to float32 and rounded."""

from llvmlite import ir
from numba.core import cgutils

from .processor import HAS_AVX512_BF16


class _BFloat(ir.types.Type):
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


BFLOAT = _BFloat()


def _like(kind, element):
    """The type of one element, or of as many as the vector type has."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _constant(kind, number):
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


def widened(builder, bits):
    """float32 of bfloat16 bits, exact."""
    words = _like(bits.type, ir.IntType(32))
    bits = builder.shl(builder.zext(bits, words), _constant(words, 16))
    return builder.bitcast(bits, _like(words, ir.FloatType()))


def nearest_bits(builder, numbers):
    """Bits of the nearest bfloat16 to float32, of two the even one; NaN stays NaN."""
    words = _like(numbers.type, ir.IntType(32))
    bits = builder.bitcast(numbers, words)
    upper = builder.lshr(bits, _constant(words, 16))
    half = builder.add(builder.and_(upper, _constant(words, 1)), _constant(words, 0x7FFF))
    rounded = builder.lshr(builder.add(bits, half), _constant(words, 16))
    quiet = builder.or_(upper, _constant(words, 0x40))
    is_nan = builder.fcmp_unordered("uno", numbers, numbers)
    return builder.trunc(builder.select(is_nan, quiet, rounded), _like(words, ir.IntType(16)))


def rounded_bits(builder, numbers):
    """`nearest_bits` of a vector; of 16 in one instruction, where there is one, which makes 0 of those below 2^-126."""
    lanes = numbers.type.count
    if lanes != 16 or not HAS_AVX512_BF16:
        return nearest_bits(builder, numbers)
    function_type = ir.FunctionType(ir.VectorType(BFLOAT, lanes), [numbers.type])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.avx512bf16.cvtneps2bf16.512")
    return builder.bitcast(builder.call(function, [numbers]), ir.VectorType(ir.IntType(16), lanes))
