"""Creation and conversion of arrays. On this backend an array is a NumPy array."""

import numpy as np

from ..bfloat16 import BFLOAT16, narrow, widen


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


def is_finite(array):
    """True if no element is NaN or infinite."""
    return bool(np.isfinite(widen(array) if array.dtype == BFLOAT16 else array).all())


def synchronize():
    """Wait until all kernels are done (they are when they return)."""
