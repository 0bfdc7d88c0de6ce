"""Softmax and log-softmax against float64 formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from strategies import (
    arrange,
    assert_close,
    both_dtypes,
    each_backend,
    image_shapes,
    layouts,
    normal,
    seeds,
)

scales = st.sampled_from((0.1, 1.0, 30.0, 1e4))
FLOOR = 1e-37  # in float32 the CPU's exp ends at 2^-126, not at 0


def logits_of(seed, shape, scale, dtype):
    return (scale * normal(seed, shape)).astype(dtype)


def spread(x):
    """What rounding of x - max(x) can move a logarithm by, in eps: the largest |x| and the depth below the maximum."""
    return abs(x).max(axis=-1, keepdims=True) + (x.max(axis=-1, keepdims=True) - x) + 1


# -------------------------------------------------------------------- softmax and log-softmax


@each_backend
@both_dtypes
@given(shape=image_shapes(), seed=seeds, scale=scales, layout=layouts)
def test_softmax_is_scipys_and_sums_to_one(k, dtype, shape, seed, scale, layout):
    x = logits_of(seed, shape, scale, dtype)
    wide, y = x.astype(np.float64), k.softmax(arrange(x, layout))
    expected = special.softmax(wide, axis=-1)
    assert y.dtype == dtype
    assert_close(y, expected, expected * (spread(wide) + shape[-1]), terms=4, floor=FLOOR)
    assert_close(y.sum(axis=-1, dtype=np.float64).astype(dtype), np.ones(shape[:-1]), 1.0, terms=shape[-1] + 4)


@each_backend
@both_dtypes
@given(shape=image_shapes(), seed=seeds, scale=scales, layout=layouts)
def test_log_softmax_is_scipys(k, dtype, shape, seed, scale, layout):
    x = logits_of(seed, shape, scale, dtype)
    wide = x.astype(np.float64)
    expected = special.log_softmax(wide, axis=-1)
    assert_close(k.log_softmax(arrange(x, layout)), expected, spread(wide) + shape[-1], terms=4)


@each_backend
@both_dtypes
def test_a_shift_changes_nothing(k, dtype):
    """Shifts by powers of two of numbers on a grid are exact, so the results are equal to the bit."""
    x = np.round(8 * normal(1, (1, 5, 6, 21))).astype(dtype)
    for shift in (-1024, 4096):
        np.testing.assert_array_equal(k.softmax(x + dtype(shift)), k.softmax(x))


@each_backend
@both_dtypes
@given(shape=image_shapes(), seed=seeds, layout=layouts)
def test_gradients_of_both(k, dtype, shape, seed, layout):
    """softmax: J = diag(y) - y y^T; log-softmax: J = 1 - 1 softmax^T."""
    x, grad = normal(seed, shape, shape, dtype=dtype)
    p, wide = special.softmax(x.astype(np.float64), axis=-1), grad.astype(np.float64)
    total, weighted = wide.sum(axis=-1, keepdims=True), (wide * p).sum(axis=-1, keepdims=True)
    magnitude, terms = abs(wide).sum(axis=-1, keepdims=True), shape[-1] + 8
    of_softmax = k.softmax_grad(arrange(grad, layout), arrange(p.astype(dtype), layout))
    assert_close(of_softmax, p * (wide - weighted), p * (abs(wide) + magnitude), terms)
    y = np.log(p)
    of_log = k.log_softmax_grad(arrange(grad, layout), arrange(y.astype(dtype), layout))
    assert_close(of_log, wide - p * total, abs(wide) + p * (1 + abs(y)) * magnitude, terms)


@each_backend
@both_dtypes
@given(shape=image_shapes(), seed=seeds, layout=layouts)
def test_argmax_is_numpys(k, dtype, shape, seed, layout):
    """Few different numbers, so that there are equals; and some NaN."""
    x = np.round(normal(seed, shape)).astype(dtype)
    x[normal(seed + 1, shape) > 2] = np.nan
    labels = k.argmax(arrange(x, layout))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, x.argmax(axis=-1))


@each_backend
def test_argmax_numbers_by_uint8(k):
    with pytest.raises(
        ValueError, match=r"argmax: x must have 1 to 256 channels in its last axis, got shape \(2, 257\)"
    ):
        k.argmax(np.zeros((2, 257), np.float32))


# -------------------------------------------------------------------- errors


@each_backend
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_refuses_integers(k, name):
    with pytest.raises(TypeError, match=f"{name}: x must be float32 or float64, got int64"):
        getattr(k, name)(np.ones((2, 3), int))
    with pytest.raises(TypeError, match=f"{name}: arrays must share one dtype"):
        getattr(k, f"{name}_grad")(np.ones((2, 3)), np.ones((2, 3), np.float32))
