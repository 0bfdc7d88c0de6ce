"""Elementwise arithmetic: parallel loops for what networks do most, NumPy's broadcasting for the rest."""

import numpy as np
from numba import prange

from ..activation import check_activation, limits_of, slope_limits_of
from ..checks import check_alike, check_dropout, check_floats
from .activation import between, hardswish, hardswish_slope
from .arrays import copy, empty
from .jit import jit_parallel
from .parts import PARTS, bounds


def add(a, b):
    """a + b, broadcast."""
    check_floats("add", a=a, b=b)
    if a.shape != b.shape or not (a.flags.c_contiguous and b.flags.c_contiguous):
        return np.asarray(a + b)
    total = empty(a.shape, a.dtype)
    _add(a.reshape(-1), b.reshape(-1), total.reshape(-1))
    return total


def multiply(a, b):
    """a * b, broadcast."""
    check_floats("multiply", a=a, b=b)
    return np.asarray(a * b)


def expand(a, shape):
    """A copy of `a` broadcast to `shape`."""
    return np.broadcast_to(a, shape).copy()


def sum_to(a, shape):
    """Sum over the axes that broadcasting from `shape` to a.shape has stretched; sum_to(a, ()) is the total."""
    if shape == a.shape:
        return a
    if len(shape) == 1 and a.ndim > 1 and shape == a.shape[-1:]:  # a bias: sum over pixels
        rows = np.ascontiguousarray(a).reshape(-1, a.shape[-1])
        partial = np.zeros((PARTS, a.shape[-1]))
        _sum_rows(rows, partial)
        return partial.sum(axis=0).astype(a.dtype)
    lead = a.ndim - len(shape)
    stretched = tuple(i for i in range(a.ndim) if i < lead or (shape[i - lead] == 1 and a.shape[i] != 1))
    return a.sum(axis=stretched, keepdims=True, dtype=np.float64).astype(a.dtype).reshape(shape)


def activate(x, activation):
    """The activation of that name of every element: `kernels/activation.py` has the formulas. NaN stays NaN."""
    check_floats("activate", x=x)
    check_activation("activate", activation)
    y = empty(x.shape, x.dtype)
    flat_x, flat_y = np.ascontiguousarray(x).reshape(-1), y.reshape(-1)
    if activation == "hardswish":
        _hardswish(flat_x, flat_y)
    else:
        _between(flat_x, flat_y, limits_of(activation, x.dtype))
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
    flat = (np.ascontiguousarray(grad).reshape(-1), np.ascontiguousarray(x).reshape(-1), grad_x.reshape(-1))
    if activation == "hardswish":
        _hardswish_grad(*flat)
    else:
        _where_between(*flat, slope_limits_of(activation, x.dtype))
    return grad_x


def dropout(x, rate, seed):
    """x / (1 - rate) where the element's random number is >= rate, else 0. Its own adjoint for the same seed.

    The random number of element i is the top 24 bits of splitmix64(seed + i * golden), so no mask is stored and nothing
    depends on threads. Source: Srivastava et al. 2014; Steele et al. 2014 (splitmix64).
    """
    check_dropout(x, rate)
    y = empty(x.shape, x.dtype)
    threshold, factor = np.uint64(rate * 2**24), x.dtype.type(1 / (1 - rate))
    _dropout(np.ascontiguousarray(x).reshape(-1), y.reshape(-1), threshold, factor, np.uint64(seed % 2**64))
    return y


@jit_parallel
def _add(a, b, total):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, a.size)
        p, q, out = a[first:last], b[first:last], total[first:last]
        for i in range(out.size):
            out[i] = p[i] + q[i]


@jit_parallel
def _sum_rows(rows, partial):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, rows.shape[0])
        for i in range(first, last):
            for c in range(rows.shape[1]):
                partial[np.int64(part), c] += rows[i, c]


@jit_parallel
def _between(x, y, limits):
    low, high = limits
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.size)
        v, out = x[first:last], y[first:last]
        for i in range(out.size):
            out[i] = between(v[i], low, high)


@jit_parallel
def _where_between(grad, x, grad_x, limits):
    """grad where low < x <= high, else 0."""
    low, high = limits
    zero = x.dtype.type(0)
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.size)
        g, v, out = grad[first:last], x[first:last], grad_x[first:last]
        for i in range(out.size):
            out[i] = g[i] if (v[i] > low) & (v[i] <= high) else zero


@jit_parallel
def _hardswish(x, y):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.size)
        v, out = x[first:last], y[first:last]
        for i in range(out.size):
            out[i] = hardswish(v[i])


@jit_parallel
def _hardswish_grad(grad, x, grad_x):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.size)
        g, v, out = grad[first:last], x[first:last], grad_x[first:last]
        for i in range(out.size):
            out[i] = g[i] * hardswish_slope(v[i])


@jit_parallel
def _dropout(x, y, threshold, factor, seed):
    zero = x.dtype.type(0)
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, x.size)
        v, out, start = x[first:last], y[first:last], np.uint64(first + 1)
        for i in range(out.size):
            z = seed + (start + np.uint64(i)) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
            out[i] = v[i] * factor if (z >> np.uint64(40)) >= threshold else zero
