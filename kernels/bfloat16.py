"""bfloat16: the upper half of a float32, that is its range with 8 bits of mantissa, in two bytes.

NumPy has no such type. Here it is a dtype of one 16-bit field, so that an array of it is never taken for numbers: what
does not know it refuses it. Sums of bfloat16 numbers are float32, as are all parameters.
"""

import numpy as np

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])


def sum_dtype(dtype):
    """The dtype of sums of a dtype's numbers, and of the parameters that go with them: float32 for bfloat16."""
    return np.dtype(np.float32) if dtype == BFLOAT16 else np.dtype(dtype)


def name_of(dtype):
    """What a dtype is called in messages."""
    return "bfloat16" if dtype == BFLOAT16 else str(dtype)


def widen(array):
    """bfloat16 -> float32, exact."""
    bits = np.ascontiguousarray(array).view(np.uint16)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrow(array):
    """float32 -> the nearest bfloat16, of two the even one; the error is at most 2^-9 of the number. NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(array), quiet, rounded).astype(np.uint16).view(BFLOAT16)


def rounded(array):
    """float32 numbers that bfloat16 holds: widen(narrow(array))."""
    return widen(narrow(array))
