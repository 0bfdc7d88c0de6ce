"""bfloat16 from its definition: to it and back, and what the other kernels of this folder do with it.

For bfloat16 maps a kernel is what its float32 code makes of the same numbers, rounded once. So none of the definitions
knows of bfloat16; `on_maps` stands around them.
"""

import functools
import inspect

import numpy as np

from ..bfloat16 import BFLOAT16, narrow, rounded, widen
from ..checks import check_maps, check_sum_of, check_to_bfloat16, check_to_float32


def to_bfloat16(x):
    """float32 -> the nearest bfloat16, of two the even one; NaN stays NaN.

    Args:
        x: float32 array of any shape. The error is at most 2^-8 |x| where |x| is at least 2^-126 and at most 3.38e38.
    """
    check_to_bfloat16(x)
    return narrow(x)


def to_float32(x):
    """bfloat16 -> float32, exact."""
    check_to_float32(x)
    return widen(x)


def on_maps(results=None):
    """Decorates a kernel of float32 maps so that it takes bfloat16 ones as well.

    They are widened, weights of convolutions (arguments called w) are rounded to bfloat16, and the first `results` of
    its arrays of floats (all, if None) are rounded at the end: those that are maps. The others stay float32.
    """

    def decorate(kernel):
        signature = inspect.signature(kernel)

        @functools.wraps(kernel)
        def on_bfloat16(*args, **kwargs):
            given = signature.bind(*args, **kwargs).arguments
            if not any(_is_map(a) for value in given.values() for a in _listed(value)):
                return kernel(*args, **kwargs)
            _check(kernel.__name__, given)
            for name, value in given.items():
                if name == "w":
                    given[name] = rounded(value)
                elif isinstance(value, (list, tuple)):
                    given[name] = [_wide(a) for a in value]
                else:
                    given[name] = _wide(value)
            return _narrowed(kernel(**given), results)

        return on_bfloat16

    return decorate


def _check(op, given):
    """As the kernel checks float32 arrays: maps are bfloat16 all, weights and what belongs to channels float32."""
    if op in ("add", "multiply"):  # which take a float32 bias beside a map
        check_sum_of(op, **given)
        return
    arrays = {}
    for name, value in given.items():
        for i, a in enumerate(_listed(value)):
            arrays["weight" if name == "w" else f"input {i}" if isinstance(value, (list, tuple)) else name] = a
    arrays.pop("sums", None)  # of batch norm: float64 beside maps of any dtype, as its own check says
    check_maps(op, **{name: a for name, a in arrays.items() if a.dtype.kind in "fV"})


def _listed(value):
    return [a for a in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(a, np.ndarray)]


def _is_map(value):
    return isinstance(value, np.ndarray) and value.dtype == BFLOAT16


def _wide(value):
    return widen(value) if _is_map(value) else value


def _narrowed(result, count):
    """The result with its first `count` float32 arrays rounded."""
    if not isinstance(result, (list, tuple)):
        return narrow(result) if count != 0 and getattr(result, "dtype", None) == np.float32 else result
    changed = []
    for position, value in enumerate(result):
        rounds = (count is None or position < count) and getattr(value, "dtype", None) == np.float32
        changed.append(narrow(value) if rounds else value)
    return type(result)(changed)
