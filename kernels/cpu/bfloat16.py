"""bfloat16 inside kernels: two bytes in memory, float32 in registers.

A kernel takes the bits of a bfloat16 array as uint16, from `numbers`, and reads and writes every element through `wide`
and `narrow_as`. For float32 and float64 both do nothing, so that one source serves all three.
"""

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from ..bfloat16 import BFLOAT16, narrow, widen
from .llvm_bfloat16 import nearest_bits, widened


def numbers(array):
    """What a kernel can index: the bits of a bfloat16 array as uint16, any other array as it is."""
    return array.view(np.uint16) if array.dtype == BFLOAT16 else array


@intrinsic
def wide(typingctx, value):
    """The float32 of bfloat16 bits, exact; any other number as it is."""
    if value != types.uint16:
        return value(value), lambda context, builder, signature, args: args[0]

    return types.float32(value), lambda context, builder, signature, args: widened(builder, args[0])


@intrinsic
def narrow_as(typingctx, value, like):
    """A number in the type of `like`; for bfloat16 the bits of the nearest, of two the even one. NaN stays NaN."""
    if like != types.uint16:
        return like(value, like), lambda context, builder, signature, args: context.cast(
            builder, args[0], signature.args[0], signature.return_type
        )

    def codegen(context, builder, signature, args):
        return nearest_bits(builder, context.cast(builder, args[0], signature.args[0], types.float32))

    return types.uint16(value, like), codegen


def sums_of(maps):
    """Inside kernels: what sums for some results are made in: their own memory, for bfloat16 float32 beside it."""
    return np.empty(maps.shape, np.float32) if maps.dtype == np.uint16 else maps


def round_into(maps, sums):
    """Inside kernels: maps <- the sums that `sums_of` gave, rounded, where these are not the same memory."""
    if maps.dtype == np.uint16:
        maps[...] = narrow(sums).view(np.uint16)


@overload(sums_of)
def _sums_of(maps):
    if maps.dtype == types.uint16:
        return lambda maps: np.empty(maps.shape, np.float32)
    return lambda maps: maps


@overload(round_into)
def _round_into(maps, sums):
    if maps.dtype != types.uint16:
        return lambda maps, sums: None

    def rounded(maps, sums):
        target, source = maps.reshape(-1), sums.reshape(-1)
        for i in range(target.size):
            target[i] = narrow_as(source[i], target[i])

    return rounded


def last_step_of(maps, start, scale, shift, limits):
    """Inside kernels: what `llvm_row.row_intrinsic` takes as `last` for bfloat16 results; None for others."""


@overload(last_step_of)
def _last_step_of(maps, start, scale, shift, limits):
    if maps.dtype == types.uint16:
        return lambda maps, start, scale, shift, limits: (maps, start, scale, shift, limits[0], limits[1])
    return lambda maps, start, scale, shift, limits: None


if numba.config.DISABLE_JIT:  # kernels are Python then, to step through

    def wide(value):
        return widen(np.array(value).view(BFLOAT16))[()] if isinstance(value, np.uint16) else value

    def narrow_as(value, like):
        return narrow(np.array(value)).view(np.uint16)[()] if isinstance(like, np.uint16) else type(like)(value)
