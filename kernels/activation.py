"""Activations by name, the same for all backends.

    None          v
    "relu"        max(v, 0)
    "relu6"       min(max(v, 0), 6)         MobileNet v2 (arXiv 1801.04381)
    "hardswish"   v relu6(v + 3) / 6        MobileNet v3 (arXiv 1905.02244), section 5.2

NaN stays NaN in each of them. The derivatives are

    "relu"        1 where v > 0, else 0
    "relu6"       1 where 0 < v < 6, else 0
    "hardswish"   0 where v <= -3, 1 where v >= 3, (2 v + 3) / 6 between

The result of relu or relu6 lies between the same numbers as v, so their derivative can be read from it as well. That of
hardswish needs v: -3/2 is its lowest point, and two values of v have the same result around it.
"""

import numpy as np

_LIMITS = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6), "hardswish": (-np.inf, np.inf)}
ACTIVATIONS = tuple(_LIMITS)
SHOWN_BY_RESULT = ("relu", "relu6")  # those whose derivative can be read from the result


def check_activation(op, activation):
    """Raise ValueError unless `activation` is one of ACTIVATIONS."""
    if not (activation is None or isinstance(activation, str)) or activation not in _LIMITS:
        names = ", ".join(map(repr, ACTIVATIONS[:-1]))
        raise ValueError(f"{op}: unknown activation {activation!r}; there are {names} and {ACTIVATIONS[-1]!r}")


def limits_of(activation, dtype):
    """(low, high) of the dtype: the result is v kept between them, of hardswish after its own formula."""
    low, high = _LIMITS[activation]
    return dtype.type(low), dtype.type(high)


def slope_limits_of(activation, dtype):
    """(low, high) of the dtype: the derivative of relu or relu6 is 1 where low < v <= high, else 0; at infinity 1."""
    low, high = limits_of(activation, dtype)
    return low, high if np.isinf(high) else np.nextafter(high, low)
