"""The polynomial exp: its error in units of the last place, and its limits."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from strategies import both_dtypes

from kernels.cpu.exponential import exponentiate

LIMITS = {np.float32: (-87.0, 88.0), np.float64: (-708.0, 709.0)}


def exp(values, dtype):
    x = np.array(values, dtype)
    exponentiate(x)
    return x


def grid(dtype, count):
    """Evenly over the range, densely around 0, and beside the odd multiples of log(2) / 2, where |r| is largest."""
    low, high = LIMITS[dtype]
    turns = (np.arange(np.ceil(low / np.log(2)), high / np.log(2) - 1) + 0.5) * np.log(2)
    near_zero = np.geomspace(1e-12, 1, count // 8)
    x = np.concatenate([np.linspace(low, high, count), -near_zero, near_zero, turns])
    x = np.unique(x.astype(dtype))
    return np.unique(np.concatenate([x, np.nextafter(x, dtype(low)), np.nextafter(x, dtype(high))]))


def test_float32_is_within_2_ulp():
    """Against NumPy's float64 exp, which is exact to 1e-9 float32 ulp."""
    x = grid(np.float32, 1_000_000)
    exact = np.exp(x.astype(np.float64))
    error = abs(exp(x, np.float32) - exact) / np.spacing(exact.astype(np.float32))
    assert error.max() <= 2


def test_float64_is_within_2_ulp():
    """Against decimal arithmetic of 30 digits."""
    x = grid(np.float64, 10_000)
    with localcontext() as context:
        context.prec = 30
        exact = [Decimal(v).exp() for v in x.tolist()]
        y = exp(x, np.float64).tolist()
        spacing = np.spacing([float(e) for e in exact]).tolist()
        error = [abs(Decimal(a) - e) / Decimal(s) for a, e, s in zip(y, exact, spacing, strict=True)]
    assert max(error) <= 2


@both_dtypes
def test_exp_never_falls(dtype):
    """Beyond rounding: where exp rises by less than an ulp from one number to the next, two values may swap 2 ulp."""
    low, high = LIMITS[dtype]
    y = exp(np.linspace(low, high, 100_000), dtype)
    assert (np.diff(y) > 0).all()


@both_dtypes
def test_outside_its_range_it_stays_at_the_ends(dtype):
    """Never 0 and never infinite: a softmax cannot divide by 0."""
    low, high = LIMITS[dtype]
    below, above, at_low, at_high = exp([-np.inf, np.inf, low, high], dtype)
    assert np.finfo(dtype).tiny <= below == at_low
    assert above == at_high < np.inf
    assert (exp([low - 1, -1e30], dtype) == at_low).all() and (exp([high + 1, 1e30], dtype) == at_high).all()


@both_dtypes
def test_zero_and_nan(dtype):
    assert exp([0.0, -0.0], dtype).tolist() == [1, 1]
    assert np.isnan(exp([np.nan], dtype)).all()


@both_dtypes
@pytest.mark.parametrize("count", [0, 1, 7, 33])
def test_any_length_gives_the_same_values(count, dtype):
    """The vectorised body and its scalar rest are the same arithmetic."""
    x = np.linspace(-5, 5, 33).astype(dtype)
    np.testing.assert_array_equal(exp(x[:count], dtype), exp(x, dtype)[:count])
