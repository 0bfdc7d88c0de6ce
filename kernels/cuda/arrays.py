"""Device arrays: creation, copies between host and device, and the pool that their memory comes from.

A `DeviceArray` is a shape, a dtype and a flat buffer: always in C order, never a view of a part, without arithmetic.
A training step makes the same arrays again and again, and the driver's allocation stops the device; so a buffer goes
back to the pool when the last array on it dies, and is handed out again. All kernels run on one stream, so whoever gets
it next runs after whoever had it.
"""

import math
from collections import defaultdict, deque
from functools import lru_cache

import numpy as np

from ..bfloat16 import BFLOAT16
from ..checks import check_flatten, check_part
from .device import SIMULATED, Kernel, cuda, launch

_free = defaultdict(list)  # (elements, dtype) -> buffers that nobody uses
_PINNED_FROM = 64 if SIMULATED else 1 << 20  # bytes; a smaller copy is done as soon as the program could go on
_staging = deque([None] * 4)  # (pinned host memory, event after the last copy out of it), used in turn


class _Lease:
    """Owner of one buffer, which returns to the pool with it."""

    def __init__(self, key):
        self.idle, self.buffer = _free[key], None
        self.buffer = self.idle.pop() if self.idle else _allocate(*key)

    def __del__(self):
        if self.buffer is not None:  # there is none if the allocation failed
            self.idle.append(self.buffer)


def _allocate(elements, dtype):
    """Fresh memory; what lies idle in the pool is given up before the driver's refusal is believed."""
    try:
        return cuda.device_array(elements, dtype)
    except Exception as error:
        if not _is_refusal(error):
            raise
        release_pool()
        return cuda.device_array(elements, dtype)


def _is_refusal(error):
    """Whether memory is short. Not so if a kernel went wrong before: whoever calls the driver next hears of that."""
    return "OUT_OF_MEMORY" in str(error)  # numba-cuda's class for it has changed its place between versions


def _size_class(elements):
    """Round up to 1/8 of the power of two below, as on the CPU. Exact in the simulator, which checks bounds."""
    if SIMULATED:
        return elements
    step = 1 << max(elements.bit_length() - 4, 6)
    return -(-elements // step) * step


class DeviceArray:
    """An array in device memory.

    Attributes:
        shape, dtype, size, ndim, nbytes: as NumPy's; buffer: Numba's flat device array, at least `size` long.
    """

    device = "cuda"
    __slots__ = ("__weakref__", "_lease", "dtype", "shape", "size")

    def __init__(self, shape, dtype, lease):
        self.shape, self.dtype, self.size, self._lease = shape, dtype, math.prod(shape), lease

    @property
    def buffer(self):
        return self._lease.buffer

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def address(self):
        """Of the first element, in device memory."""
        return address_of(self.buffer)

    @property
    def __cuda_array_interface__(self):
        data = (self.address, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None, "version": 3}

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"DeviceArray({self.shape}, {self.dtype})"


def address_of(buffer):
    """Address of a flat device array's memory; in the simulator, of the NumPy array that stands for it."""
    if SIMULATED:
        return buffer._ary.ctypes.data
    return buffer.__cuda_array_interface__["data"][0]


def refuse_bfloat16():
    """Raise the TypeError of whoever asks for bfloat16 on this device."""
    raise TypeError("the device cuda has no bfloat16 kernels: compute in float32 there, or in tf32 (set_precision)")


def empty(shape, dtype=np.float32):
    """Array with undefined contents.

    Raises:
        MemoryError: with the shape, what it needs and what is free. TypeError: bfloat16.
    """
    shape, dtype = tuple(int(size) for size in shape), np.dtype(dtype)
    if dtype == BFLOAT16:
        refuse_bfloat16()
    try:
        return DeviceArray(shape, dtype, _Lease((_size_class(max(1, math.prod(shape))), dtype)))
    except Exception as error:
        if not _is_refusal(error):
            raise
        raise MemoryError(_out_of_memory(shape, dtype)) from error


def _out_of_memory(shape, dtype):
    needed = math.prod(shape) * dtype.itemsize
    try:
        free, total = cuda.current_context().get_memory_info()
        left = f"{free / 1e9:.2f} of {total / 1e9:.2f} GB are free"
    except Exception:  # without these words the message still says what to do
        left = "what is free is unknown"
    return f"an array of shape {shape}, {dtype}, needs {needed / 1e9:.2f} GB on the device; {left}"


def release_pool():
    """Give the memory of unused buffers back to the driver."""
    for idle in _free.values():
        idle.clear()  # the lists stay: buffers in use go back to them


def from_numpy(array):
    """A copy of a NumPy array on the device."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    result = empty(array.shape, array.dtype)
    if array.nbytes >= _PINNED_FROM:
        _upload(array, result.buffer[: array.size])
    elif array.size:
        result.buffer[: array.size].copy_to_device(np.ascontiguousarray(array).reshape(-1))
    return result


def _upload(array, target):
    """Copy a batch by way of pinned memory: kernels launched later wait for it, the program does not.

    It lies in the kernels' own stream, between the steps that it belongs to: on a stream of its own the copy could
    overtake kernels that still read what this memory held before, and 50 MB take less than a hundredth of a step.
    """
    _staging.rotate()
    memory, copied = _staging[0] or (None, cuda.event())
    copied.synchronize()  # before this memory is filled again, or given back because it is too small
    if memory is None or memory.size < array.nbytes:
        memory = cuda.pinned_array(array.nbytes, np.uint8)
    staged = memory[: array.nbytes].view(array.dtype)
    np.copyto(staged.reshape(array.shape), array)
    stream = 0 if SIMULATED else cuda.legacy_default_stream()  # the kernels' own; the program would wait for a mere 0
    target.copy_to_device(staged, stream=stream)
    copied.record(stream)
    _staging[0] = memory, copied


def to_numpy(array):
    """A copy in host memory."""
    if not isinstance(array, DeviceArray):
        raise TypeError(f"to_numpy: expected an array of this device, got {type(array).__name__}")
    if not array.size:
        return np.empty(array.shape, array.dtype)
    return array.buffer[: array.size].copy_to_host().reshape(array.shape)


@lru_cache(maxsize=1024)
def _constant(data, dtype, shape):
    return from_numpy(np.frombuffer(data, dtype).reshape(shape))


def constant(array):
    """A small host array on the device: the same numbers are copied once and kept."""
    return _constant(np.ascontiguousarray(array).tobytes(), array.dtype.str, array.shape)


def zeros(shape, dtype=np.float32):
    """Array of zeros."""
    return full(shape, 0, dtype)


def full(shape, value, dtype=np.float32):
    """Array filled with one value."""
    array = empty(shape, dtype)
    _fill.flat(array.size, array.size, array.dtype.type(value), array)
    return array


def copy(array):
    """A copy."""
    result = empty(array.shape, array.dtype)
    _copy.flat(array.size, array.size, array, result)
    return result


def reshape(array, shape):
    """The same memory in another shape of as many elements.

    Raises:
        ValueError: a shape of more or fewer.
    """
    if math.prod(shape) != array.size:
        raise ValueError(f"reshape: {array.shape} has {array.size} elements, {tuple(shape)} has {math.prod(shape)}")
    return DeviceArray(tuple(shape), array.dtype, array._lease)


def flatten(arrays, flat):
    """Copies the arrays, one after the other, into `flat` (numbers,), which they fill."""
    check_flatten(arrays, flat)
    first = 0
    for a in arrays:
        _copy_to.flat(a.size, a.size, a, flat, first)
        first += a.size


def part(flat, first, shape):
    """The numbers of `flat` from the first on as an array of that shape; here a copy of them."""
    check_part(flat, first, shape)
    result = empty(shape, flat.dtype)
    _copy_from.flat(result.size, result.size, flat, first, result)
    return result


def is_finite(array):
    """True if no element is NaN or infinite."""
    found = full((1,), 0, np.int32)
    _find_not_finite.flat(array.size, array.size, array, found)
    return not to_numpy(found)[0]


def launches():
    """How many kernels have been launched since the program began."""
    return launch.count


def synchronize():
    """Wait until all kernels are done."""
    cuda.synchronize()


@Kernel
def _fill(count, value, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = value


@Kernel
def _copy(count, x, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = x[i]


@Kernel
def _copy_to(count, x, y, first):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[first + i] = x[i]


@Kernel
def _copy_from(count, x, first, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = x[first + i]


@Kernel
def _find_not_finite(count, x, found):
    """found[0] <- 1; whoever finds one writes the same."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        if not math.isfinite(x[i]):
            found[0] = 1
