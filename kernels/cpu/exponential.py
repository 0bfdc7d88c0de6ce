"""exp as arithmetic that vectorises: Numba's own exp is one library call for each element.

exp(x) = 2^n exp(r), n = round(x / log 2), r = x - n log 2 in two parts (Cody and Waite 1980), exp(r) by its Taylor
polynomial on |r| <= log(2) / 2, and 2^n written straight into the exponent bits. Error below 2 ulp
(tests/kernels/test_exponential.py).
"""

import numpy as np
from numba import types
from numba.extending import overload

from .jit import jit
from .llvm import float_of_bits


def _exp(x):
    """exp(x) in the dtype of x."""


@overload(_exp)
def _overload_exp(x):
    if x == types.float32:
        return _exp32
    if x == types.float64:
        return _exp64
    return None


def _exp32(x):
    f = np.float32
    x = min(max(x, f(-87.0)), f(88.0))
    n = np.floor(x * f(1.44269504088896341) + f(0.5))
    r = (x - n * f(0.693359375)) - n * f(-2.12194440e-4)
    y = f(1 / 5040)
    y = y * r + f(1 / 720)
    y = y * r + f(1 / 120)
    y = y * r + f(1 / 24)
    y = y * r + f(1 / 6)
    y = y * r + f(0.5)
    y = y * r + f(1)
    y = y * r + f(1)
    return y * float_of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))


def _exp64(x):
    x = min(max(x, -708.0), 709.0)
    n = np.floor(x * 1.4426950408889634 + 0.5)
    r = (x - n * 0.693145751953125) - n * 1.42860682030941723212e-6
    y = 1 / 6227020800
    for i in (479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1):
        y = y * r + 1 / i
    return y * float_of_bits(np.int64((np.int64(n) + 1023) << 52))


@jit
def exponentiate(x):
    """x <- exp(x) in place for a 1-D array. Below -87 (-708 in float64) it gives the smallest normal numbers, not 0."""
    for i in range(x.size):
        x[i] = _exp(x[i])
