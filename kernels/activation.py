"""Activations by name, the same for all backends.

    None            v
    "relu"          max(v, 0)
    "relu6"         min(max(v, 0), 6)         MobileNet v2 (arXiv 1801.04381)
    "hardswish"     v relu6(v + 3) / 6        MobileNet v3 (arXiv 1905.02244), section 5.2
    "hardsigmoid"   relu6(v + 3) / 6          the same section: the gate of its squeeze-and-excitation
    "sigmoid"       1 / (1 + exp(-v))         the gate of LR-ASPP, the same paper, section 6.4

NaN stays NaN in each of them. The derivatives are

    "relu"          1 where v > 0, else 0
    "relu6"         1 where 0 < v < 6, else 0
    "hardswish"     0 where v <= -3, 1 where v >= 3, (2 v + 3) / 6 between
    "hardsigmoid"   1 / 6 where -3 < v < 3, else 0
    "sigmoid"       y (1 - y) of the result y

The result of relu or relu6 lies between the same numbers as v, so one kernel reads their derivative from either. That
of the others is read from v. Two values of v have the same result of hardswish, around its lowest point at -3/2.
"""

import numpy as np

_LIMITS = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}
_CURVES = ("hardswish", "hardsigmoid", "sigmoid")
HARDSWISH, HARDSIGMOID, SIGMOID = 1, 2, 3  # what `curve_of` gives
ACTIVATIONS = (*_LIMITS, *_CURVES)
SHOWN_BY_RESULT = ("relu", "relu6")  # those whose derivative can be read from the result as if it were v
GATES = ("hardsigmoid", "sigmoid")  # they take a pass of their own: on CUDA always, on the CPU after a batch norm


def check_activation(op, activation):
    """Raise ValueError unless `activation` is one of ACTIVATIONS."""
    if not (activation is None or isinstance(activation, str)) or activation not in ACTIVATIONS:
        names = ", ".join(map(repr, ACTIVATIONS[:-1]))
        raise ValueError(f"{op}: unknown activation {activation!r}; there are {names} and {ACTIVATIONS[-1]!r}")


def limits_of(activation, dtype):
    """(low, high) of the dtype: the result is v kept between them, of a curve after its own formula."""
    low, high = _LIMITS.get(activation, _LIMITS[None])
    return dtype.type(low), dtype.type(high)


def curve_of(activation):
    """HARDSWISH, HARDSIGMOID or SIGMOID; 0 for what `limits_of` says in full."""
    return _CURVES.index(activation) + 1 if activation in _CURVES else 0


def slope_limits_of(activation, dtype):
    """(low, high) of the dtype: the derivative of relu or relu6 is 1 where low < v <= high, else 0; at infinity 1."""
    low, high = limits_of(activation, dtype)
    return low, high if np.isinf(high) else np.nextafter(high, low)
