"""Elementwise arithmetic: parallel loops for what networks do most, NumPy's broadcasting for the rest."""

import math

import numpy as np

from ..activation import GATES, check_activation, curve_of, limits_of, slope_limits_of
from ..bfloat16 import BFLOAT16, sum_dtype
from ..checks import check_alike, check_dropout, check_maps, check_sum_of
from .activation import bend, bend_slope, between, hardswish, hardswish_slope
from .arrays import contiguous, copy, empty
from .bfloat16 import narrow_as, numbers, wide
from .jit import jit_parallel
from .parts import PARTS, bounds
from .rounding import to_bfloat16, to_float32

_LEAST_SHARED = 2**14  # elements from which threads are started for a product; NumPy gives the same bits


def add(a, b):
    """a + b, broadcast."""
    check_sum_of("add", a, b)
    if a.shape == b.shape and a.dtype == b.dtype and a.flags.c_contiguous and b.flags.c_contiguous:
        total = empty(a.shape, a.dtype)
        _add(PARTS, _flat(a), _flat(b), _flat(total))
        return total
    if a.ndim > 1 and b.shape == a.shape[-1:] and b.dtype == sum_dtype(a.dtype) and a.size and a.flags.c_contiguous:
        total, (bias,) = empty(a.shape, a.dtype), contiguous(b)
        _add_bias(PARTS, _rows(a), bias, _rows(total))
        return total
    return _broadcast(np.add, a, b)


def multiply(a, b):
    """a * b, broadcast."""
    check_sum_of("multiply", a, b)
    large = max(a.size, b.size) >= _LEAST_SHARED
    if large and a.dtype == b.dtype and a.flags.c_contiguous and b.flags.c_contiguous:
        if a.shape == b.shape:
            product = empty(a.shape, a.dtype)
            _multiply(PARTS, _flat(a), _flat(b), _flat(product))
            return product
        if a.ndim == 4 and b.shape == _gate_shape(a):
            product = empty(a.shape, a.dtype)
            _multiply_gate(PARTS, _rows(a), _rows(b), _rows(product))
            return product
        if b.ndim == 4 and a.shape == _gate_shape(b):
            return multiply(b, a)
    return _broadcast(np.multiply, a, b)


def _broadcast(function, a, b):
    """What a function of NumPy gives; of bfloat16 the rounded result for float32."""
    if BFLOAT16 not in (a.dtype, b.dtype):
        return np.asarray(function(a, b))
    a, b = (to_float32(each) if each.dtype == BFLOAT16 else each for each in (a, b))
    return to_bfloat16(np.asarray(function(a, b)))


def _gate_shape(a):
    """The shape of one number for each image and channel."""
    return len(a), 1, 1, a.shape[-1]


def expand(a, shape):
    """A copy of `a` broadcast to `shape`."""
    return np.broadcast_to(numbers(a), shape).copy().view(a.dtype)


def sum_to(a, shape):
    """Sum over the axes that broadcasting from `shape` to a.shape has stretched; sum_to(a, ()) is the total.

    Sums of bfloat16 numbers are float32.
    """
    if len(shape) == 1 and a.ndim > 1 and shape == a.shape[-1:]:  # a bias: sum over pixels
        return _sums_over_pixels(a, 1).reshape(shape)
    if a.ndim == 4 and a.size and shape == _gate_shape(a):
        return _sums_over_pixels(a, len(a)).reshape(shape)
    a = to_float32(a) if a.dtype == BFLOAT16 else a
    if shape == a.shape:
        return a
    lead = a.ndim - len(shape)
    stretched = tuple(i for i in range(a.ndim) if i < lead or (shape[i - lead] == 1 and a.shape[i] != 1))
    return a.sum(axis=stretched, keepdims=True, dtype=np.float64).astype(a.dtype).reshape(shape)


def _sums_over_pixels(a, groups):
    """(groups, C) sums over the pixels of as many groups; in a fixed number of parts, which are added in order."""
    pixels = math.prod(a.shape[:-1]) // groups
    rows = numbers(np.ascontiguousarray(a)).reshape(groups, pixels, a.shape[-1])
    partial = np.zeros((groups, max(1, PARTS // groups), a.shape[-1]))
    _sum_rows(groups * partial.shape[1], rows, partial)
    return partial.sum(axis=1).astype(sum_dtype(a.dtype))


def activate(x, activation):
    """The activation of that name of every element: `kernels/activation.py` has the formulas. NaN stays NaN."""
    check_maps("activate", x=x)
    check_activation("activate", activation)
    if activation in GATES:
        y = copy(widened(x))
        _bend(PARTS, _flat(y), curve_of(activation))
        return rounded_as(x, y)
    y = empty(x.shape, x.dtype)
    flat = _flat(np.ascontiguousarray(x)), _flat(y)
    if activation == "hardswish":
        _hardswish(PARTS, *flat)
    else:
        _between(PARTS, *flat, limits_of(activation, sum_dtype(x.dtype)))
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
    if activation in GATES:
        slope = copy(widened(x))
        _bend_slope(PARTS, _flat(slope), curve_of(activation))
        return rounded_as(grad, widened(grad) * slope)
    grad_x = empty(x.shape, x.dtype)
    flat = [_flat(a) for a in (*contiguous(grad, x), grad_x)]
    if activation == "hardswish":
        _hardswish_grad(PARTS, *flat)
    else:
        _where_between(PARTS, *flat, slope_limits_of(activation, sum_dtype(x.dtype)))
    return grad_x


def dropout(x, rate, seed):
    """x / (1 - rate) where the element's random number is >= rate, else 0. Its own adjoint for the same seed.

    The random number of element i is the top 24 bits of splitmix64(seed + i * golden), so no mask is stored and nothing
    depends on threads. Source: Srivastava et al. 2014; Steele et al. 2014 (splitmix64).
    """
    check_dropout(x, rate)
    y = empty(x.shape, x.dtype)
    threshold, factor = np.uint64(rate * 2**24), sum_dtype(x.dtype).type(1 / (1 - rate))
    _dropout(PARTS, _flat(np.ascontiguousarray(x)), _flat(y), threshold, factor, np.uint64(seed % 2**64))
    return y


def widened(x):
    """x in the dtype of its sums: bfloat16 as float32."""
    return to_float32(x) if x.dtype == BFLOAT16 else x


def rounded_as(x, y):
    """y in the dtype of x."""
    return to_bfloat16(y) if x.dtype == BFLOAT16 else y


def _flat(array):
    """What kernels index of a contiguous array."""
    return numbers(array).reshape(-1)


def _rows(array):
    """The same by rows of channels."""
    return numbers(array).reshape(-1, array.shape[-1])


@jit_parallel
def _add(part, a, b, total):
    first, last = bounds(part, PARTS, a.size)
    p, q, out = a[first:last], b[first:last], total[first:last]
    for i in range(out.size):
        out[i] = narrow_as(wide(p[i]) + wide(q[i]), out[i])


@jit_parallel
def _add_bias(part, rows, bias, total):
    """total[i, c] = rows[i, c] + bias[c]."""
    first, last = bounds(part, PARTS, rows.shape[0])
    for i in range(first, last):
        row, out = rows[i], total[i]
        for c in range(bias.size):
            out[c] = narrow_as(wide(row[c]) + bias[c], out[c])


@jit_parallel
def _multiply(part, a, b, product):
    first, last = bounds(part, PARTS, a.size)
    p, q, out = a[first:last], b[first:last], product[first:last]
    for i in range(out.size):
        out[i] = narrow_as(wide(p[i]) * wide(q[i]), out[i])


@jit_parallel
def _multiply_gate(part, rows, gates, product):
    """product[i, c] = rows[i, c] gates[image of i, c]."""
    first, last = bounds(part, PARTS, rows.shape[0])
    pixels = rows.shape[0] // gates.shape[0]
    for i in range(first, last):
        row, gate, out = rows[i], gates[i // pixels], product[i]
        for c in range(out.size):
            out[c] = narrow_as(wide(row[c]) * wide(gate[c]), out[c])


@jit_parallel
def _sum_rows(job, rows, partial):
    """partial[group, part] += the rows of that part of the group's pixels."""
    parts = partial.shape[1]
    group = np.int64(job) // parts
    pixels, sums = rows[group], partial[group, np.int64(job) % parts]
    first, last = bounds(np.int64(job) % parts, parts, pixels.shape[0])
    for i in range(first, last):
        row = pixels[i]
        for c in range(sums.size):
            sums[c] += wide(row[c])


@jit_parallel
def _between(part, x, y, limits):
    low, high = limits
    first, last = bounds(part, PARTS, x.size)
    v, out = x[first:last], y[first:last]
    for i in range(out.size):
        out[i] = narrow_as(between(wide(v[i]), low, high), out[i])


@jit_parallel
def _where_between(part, grad, x, grad_x, limits):
    """grad where low < x <= high, else 0."""
    low, high = limits
    zero = grad.dtype.type(0)
    first, last = bounds(part, PARTS, x.size)
    g, v, out = grad[first:last], x[first:last], grad_x[first:last]
    for i in range(out.size):
        value = wide(v[i])
        out[i] = g[i] if (value > low) & (value <= high) else zero


@jit_parallel
def _hardswish(part, x, y):
    first, last = bounds(part, PARTS, x.size)
    v, out = x[first:last], y[first:last]
    for i in range(out.size):
        out[i] = narrow_as(hardswish(wide(v[i])), out[i])


@jit_parallel
def _hardswish_grad(part, grad, x, grad_x):
    first, last = bounds(part, PARTS, x.size)
    g, v, out = grad[first:last], x[first:last], grad_x[first:last]
    for i in range(out.size):
        out[i] = narrow_as(wide(g[i]) * hardswish_slope(wide(v[i])), out[i])


@jit_parallel
def _bend(part, y, curve):
    first, last = bounds(part, PARTS, y.size)
    bend(y[first:last], curve)


@jit_parallel
def _bend_slope(part, x, curve):
    first, last = bounds(part, PARTS, x.size)
    bend_slope(x[first:last], curve)


@jit_parallel
def _dropout(part, x, y, threshold, factor, seed):
    zero = type(factor)(0)
    first, last = bounds(part, PARTS, x.size)
    v, out, start = x[first:last], y[first:last], np.uint64(first + 1)
    for i in range(out.size):
        z = seed + (start + np.uint64(i)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        out[i] = narrow_as(wide(v[i]) * factor if (z >> np.uint64(40)) >= threshold else zero, out[i])
