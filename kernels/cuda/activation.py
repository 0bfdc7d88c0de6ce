"""Activations of a number, for kernels to call; formulas in `kernels/activation.py`.

A kernel gets `low` and `high` and whether it is hardswish: keeping v between two numbers is none, relu or relu6. Gates
have kernels of their own (elementwise.py), which run after the others.
"""

import math

from .device import device_function


@device_function
def between(v, low, high):
    """v, but no less than low and no more than high; NaN stays NaN."""
    v = low if v < low else v
    return high if v > high else v


@device_function
def hardswish(v):
    """v relu6(v + 3) / 6 in three pieces: finite for every finite v, 0 at -infinity."""
    three, six = type(v)(3), type(v)(6)
    if v <= -three:
        return type(v)(0)
    if v >= three:
        return v
    return v * (v + three) / six


@device_function
def hardswish_slope(v):
    """The derivative of hardswish: (2 v + 3) / 6 between -3 and 3."""
    three, six = type(v)(3), type(v)(6)
    if v <= -three:
        return type(v)(0)
    if v >= three:
        return type(v)(1)
    return (v + v + three) / six


@device_function
def gate(v, is_hard):
    """Hardsigmoid, relu6(v + 3) / 6, or sigmoid, 1 / (1 + exp(-v))."""
    one, three, six = type(v)(1), type(v)(3), type(v)(6)
    if is_hard:
        return (between(v, -three, three) + three) / six
    e = math.exp(-abs(v))
    return (one if v >= 0 else e) / (one + e)


@device_function
def gate_slope(v, is_hard):
    """The derivative of that gate: 1/6 between -3 and 3, or y (1 - y)."""
    one, three, six = type(v)(1), type(v)(3), type(v)(6)
    if is_hard:
        return one / six if -three < v < three else type(v)(0)
    y = gate(v, is_hard)
    return y * (one - y)
