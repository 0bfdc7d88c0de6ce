"""Creation and conversion of arrays, with a pool for large buffers.

A training step makes the same arrays again and again. Fresh memory from the system costs a page fault every 4 KiB,
several times what a kernel needs to fill it, so large buffers go back to a pool when their last view dies and are
handed out again, if need be to an array of half their size: the large maps of a network's first layers are free when
its last layers ask for small ones. On this backend an array is a NumPy array.
"""

import math
from collections import defaultdict

import numpy as np

from ..bfloat16 import BFLOAT16, narrow
from ..checks import check_flatten, check_part
from .bfloat16 import numbers

_POOLED_FROM = 1 << 20  # bytes; smaller arrays are cheap to allocate
_LINE = 64  # bytes of a cache line: arrays start at one, for a vector across two lines costs two accesses
_free = defaultdict(list)  # size in bytes -> buffers that nobody uses


class _Lease:
    """Owner of one pooled buffer: NumPy keeps it alive as the base of every view, and its end returns the buffer."""

    def __init__(self, size):
        pooled = _pooled(size)
        self.buffer = _allocate(size) if pooled is None else pooled
        self.__array_interface__ = self.buffer.__array_interface__

    def __del__(self):
        if hasattr(self, "buffer"):  # there is none if the allocation failed
            _free[self.buffer.nbytes].append(self.buffer)


def _pooled(size):
    """The smallest free buffer of `size` bytes, a size class, to twice as many; or None."""
    wanted = size
    while wanted <= 2 * size:
        if _free[wanted]:
            return _free[wanted].pop()
        wanted = _size_class(wanted + 1)
    return None


def _allocate(size):
    """Fresh memory; what lies idle in the pool is given up before the system's refusal is believed."""
    try:
        return _aligned(size)
    except MemoryError:
        release_pool()
        return _aligned(size)


def _aligned(size):
    """`size` bytes that start at a cache line."""
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size]


def _size_class(size):
    """Round up to 1/8 of the power of two below, so that images of nearly equal size share buffers (< 13 % waste)."""
    step = 1 << max(size.bit_length() - 4, 0)
    return -(-size // step) * step


def empty(shape, dtype=np.float32):
    """Array with undefined contents; a large one may reuse memory."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _POOLED_FROM:
        return _aligned(size).view(dtype).reshape(shape)
    return np.asarray(_Lease(_size_class(size)))[:size].view(dtype).reshape(shape)


def release_pool():
    """Give the memory of unused buffers back to the system."""
    _free.clear()


def from_numpy(array):
    """The array on this device (the identity here)."""
    return array


def to_numpy(array):
    """The array in host memory (the identity here)."""
    return array


def zeros(shape, dtype=np.float32):
    """Array of zeros."""
    return full(shape, 0, dtype)


def full(shape, value, dtype=np.float32):
    """Array filled with one value."""
    array = empty(shape, dtype)
    if array.dtype == BFLOAT16:
        numbers(array).fill(numbers(narrow(np.float32(value)))[()])
    else:
        array.fill(value)
    return array


def copy(array):
    """A contiguous copy."""
    result = empty(array.shape, array.dtype)
    np.copyto(numbers(result), numbers(array))
    return result


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
    if array.dtype == BFLOAT16:  # infinity and NaN have all bits of the exponent
        return bool((numbers(array) & 0x7F80 != 0x7F80).all())
    return bool(np.isfinite(array).all())


def synchronize():
    """Wait until all kernels are done (they are when they return)."""


def contiguous(*arrays):
    """The arrays in C order, copied only where they are not: kernels index flat memory."""
    return [np.ascontiguousarray(a) for a in arrays]
