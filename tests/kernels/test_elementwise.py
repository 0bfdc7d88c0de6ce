"""Arithmetic with broadcasting, activations, dropout; layout changes; the optimiser's step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from strategies import (
    ACTIVATIONS,
    activations,
    arrange,
    assert_close,
    both_dtypes,
    each_backend,
    every_activation,
    image_shapes,
    inner,
    layouts,
    normal,
    seeds,
)

import kernels
from kernels.activation import GATES, SHOWN_BY_RESULT, curve_of

pairs = mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5)
cpu, reference = kernels.load("cpu"), kernels.load("reference")

# -------------------------------------------------------------------- broadcasting


@each_backend
@both_dtypes
@pytest.mark.parametrize("name", ["add", "multiply"])
@given(shapes=pairs, seed=seeds, layout=layouts)
def test_add_and_multiply_are_numpys(k, dtype, name, shapes, seed, layout):
    a, b = (np.asarray(a, dtype) for a in normal(seed, *shapes.input_shapes))
    if min(a.ndim, b.ndim) > 0:
        a, b = arrange(a, layout), arrange(b, layout)
    result = getattr(k, name)(a, b)
    assert result.dtype == dtype and result.shape == shapes.result_shape
    np.testing.assert_array_equal(result, getattr(np, name)(a, b))


@each_backend
@both_dtypes
@given(shape=image_shapes(), seed=seeds, layout=layouts)
def test_a_gate_multiplies_each_channel_of_each_image(k, dtype, shape, seed, layout):
    """From either side; its adjoint in the gate sums over the pixels of each image."""
    n, _, _, c = shape
    x, gate, grad = normal(seed, shape, (n, 1, 1, c), shape, dtype=dtype)
    for a, b in ((x, gate), (gate, x)):
        np.testing.assert_array_equal(k.multiply(arrange(a, layout), arrange(b, layout)), x * gate)
    product = x * grad
    expected = np.array([[each[..., i].sum(dtype=np.float64) for i in range(c)] for each in product])
    magnitude = abs(product).astype(np.float64).sum(axis=(1, 2), keepdims=True)
    summed = k.sum_to(arrange(product, layout), (n, 1, 1, c))
    assert_close(summed, expected.reshape(n, 1, 1, c), magnitude, terms=1 if dtype == np.float32 else product.size)


@each_backend
@both_dtypes
@given(shapes=pairs, seed=seeds)
def test_sum_to_is_the_adjoint_of_expand(k, dtype, shapes, seed):
    """<expand(a), g> = <a, sum_to(g)>."""
    shape, result_shape = shapes.input_shapes[0], shapes.result_shape
    a, g = (np.asarray(v, dtype) for v in normal(seed, shape, result_shape))
    expanded, summed = k.expand(a, result_shape), k.sum_to(g, shape)
    assert expanded.shape == result_shape and expanded.flags.writeable and expanded.dtype == dtype
    assert summed.shape == shape and summed.dtype == dtype
    np.testing.assert_array_equal(expanded, np.broadcast_to(a, result_shape))
    magnitude = inner(np.abs(expanded), np.abs(g))
    assert_close(dtype(inner(expanded, g) - inner(a, summed)), 0.0, magnitude, terms=4 + g.size)


@each_backend
@given(shape=image_shapes(), seed=seeds, layout=layouts)
def test_a_float32_sum_is_made_in_float64(k, shape, seed, layout):
    """The result is the float64 sum, rounded once: a bias gradient over millions of pixels stays right."""
    a = normal(seed, shape, dtype=np.float32)
    for to in ((), (shape[3],), (1, 1, 1, shape[3]), (shape[0], 1, 1, shape[3])):
        wide = reference.sum_to(a.astype(np.float64), to)
        magnitude = reference.sum_to(abs(a).astype(np.float64), to)
        result = k.sum_to(arrange(a, layout), to)
        assert_close(result, wide, abs(wide), terms=1, floor=a.size * 2.3e-16 * magnitude)


@each_backend
@pytest.mark.parametrize("name", ["add", "multiply"])
def test_arithmetic_refuses_what_numpy_would_promote(k, name):
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match=f"{name}: arrays must share one dtype, got a float32, b float64"):
        getattr(k, name)(x, x.astype(np.float64))
    with pytest.raises(TypeError, match=f"{name}: b must be an array, got list"):
        getattr(k, name)(x, [1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=f"{name}: a must be float32 or float64, got int64"):
        getattr(k, name)(np.ones(3, int), x)


# -------------------------------------------------------------------- activations


@each_backend
@both_dtypes
@given(activation=activations, shape=image_shapes(), seed=seeds, layout=layouts)
def test_activations_are_their_definitions(k, dtype, activation, shape, seed, layout):
    x = 4 * normal(seed, shape, dtype=dtype)
    y = k.activate(arrange(x, layout), activation)
    assert y.dtype == dtype and not np.shares_memory(x, y)
    expected = ACTIVATIONS[activation](x.astype(np.float64))
    if curve_of(activation):
        assert_close(y, expected, expected if activation in GATES else abs(x), terms=6)
    else:
        np.testing.assert_array_equal(y, expected)


@each_backend
@both_dtypes
@given(activation=activations, shape=image_shapes(), seed=seeds, layout=layouts)
def test_their_gradients_are_the_slopes(k, dtype, activation, shape, seed, layout):
    """In float64 by differences, which are exact to 1e-8 where no element is within a step of a kink."""
    x, grad = normal(seed, shape, shape, dtype=dtype)
    x = 4 * x
    kinks = np.min([abs(x - kink) for kink in (-3, 0, 3, 6)], axis=0)
    x = np.where(kinks < 1e-4, dtype(1), x)
    actual = k.activate_grad(arrange(grad, layout), arrange(x, layout), activation)
    wide, definition, step = x.astype(np.float64), ACTIVATIONS[activation], 1e-6
    slope = (definition(wide + step) - definition(wide - step)) / (2 * step)
    assert actual.dtype == dtype and not np.shares_memory(actual, grad)
    assert_close(actual, grad * slope, abs(grad), terms=4, floor=1e-8 * abs(grad))
    if activation in SHOWN_BY_RESULT:
        np.testing.assert_array_equal(k.activate_grad(grad, k.activate(x, activation), activation), actual)


KINKS = np.array([np.nan, np.inf, -np.inf, -0.0, 1, 6, 7, -3, 3, 1e38])

OPEN, SHUT = ACTIVATIONS["sigmoid"](KINKS), ACTIVATIONS["sigmoid"](-KINKS)
SPECIAL = {  # name: (results, slopes) of the numbers below
    None: ([np.nan, np.inf, -np.inf, 0, 1, 6, 7, -3, 3, 1e38], [1] * 10),
    "relu": ([np.nan, np.inf, 0, 0, 1, 6, 7, 0, 3, 1e38], [0, 1, 0, 0, 1, 1, 1, 0, 1, 1]),
    "relu6": ([np.nan, 6, 0, 0, 1, 6, 6, 0, 3, 6], [0, 0, 0, 0, 1, 0, 0, 0, 1, 0]),
    "hardswish": ([np.nan, np.inf, 0, 0, 2 / 3, 6, 7, 0, 3, 1e38], [np.nan, 1, 0, 0.5, 5 / 6, 1, 1, 0, 1, 1]),
    "hardsigmoid": ([np.nan, 1, 0, 0.5, 2 / 3, 1, 1, 0, 1, 1], [0, 0, 0, 1 / 6, 1 / 6, 0, 0, 0, 0, 0]),
    "sigmoid": (OPEN, OPEN * SHUT),
}


@each_backend
@both_dtypes
@every_activation
def test_nan_stays_nan_and_kinks_have_the_slope_outside(k, dtype, activation):
    """Infinity and large numbers do not become NaN."""
    x = np.tile(KINKS.astype(dtype), 5)  # vectors and a remainder
    results, slopes = (np.tile(np.array(values, dtype), 5) for values in SPECIAL[activation])
    close = {"rtol": 4 * np.finfo(dtype).eps, "atol": np.finfo(dtype).eps if activation == "sigmoid" else 0}
    np.testing.assert_allclose(k.activate(x, activation), results, **close)
    actual = k.activate_grad(np.ones_like(x), x, activation)
    np.testing.assert_allclose(actual, slopes, **close)
    if activation in SHOWN_BY_RESULT:
        np.testing.assert_array_equal(k.activate_grad(np.ones_like(x), k.activate(x, activation), activation), actual)


@each_backend
def test_activations_refuse_integers(k):
    with pytest.raises(TypeError, match="activate: x must be float32 or float64, got int64"):
        k.activate(np.ones(3, int), "relu")


# -------------------------------------------------------------------- dropout

rates = st.sampled_from((0.0, 0.1, 0.5, 0.9))


@both_dtypes
@given(shape=image_shapes(), rate=rates, seed=st.integers(-5, 2**64), layout=layouts)
def test_dropout_drops_the_same_elements_on_each_backend(dtype, shape, rate, seed, layout):
    x = normal(1, shape, dtype=dtype)
    np.testing.assert_array_equal(cpu.dropout(arrange(x, layout), rate, seed), reference.dropout(x, rate, seed))


@each_backend
@both_dtypes
@given(shape=image_shapes(), rate=rates, seed=seeds)
def test_dropout_is_linear_and_its_own_adjoint(k, dtype, shape, rate, seed):
    """It multiplies by a mask of 0 and 1 / (1 - rate) that depends on seed and position only."""
    x, grad = normal(seed, shape, shape, dtype=dtype)
    mask = k.dropout(np.ones(shape, dtype), rate, seed)
    assert set(np.unique(mask)) <= {dtype(0), dtype(1 / (1 - rate))}
    np.testing.assert_array_equal(k.dropout(x, rate, seed), x * mask)
    np.testing.assert_array_equal(k.dropout(grad, rate, seed), grad * mask)


@each_backend
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(k, rate):
    """The number of kept elements is binomial: within 5 standard deviations."""
    x = np.ones((4, 100, 100, 5), np.float32)
    y = k.dropout(x, rate, seed=3)
    kept, deviation = (y != 0).mean(), np.sqrt(rate * (1 - rate) / x.size)
    assert abs(kept - (1 - rate)) < 5 * deviation
    assert abs(y.mean(dtype=np.float64) - 1) < 5 * deviation / (1 - rate) + 1e-6
    per_channel = (y != 0).mean(axis=(0, 1, 2))  # no channel, row or column is favoured
    assert abs(per_channel - (1 - rate)).max() < 5 * deviation * np.sqrt(5)


@each_backend
def test_dropout_differs_with_the_seed_and_repeats_for_the_same(k):
    x = np.ones((1, 50, 50, 4), np.float32)
    masks = [k.dropout(x, 0.5, seed) for seed in (0, 1, 2, 2**63)]
    for i, a in enumerate(masks):
        np.testing.assert_array_equal(a, k.dropout(x, 0.5, (0, 1, 2, 2**63)[i]))
        for b in masks[:i]:
            agreement = (a == b).mean()  # independent masks agree in half of the places
            assert abs(agreement - 0.5) < 5 * 0.5 / np.sqrt(x.size)


@each_backend
@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_rate_is_a_share(k, rate):
    with pytest.raises(ValueError, match=r"dropout: rate must be in \[0, 1\), got"):
        k.dropout(np.ones(3, np.float32), rate, 0)


# -------------------------------------------------------------------- layout

margins = st.integers(0, 4)


@each_backend
@both_dtypes
@given(shape=image_shapes(), sides=st.tuples(margins, margins, margins, margins), seed=seeds, layout=layouts)
def test_crop_is_the_inverse_and_the_adjoint_of_pad(k, dtype, shape, sides, seed, layout):
    top, bottom, left, right = sides
    n, h, w, c = shape
    x, g = normal(seed, shape, (n, top + h + bottom, left + w + right, c), dtype=dtype)
    padded, cropped = k.pad(arrange(x, layout), *sides, value=7.0), k.crop(arrange(g, layout), top, left, h, w)
    np.testing.assert_array_equal(padded, np.pad(x, ((0, 0), sides[:2], sides[2:], (0, 0)), constant_values=7))
    np.testing.assert_array_equal(k.crop(padded, top, left, h, w), x)
    assert padded.dtype == cropped.dtype == dtype and not np.shares_memory(cropped, g)
    difference = inner(k.pad(x, *sides), g) - inner(x, cropped)
    assert abs(difference) <= 1e-13 * (1 + inner(abs(x), abs(cropped)))


@each_backend
@both_dtypes
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), shape=image_shapes(), seed=seeds, layout=layouts)
def test_split_is_the_inverse_of_concat(k, dtype, sizes, shape, seed, layout):
    parts = [normal(seed + i, (*shape[:3], size), dtype=dtype) for i, size in enumerate(sizes)]
    joined = k.concat([arrange(part, layout) for part in parts])
    np.testing.assert_array_equal(joined, np.concatenate(parts, axis=3))
    for part, again in zip(parts, k.split(arrange(joined, layout), sizes), strict=True):
        assert again.flags.c_contiguous and again.dtype == dtype and not np.shares_memory(again, joined)
        np.testing.assert_array_equal(again, part)


X = np.ones((1, 4, 5, 3), np.float32)
REFUSED = {
    "pad below 0": (lambda k: k.pad(X, 0, -1, 0, 0), ValueError, r"pad: sizes must be >= 0, got .* \(0, -1, 0, 0\)"),
    "pad of three axes": (lambda k: k.pad(X[0], 1, 1, 1, 1), ValueError, r"pad: x must have the four .* \(4, 5, 3\)"),
    "crop beyond": (lambda k: k.crop(X, 1, 0, 4, 5), ValueError, r"crop: rows 1\.\.5, columns 0\.\.5 are not in.* 4x5"),
    "crop before": (lambda k: k.crop(X, 0, -1, 2, 2), ValueError, r"crop: rows 0\.\.2, columns -1\.\.1"),
    "empty crop": (lambda k: k.crop(X, 0, 0, 0, 2), ValueError, r"crop: rows 0\.\.0"),
    "concat of nothing": (lambda k: k.concat([]), ValueError, "concat: needs at least one array"),
    "concat of sizes": (
        lambda k: k.concat([X, X[:, 1:]]), ValueError, r"concat: inputs must agree in N, H, W, got .*4, 5, 3.*3, 5, 3"
    ),
    "concat of dtypes": (lambda k: k.concat([X, X.astype(float)]), TypeError, "concat: .* 0 float32, input 1 float64"),
    "split": (lambda k: k.split(X, (1, 1)), ValueError, r"split: sizes \(1, 1\) do not sum to the 3 channels of"),
    "split of integers": (lambda k: k.split(X.astype(int), (3,)), TypeError, "split: x must be float32 or float64"),
}  # fmt: skip


@each_backend
@pytest.mark.parametrize("case", REFUSED)
def test_errors_name_the_op_and_the_sizes(k, case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call(k)


# -------------------------------------------------------------------- the optimiser's step


@each_backend
@both_dtypes
@given(
    shape=st.lists(st.integers(1, 9), max_size=4).map(tuple),
    seed=seeds,
    lr=st.floats(0, 1),
    momentum=st.floats(0, 1),
    decay=st.floats(0, 0.1),
)
def test_sgd_update_is_its_formula_in_place(k, dtype, shape, seed, lr, momentum, decay):
    param, velocity, grad = (np.asarray(a, dtype) for a in normal(seed, shape, shape, shape))
    p, v, g = (a.astype(np.float64) for a in (param, velocity, grad))
    k.sgd_update([param], [velocity], [grad], lr, momentum, [decay])
    magnitude = momentum * abs(v) + abs(g) + decay * abs(p)
    expected = momentum * v + g + decay * p
    assert_close(velocity, expected, magnitude, terms=6)
    assert_close(param, p - lr * expected, abs(p) + lr * magnitude, terms=8)
    np.testing.assert_array_equal(grad, g.astype(dtype))


@each_backend
def test_sgd_update_reads_a_gradient_of_any_layout(k):
    param, velocity, grad = normal(1, (6, 8), (6, 8), (8, 6))
    expected = param - 0.1 * (0.9 * velocity + grad.T)
    k.sgd_update([param], [velocity], [grad.T], 0.1, 0.9, [0.0])
    np.testing.assert_allclose(param, expected, rtol=1e-14)


@pytest.mark.parametrize("k", [cpu, reference], ids=["cpu", "reference"])
@pytest.mark.parametrize("name", ["param", "velocity"])
def test_sgd_update_refuses_what_it_cannot_change_in_place(k, name):
    arrays = {n: np.ones((4, 6), np.float32) for n in ("param", "velocity", "grad")}
    arrays[name] = np.ones((6, 4), np.float32).T
    with pytest.raises(ValueError, match=rf"sgd_update: {name} of shape \(4, 6\) must be contiguous"):
        k.sgd_update(*([a] for a in arrays.values()), 0.1, 0.9, [0.0])


@each_backend
def test_sgd_update_checks_its_arrays(k):
    a = np.ones((4, 6), np.float32)
    with pytest.raises(ValueError, match=r"sgd_update: velocity must have shape \(4, 6\), got \(6,\)"):
        k.sgd_update([a], [a[0].copy()], [a], 0.1, 0.9, [0.0])
    with pytest.raises(TypeError, match=r"sgd_update: arrays must share one dtype, .* grad float64"):
        k.sgd_update([a], [a.copy()], [a.astype(np.float64)], 0.1, 0.9, [0.0])
    with pytest.raises(ValueError, match="must be as many, got 2, 2, 1 and 2"):
        k.sgd_update([a, a], [a.copy(), a.copy()], [a], 0.1, 0.9, [0.0, 0.0])


@each_backend
@both_dtypes
def test_sgd_update_of_many_is_that_of_each(k, dtype):
    shapes = [(3, 3, 2, 5), (5,), (1,), (40, 33)]
    params, velocities, grads = ([*normal(seed, *shapes, dtype=dtype)] for seed in range(3))
    decays = [1e-4, 0.0, 0.5, 0.25]
    expected = [[a.copy() for a in arrays] for arrays in (params, velocities)]
    for p, v, g, decay in zip(*expected, grads, decays, strict=True):
        reference.sgd_update([p], [v], [g], 0.1, 0.9, [decay])
    k.sgd_update(params, velocities, grads, 0.1, 0.9, decays)
    for a, e in zip([*params, *velocities], [*expected[0], *expected[1]], strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=8 * np.finfo(dtype).eps * (1 + abs(e).max()))
