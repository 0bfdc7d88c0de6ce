"""Elementwise arithmetic with NumPy's broadcasting, and its adjoint `sum_to`."""

import math

import numba
import numpy as np

from ..activation import GATES, check_activation, limits_of, slope_limits_of
from ..checks import check_alike, check_dropout, check_floats
from .activation import between, gate, gate_slope, hardswish, hardswish_slope
from .arrays import copy, empty
from .device import THREADS, Kernel, cuda, device_function

_PARTS = 2 if THREADS < 32 else 256  # parts of a sum that has few results


def add(a, b):
    """a + b, broadcast."""
    check_floats("add", a=a, b=b)
    return _broadcast(_add, a, b)


def multiply(a, b):
    """a * b, broadcast."""
    check_floats("multiply", a=a, b=b)
    return _broadcast(_multiply, a, b)


def expand(a, shape):
    """A copy of `a` broadcast to `shape`."""
    y = empty(shape, a.dtype)
    _expand.flat(y.size, y.size, a, y, *_axes(shape, a.shape))
    return y


def sum_to(a, shape):
    """Sum over the axes that broadcasting from `shape` to a.shape has stretched; sum_to(a, ()) is the total.

    Each result has one block, or a fixed number of them, and one order of its sum.
    """
    if tuple(shape) == a.shape:
        return copy(a)
    y = empty(shape, a.dtype)
    if not y.size:
        return y
    lead = a.ndim - len(shape)
    stretched = [i < lead or (shape[i - lead] == 1 and a.shape[i] != 1) for i in range(a.ndim)]
    kept, summed = (
        [axis for axis, s in zip(_axes_of(a), stretched, strict=True) if s == over] for over in (False, True)
    )
    length = math.prod(size for size, _ in summed)
    parts = 1 if y.size >= _PARTS or length < _PARTS * THREADS else _PARTS
    partial = empty((y.size, parts), np.float64)
    _sum_axes((y.size, parts), THREADS, a, partial, length, *_columns(kept), *_columns(summed))
    _add_parts.flat(y.size, y.size, parts, partial, y)
    return y


def activate(x, activation):
    """The activation of that name of every element: `kernels/activation.py` has the formulas. NaN stays NaN."""
    check_floats("activate", x=x)
    check_activation("activate", activation)
    y = empty(x.shape, x.dtype)
    if activation in GATES:
        _gate.flat(x.size, x.size, x, y, activation == "hardsigmoid")
        return y
    _activate.flat(x.size, x.size, x, y, *limits_of(activation, x.dtype), activation == "hardswish")
    return y


def activate_grad(grad, x, activation):
    """grad activation'(x); the derivatives stand in `kernels/activation.py`.

    Args:
        grad, x: arrays of one shape. The derivative of relu and relu6 can be read from activate(x) as well.
    """
    check_alike("activate", grad=grad, x=x)
    check_activation("activate", activation)
    if activation is None:
        return copy(grad)
    grad_x = empty(x.shape, x.dtype)
    if activation in GATES:
        _gate_grad.flat(x.size, x.size, grad, x, grad_x, activation == "hardsigmoid")
        return grad_x
    low, high = slope_limits_of(activation, x.dtype)
    _activate_grad.flat(x.size, x.size, grad, x, grad_x, low, high, activation == "hardswish")
    return grad_x


def dropout(x, rate, seed):
    """x / (1 - rate) where the element's random number is >= rate, else 0. Its own adjoint for the same seed.

    The random number of element i is the top 24 bits of splitmix64(seed + i * golden), so no mask is stored and nothing
    depends on threads. Source: Srivastava et al. 2014; Steele et al. 2014 (splitmix64).
    """
    check_dropout(x, rate)
    y = empty(x.shape, x.dtype)
    least, scale = np.uint64(rate * 2**24), x.dtype.type(1 / (1 - rate))
    _dropout.flat(x.size, x.size, np.uint64(seed % 2**64), least, scale, x, y)
    return y


def _broadcast(kernel, a, b):
    y = empty(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    if a.shape == b.shape:
        kernel.flat(y.size, y.size, a, b, y, (1,), (1,), (1,))
    else:
        sizes, steps_a = _axes(y.shape, a.shape)
        kernel.flat(y.size, y.size, a, b, y, sizes, steps_a, _axes(y.shape, b.shape)[1])
    return y


def _axes(shape, of):
    """(sizes, steps): the axes of `shape` and how far a step along each moves in a broadcast array of shape `of`."""
    of = (1,) * (len(shape) - len(of)) + tuple(of)
    steps, step = [], 1
    for size in of[::-1]:
        steps.append(0 if size == 1 else step)
        step *= size
    return (tuple(shape), tuple(steps[::-1])) if shape else ((1,), (0,))


def _axes_of(a):
    """(size, step) of every axis of an array."""
    steps = [math.prod(a.shape[i + 1 :]) for i in range(a.ndim)]
    return list(zip(a.shape, steps, strict=True))


def _columns(axes):
    """(sizes, steps) of (size, step) pairs; an axis of one element for none."""
    return tuple(zip(*(axes or [(1, 0)]), strict=True))


@device_function
def _offset(i, sizes, steps):
    """Where element i of an array of `sizes` lies in one whose axes advance by `steps`; one axis is not divided."""
    offset = 0
    for axis in range(len(sizes) - 1, 0, -1):
        offset += i % sizes[axis] * steps[axis]
        i //= sizes[axis]
    return offset + i * steps[0]


@Kernel
def _add(count, a, b, y, sizes, steps_a, steps_b):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = a[_offset(i, sizes, steps_a)] + b[_offset(i, sizes, steps_b)]


@Kernel
def _multiply(count, a, b, y, sizes, steps_a, steps_b):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = a[_offset(i, sizes, steps_a)] * b[_offset(i, sizes, steps_b)]


@Kernel
def _expand(count, a, y, sizes, steps):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = a[_offset(i, sizes, steps)]


@Kernel
def _sum_axes(a, partial, length, kept_sizes, kept_steps, sizes, steps):
    """Block (o, part): partial[o, part] = sum of every parts-th run of the elements of result o, as a tree."""
    sums = cuda.shared.array(THREADS, numba.float64)
    t, o, part, parts = cuda.threadIdx.x, cuda.blockIdx.x, cuda.blockIdx.y, cuda.gridDim.y
    origin = _offset(o, kept_sizes, kept_steps)
    total = 0.0
    for i in range(part * THREADS + t, length, parts * THREADS):
        total += np.float64(a[origin + _offset(i, sizes, steps)])
    sums[t] = total
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            sums[t] += sums[t + half]
        cuda.syncthreads()
        half //= 2
    if t == 0:
        partial[o * parts + part] = sums[0]


@Kernel
def _add_parts(count, parts, partial, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        total = 0.0
        for part in range(parts):
            total += partial[i * parts + part]
        y[i] = total


@Kernel
def _activate(count, x, y, low, high, is_hardswish):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = hardswish(x[i]) if is_hardswish else between(x[i], low, high)


@Kernel
def _activate_grad(count, grad, x, grad_x, low, high, is_hardswish):
    """grad times the slope of hardswish; else grad where low < x <= high."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        if is_hardswish:
            grad_x[i] = grad[i] * hardswish_slope(x[i])
        else:
            grad_x[i] = grad[i] if low < x[i] <= high else x.dtype.type(0)


@Kernel
def _gate(count, x, y, is_hard):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = gate(x[i], is_hard)


@Kernel
def _gate_grad(count, grad, x, grad_x, is_hard):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        grad_x[i] = grad[i] * gate_slope(x[i], is_hard)


@Kernel
def _dropout(count, seed, least, scale, x, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        z = seed + (np.uint64(i) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        y[i] = x[i] * scale if (z >> np.uint64(40)) >= least else x.dtype.type(0)
