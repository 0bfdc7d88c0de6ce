"""Creation and conversion of arrays. On this backend an array is a NumPy array."""

import math

import numpy as np

from ..bfloat16 import BFLOAT16, narrow, widen
from ..checks import check_flatten, check_part


def from_numpy(array):
    """The array on this device (the identity here)."""
    return array


def to_numpy(array):
    """The array in host memory (the identity here)."""
    return array


def empty(shape, dtype=np.float32):
    """Array with undefined contents."""
    return np.empty(shape, dtype)


def zeros(shape, dtype=np.float32):
    """Array of zeros."""
    return np.zeros(shape, dtype)


def full(shape, value, dtype=np.float32):
    """Array filled with one value."""
    return narrow(np.full(shape, value, np.float32)) if dtype == BFLOAT16 else np.full(shape, value, dtype)


def copy(array):
    """A contiguous copy."""
    return np.array(array, order="C")


def reshape(array, shape):
    """The same numbers in another shape of as many elements; of a contiguous array the same memory."""
    return array.reshape(shape)


def flatten(arrays, flat):
    """Copies the arrays, one after the other, into `flat` (numbers,), which they fill."""
    check_flatten(arrays, flat)
    first = 0
    for a in arrays:
        flat[first : first + a.size] = a.reshape(-1)
        first += a.size


def part(flat, first, shape):
    """The numbers of `flat` from the first on as an array of that shape; here it shares their memory."""
    check_part(flat, first, shape)
    return flat[first : first + math.prod(shape)].reshape(shape)


def is_finite(array):
    """True if no element is NaN or infinite."""
    return bool(np.isfinite(widen(array) if array.dtype == BFLOAT16 else array).all())


def synchronize():
    """Wait until all kernels are done (they are when they return)."""
