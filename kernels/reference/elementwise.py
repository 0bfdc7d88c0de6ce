"""Elementwise arithmetic with NumPy's broadcasting, and its adjoint `sum_to`."""

import numpy as np

from ..activation import check_activation
from ..checks import check_alike, check_dropout, check_maps, check_sum_of
from .rounding import on_maps


@on_maps()
def add(a, b):
    """a + b, broadcast."""
    check_sum_of("add", a, b)
    return np.asarray(a + b)


@on_maps()
def multiply(a, b):
    """a * b, broadcast."""
    check_sum_of("multiply", a, b)
    return np.asarray(a * b)


@on_maps()
def expand(a, shape):
    """A copy of `a` broadcast to `shape`."""
    return np.broadcast_to(a, shape).copy()


@on_maps(0)
def sum_to(a, shape):
    """Sum over the axes that broadcasting from `shape` to a.shape has stretched; sum_to(a, ()) is the total.

    Sums of bfloat16 numbers are float32.
    """
    lead = a.ndim - len(shape)
    stretched = tuple(i for i in range(a.ndim) if i < lead or (shape[i - lead] == 1 and a.shape[i] != 1))
    return a.sum(axis=stretched, keepdims=True, dtype=np.float64).astype(a.dtype).reshape(shape)


@on_maps()
def activate(x, activation):
    """The activation of that name of every element: `kernels/activation.py` has the formulas. NaN stays NaN."""
    check_maps("activate", x=x)
    check_activation("activate", activation)
    zero, three, six = (x.dtype.type(number) for number in (0, 3, 6))
    if activation == "relu":
        return np.maximum(x, zero)
    if activation == "relu6":
        return np.minimum(np.maximum(x, zero), six)
    if activation == "hardswish":  # in three pieces: x relu6(x + 3) would not be finite for a large x
        inner = np.clip(x, -three, three)
        return np.where(x <= -3, zero, np.where(x >= 3, x, inner * (inner + three) / six))
    if activation == "hardsigmoid":
        return (np.clip(x, -three, three) + three) / six
    if activation == "sigmoid":
        with np.errstate(over="ignore"):  # beside an infinite exp the result is 0, as it should
            return 1 / (1 + np.exp(-x))
    return x.copy()


@on_maps()
def activate_grad(grad, x, activation):
    """grad activation'(x); the derivatives stand in `kernels/activation.py`.

    Args:
        grad, x: arrays of one shape. The derivative of relu and relu6 can be read from activate(x) as well.
    """
    check_alike("activate", grad=grad, x=x)
    check_activation("activate", activation)
    zero, three, six = (x.dtype.type(number) for number in (0, 3, 6))
    if activation == "relu":
        return np.where(x > 0, grad, zero)
    if activation == "relu6":
        return np.where((x > 0) & (x < 6), grad, zero)
    if activation == "hardswish":
        inner = np.clip(x, -three, three)
        return np.where(x <= -3, zero, np.where(x >= 3, grad, grad * ((inner + inner + three) / six)))
    if activation == "hardsigmoid":
        return np.where((x > -3) & (x < 3), grad / six, zero)
    if activation == "sigmoid":
        y = activate(x, activation)
        return grad * (y * (1 - y))
    return grad.copy()


@on_maps()
def dropout(x, rate, seed):
    """x / (1 - rate) where the element's random number is >= rate, else 0. Its own adjoint for the same seed.

    The random number of element i is the top 24 bits of splitmix64(seed + i * golden), so no mask is stored and nothing
    depends on threads. Source: Srivastava et al. 2014; Steele et al. 2014 (splitmix64).
    """
    check_dropout(x, rate)
    i = np.arange(x.size, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed % 2**64) + (i + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    keep = (z >> np.uint64(40)).reshape(x.shape) >= np.uint64(rate * 2**24)
    return np.where(keep, x * x.dtype.type(1 / (1 - rate)), x.dtype.type(0))
