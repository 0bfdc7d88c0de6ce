"""To bfloat16 and back, at the speed of memory."""

import numpy as np

from ..bfloat16 import BFLOAT16
from ..checks import check_to_bfloat16, check_to_float32
from .arrays import contiguous, empty
from .bfloat16 import narrow_as, numbers, wide
from .jit import jit, jit_parallel
from .parts import PARTS, bounds


def to_bfloat16(x):
    """float32 -> the nearest bfloat16, of two the even one; NaN stays NaN.

    Args:
        x: float32 array of any shape. The error is at most 2^-8 |x| where |x| is at least 2^-126 and at most 3.38e38.
    """
    check_to_bfloat16(x)
    return _converted(x, BFLOAT16)


def to_float32(x):
    """bfloat16 -> float32, exact."""
    check_to_float32(x)
    return _converted(x, np.float32)


def _converted(x, dtype):
    y, (x,) = empty(x.shape, dtype), contiguous(x)
    _convert(PARTS, numbers(x).reshape(-1), numbers(y).reshape(-1))
    return y


@jit_parallel
def _convert(part, x, y):
    first, last = bounds(part, PARTS, x.size)
    v, out = x[first:last], y[first:last]
    for i in range(out.size):
        out[i] = narrow_as(wide(v[i]), out[i])


def rounded(w):
    """float32 weights as bfloat16 holds them, in float32."""
    (w,), result = contiguous(w), np.empty_like(w)
    _round(w.reshape(-1), result.reshape(-1))
    return result


@jit
def _round(w, result):
    for i in range(w.size):
        result[i] = wide(narrow_as(w[i], np.uint16(0)))
