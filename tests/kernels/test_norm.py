"""Batch normalisation against its formula in float64, its gradients against differences."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import (
    ACTIVATIONS,
    SIZE,
    activations,
    arrange,
    assert_close,
    both_dtypes,
    central_differences,
    each_backend,
    every_activation,
    image_shapes,
    layouts,
    normal,
    seeds,
)

import kernels
from kernels.bfloat16 import BFLOAT16, narrow, widen

EPS = 1e-5
cpu, reference = kernels.load("cpu"), kernels.load("reference")
both_modes = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])


def formula(x, mean, var, gamma, beta, activation):
    return ACTIVATIONS[activation](gamma * (x - mean) / np.sqrt(var + EPS) + beta)


def parameters(seed, c, dtype):
    """mean, var, gamma, beta of c channels; gamma is large, so that every activation is bounded at both sides."""
    mean, var, gamma, beta = normal(seed, *[(c,)] * 4, dtype=dtype)
    return mean, var**2 + dtype(0.1), 4 * gamma, beta


# -------------------------------------------------------------------- statistics


@each_backend
@both_dtypes
@given(shape=image_shapes(20), seed=seeds, layout=layouts)
def test_statistics_are_mean_and_biased_variance(k, dtype, shape, seed, layout):
    x = normal(seed, shape, dtype=dtype)
    wide, count = x.astype(np.float64), np.prod(shape[:3])
    mean, var = k.batch_norm_statistics(arrange(x, layout))
    assert mean.dtype == var.dtype == dtype
    assert_close(mean, wide.mean(axis=(0, 1, 2)), abs(wide).mean(axis=(0, 1, 2)), terms=count + 4)
    assert_close(var, wide.var(axis=(0, 1, 2)), (wide**2).mean(axis=(0, 1, 2)), terms=count + 4)


@each_backend
@pytest.mark.parametrize("shape", [(2, 65, 65, 32), (1, 7, 9, 3), (1, 1, 1, 4)])
def test_statistics_of_a_large_mean_are_accurate_in_float32(k, shape):
    """Mean 1e4, deviation 1: E[x^2] - mean^2 in float32 would leave nothing of the variance."""
    x = (normal(5, shape) + 1e4).astype(np.float32)
    wide = x.astype(np.float64)
    mean, var = k.batch_norm_statistics(x)
    assert_close(mean, wide.mean(axis=(0, 1, 2)), 1e4, terms=8)
    # a mean that is off by d moves the variance by d^2; d is a few float32 steps at 1e4
    assert_close(var, wide.var(axis=(0, 1, 2)), 1.0, terms=64, floor=(8 * np.spacing(np.float32(1e4))) ** 2)


@each_backend
@both_dtypes
def test_a_constant_has_no_variance(k, dtype):
    mean, var = k.batch_norm_statistics(np.full((2, 20, 20, 3), 0.1, dtype))
    assert_close(mean, np.full(3, np.float64(dtype(0.1))), 0.1, terms=64)
    assert (var >= 0).all() and (var <= (64 * np.finfo(dtype).eps * 0.1) ** 2).all()


# -------------------------------------------------------------------- forward


@each_backend
@both_dtypes
@given(activation=activations, shape=image_shapes(), seed=seeds, layout=layouts)
def test_forward_is_the_formula(k, dtype, activation, shape, seed, layout):
    x, (mean, var, gamma, beta) = normal(seed, shape, dtype=dtype), parameters(seed + 1, shape[3], dtype)
    y = k.batch_norm(arrange(x, layout), mean, var, gamma, beta, EPS, activation)
    wide = [a.astype(np.float64) for a in (x, mean, var, gamma, beta)]
    magnitude = (abs(wide[0]) + abs(wide[1])) * abs(wide[3]) / np.sqrt(wide[2] + EPS) + abs(wide[4])
    assert y.dtype == dtype
    assert_close(y, formula(*wide, activation), magnitude + SIZE.get(activation, 0), terms=16)


@each_backend
@both_dtypes
@given(activation=activations, shape=image_shapes(), seed=seeds, layout=layouts)
def test_a_residual_is_added_before_the_activation(k, dtype, activation, shape, seed, layout):
    (x, residual), (mean, var, gamma, beta) = normal(seed, shape, shape, dtype=dtype), parameters(seed, shape[3], dtype)
    statistics = mean, var, gamma, beta, EPS
    expected = k.batch_norm(x, *statistics, None) + residual
    magnitude = (abs(x) + abs(mean)) * abs(gamma) / np.sqrt(var + EPS) + abs(beta) + abs(residual)
    y = k.batch_norm(arrange(x, layout), *statistics, activation, arrange(residual, layout))
    assert y.dtype == dtype
    assert_close(y, ACTIVATIONS[activation](expected), magnitude + SIZE.get(activation, 0), terms=16)


@each_backend
@both_dtypes
@given(shape=image_shapes().filter(lambda s: s[1] * s[2] > 1), seed=seeds)
def test_its_own_statistics_give_mean_0_and_variance_1(k, dtype, shape, seed):
    x, c = normal(seed, shape, dtype=dtype), shape[3]
    y = k.batch_norm(x, *k.batch_norm_statistics(x), np.ones(c, dtype), np.zeros(c, dtype), 0.0, None)
    mean, var = k.batch_norm_statistics(y)
    spread = abs(x).max(axis=(0, 1, 2)) / x.std(axis=(0, 1, 2))  # what the division by the deviation amplifies
    count = np.prod(shape[:3])
    assert_close(mean, np.zeros(c), 1 + spread, terms=4 * count + 8)
    assert_close(var, np.ones(c), (1 + spread) ** 2, terms=4 * count + 8)


# -------------------------------------------------------------------- gradients


def exact_gradients(grad, x, mean, var, gamma, beta, activation, training):
    """Gradients of sum(grad * y) in x, gamma and beta by differences; in training mean and var follow x."""

    def loss(x, gamma, beta):
        m, v = (x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))) if training else (mean, var)
        return float((grad * formula(x, m, v, gamma, beta, activation)).sum())

    return (
        central_differences(lambda moved: loss(moved, gamma, beta), x),
        central_differences(lambda moved: loss(x, moved, beta), gamma),
        central_differences(lambda moved: loss(x, gamma, moved), beta),
    )


KINKS = {None: (), "relu": (0,), "relu6": (0, 6), "hardswish": (-3, 3), "hardsigmoid": (-3, 3), "sigmoid": ()}


@each_backend
@every_activation
@both_modes
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_formula(k, activation, training, seed):
    """Differences with a step of 1e-6 are exact to about 1e-8."""
    x, grad = normal(seed, (2, 3, 3, 4), (2, 3, 3, 4))
    mean, var, gamma, beta = parameters(seed + 10, 4, np.float64)
    if training:
        mean, var = k.batch_norm_statistics(x)
    before = formula(x, mean, var, gamma, beta, None)
    assert all(abs(before - kink).min() > 1e-4 for kink in KINKS[activation])  # none within a step
    if activation == "relu6" and not training:
        assert (before > 6).any() and (before < 0).any()
    gradients = k.batch_norm_grad(grad, x, mean, var, gamma, beta, EPS, activation, training)
    expected = exact_gradients(grad, x, mean, var, gamma, beta, activation, training)
    for actual, exact in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(actual, exact, rtol=0, atol=1e-7 * max(1, abs(exact).max()))


def magnitudes(grad, x, mean, var, gamma, count, sums=None):
    """What bounds the rounding of (grad_x, sums): all terms of both, without signs; sums of `count` values."""
    grad, x, mean, var, gamma = (abs(a).astype(np.float64) for a in (grad, x, mean, var, gamma))
    inverse = 1 / np.sqrt(var + EPS)
    x_hat = (x + mean) * inverse
    of_x = np.stack([grad.sum(axis=(0, 1, 2)), (grad * x_hat).sum(axis=(0, 1, 2))])
    sums = of_x if sums is None else abs(sums)
    return gamma * inverse * (grad + (sums[0] + x_hat * sums[1]) / count), of_x


@both_dtypes
@both_modes
@given(activation=activations, shape=image_shapes().filter(lambda s: s[1] * s[2] > 1), seed=seeds, layout=layouts)
@example(activation="relu", shape=(1, 65, 65, 40), seed=0, layout="C")  # sums in several parts
@example(activation="hardswish", shape=(1, 65, 65, 40), seed=0, layout="C")
def test_cpu_gradients_equal_the_reference(dtype, activation, training, shape, seed, layout):
    """The bound is that of sums over N H W of g and g x^, which grad_x holds times about gamma / deviation."""
    x, grad = normal(seed, shape, shape, dtype=dtype)
    mean, var, gamma, beta = parameters(seed + 1, shape[3], dtype)
    if training:
        mean, var = reference.batch_norm_statistics(x)
    arrays = (grad, x, mean, var, gamma, beta)
    expected = reference.batch_norm_grad(*(a.astype(np.float64) for a in arrays), EPS, activation, training)
    moved = [arrange(a, layout) for a in arrays[:2]]
    actual = cpu.batch_norm_grad(*moved, *arrays[2:], EPS, activation, training)
    count = np.prod(shape[:3])
    input_magnitude, (of_beta, of_gamma) = magnitudes(*arrays[:5], count)
    for a, e, m in zip(actual, expected, (input_magnitude, of_gamma, of_beta), strict=True):
        assert a.dtype == dtype
        assert_close(a, e, m, terms=count + 16)


# -------------------------------------------------------------------- the same in two halves


@each_backend
@both_dtypes
@given(
    activation=activations, shape=image_shapes(), seed=seeds, layout=layouts, count=st.sampled_from((0, 1, 50, 10**6))
)
def test_both_halves_equal_the_reference(k, dtype, activation, shape, seed, layout, count):
    """The sums of any arrays, of any count: those that are given, not those of x."""
    x, grad = normal(seed, shape, shape, dtype=dtype)
    arrays = (grad, x, *parameters(seed + 1, shape[3], dtype))
    given_sums = normal(seed + 2, (2, shape[3])) * max(count, 1)
    exact, moved = [a.astype(np.float64) for a in arrays], [arrange(a, layout) for a in arrays[:2]]
    grad_x = k.batch_norm_grad_input(*moved, *arrays[2:], EPS, activation, given_sums, count)
    sums = k.batch_norm_grad_sums(*moved, *arrays[2:], EPS, activation)
    input_magnitude, of_x = magnitudes(*arrays[:5], max(count, 1), given_sums)
    assert grad_x.dtype == dtype and sums.dtype == np.float64
    assert_close(
        grad_x, reference.batch_norm_grad_input(*exact, EPS, activation, given_sums, count), input_magnitude, terms=16
    )
    expected = reference.batch_norm_grad_sums(*exact, EPS, activation)
    assert_close(sums.astype(dtype), expected, of_x, terms=np.prod(shape[:3]) + 16)


@each_backend
@both_dtypes
@both_modes
@given(activation=activations, shape=image_shapes(), seed=seeds)
def test_the_gradient_is_made_of_its_halves(k, dtype, training, activation, shape, seed):
    x, grad = normal(seed, shape, shape, dtype=dtype)
    arrays = (grad, x, *parameters(seed + 1, shape[3], dtype), EPS, activation)
    sums = k.batch_norm_grad_sums(*arrays)
    grad_x = k.batch_norm_grad_input(*arrays, sums, np.prod(shape[:3]) if training else 0)
    grad_beta, grad_gamma = sums.astype(dtype)
    for found, expected in zip((grad_x, grad_gamma, grad_beta), k.batch_norm_grad(*arrays, training), strict=True):
        np.testing.assert_array_equal(found, expected)


@each_backend
@given(activation=activations, shape=image_shapes(), more=st.integers(1, 2), seed=seeds)
def test_sums_of_parts_of_a_batch_make_the_gradient_of_the_whole(k, activation, shape, more, seed):
    """Each process has images of its own, and the statistics of all."""
    n, *image = shape
    x, grad = normal(seed, (n + more, *image), (n + more, *image))
    mean, var = reference.batch_norm_statistics(x)
    affine = (mean, var, *parameters(seed + 1, shape[3], np.float64)[2:], EPS, activation)
    parts, count = [(grad[:n], x[:n]), (grad[n:], x[n:])], np.prod(x.shape[:3])
    sums = sum(k.batch_norm_grad_sums(*part, *affine) for part in parts)
    found = np.concatenate([k.batch_norm_grad_input(*part, *affine, sums, count) for part in parts])
    magnitude, _ = magnitudes(grad, x, *affine[:3], count)
    error = abs(found - k.batch_norm_grad(grad, x, *affine, True)[0])
    assert (error <= 1e-12 * magnitude).all()


@each_backend
def test_without_a_count_no_sum_is_read(k):
    """0 times infinity would be NaN."""
    sums = np.full((2, 3), np.inf)
    grad_x = k.batch_norm_grad_input(X, X, C, C, C, C, EPS, "relu", sums, 0)
    np.testing.assert_array_equal(grad_x, k.batch_norm_grad(X, X, C, C, C, C, EPS, "relu", False)[0])


@each_backend
def test_gradient_of_the_mean_and_of_the_scale_vanish_in_training(k):
    """y does not change when x is shifted or scaled: grad_x is orthogonal to 1 and, without eps, to x."""
    x, grad = normal(3, (2, 9, 9, 5), (2, 9, 9, 5))
    mean, var = k.batch_norm_statistics(x)
    ones = np.ones(5)
    grad_x, _, _ = k.batch_norm_grad(grad, x, mean, var, ones, ones, 0.0, None, True)
    assert abs(grad_x.sum(axis=(0, 1, 2))).max() < 1e-12
    assert abs((grad_x * x).sum(axis=(0, 1, 2))).max() < 1e-11


@each_backend
@both_dtypes
@given(shape=image_shapes(), seed=seeds, activation=activations.filter(lambda a: a in ("relu", "relu6")))
def test_the_gradient_passes_exactly_where_the_output_shows_it(k, dtype, shape, seed, activation):
    """The argument is computed again with the bits of the forward pass, down to values that round to a kink."""
    x, (mean, var, gamma, beta) = normal(seed, shape, dtype=dtype), parameters(seed + 1, shape[3], dtype)
    x[0, 0, 0] = mean - beta * np.sqrt(var + dtype(EPS)) / gamma  # its argument is 0 but for rounding
    y = k.batch_norm(x, mean, var, gamma, beta, EPS, activation)
    ones = np.ones_like(x)
    grad_x, _, grad_beta = k.batch_norm_grad(ones, x, mean, var, gamma, beta, EPS, activation, False)
    passes = (y > 0) & ((y < 6) if activation == "relu6" else True)
    np.testing.assert_array_equal(grad_x != 0, passes)
    np.testing.assert_array_equal(grad_beta, passes.sum(axis=(0, 1, 2)))


# -------------------------------------------------------------------- bfloat16


@both_modes
@given(activation=activations, shape=image_shapes(40), seed=seeds, layout=layouts)
@example(activation="hardswish", shape=(1, 65, 65, 40), seed=0, layout="C")  # sums in several parts
def test_bfloat16_maps_are_widened_and_rounded_once(training, activation, shape, seed, layout):
    x, residual, grad = (narrow(a) for a in normal(seed, shape, shape, shape, dtype=np.float32))
    mean, var, gamma, beta = parameters(seed + 1, shape[3], np.float32)
    wide_x, wide_residual, wide_grad = widen(x), widen(residual), widen(grad)
    x, residual, grad = (arrange(a, layout) for a in (x, residual, grad))
    if training:
        mean, var = cpu.batch_norm_statistics(x)
        for found, expected in zip((mean, var), cpu.batch_norm_statistics(wide_x), strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)
    affine = mean, var, gamma, beta, EPS, activation
    sums = cpu.batch_norm_grad_sums(grad, x, *affine)
    for found, expected in (
        (cpu.batch_norm(x, *affine), cpu.batch_norm(wide_x, *affine)),
        (cpu.batch_norm(x, *affine, residual), cpu.batch_norm(wide_x, *affine, wide_residual)),
        *zip(
            cpu.batch_norm_grad(grad, x, *affine, training), cpu.batch_norm_grad(wide_grad, wide_x, *affine, training),
            strict=True,
        ),
        (sums, cpu.batch_norm_grad_sums(wide_grad, wide_x, *affine)),
        (
            cpu.batch_norm_grad_input(grad, x, *affine, sums, 100),
            cpu.batch_norm_grad_input(wide_grad, wide_x, *affine, sums, 100),
        ),
    ):  # fmt: skip
        assert found.dtype == (BFLOAT16 if found.ndim == 4 else expected.dtype)
        np.testing.assert_array_equal(found, narrow(expected) if found.ndim == 4 else expected)


# -------------------------------------------------------------------- running statistics and errors


@each_backend
@both_dtypes
def test_running_statistics_move_towards_the_batch_with_the_unbiased_variance(k, dtype):
    running_mean, running_var, mean, var = (np.array(v, dtype) for v in ([1, 2], [3, 4], [5, 6], [7, 8]))
    k.update_running(running_mean, running_var, mean, var, 0.25, 9)
    assert_close(running_mean, np.array([0.75 * 1 + 0.25 * 5, 0.75 * 2 + 0.25 * 6]), 10, terms=4)
    assert_close(running_var, np.array([0.75 * 3 + 0.25 * 7 * 9 / 8, 0.75 * 4 + 0.25 * 8 * 9 / 8]), 10, terms=4)


X, C, SUMS = np.ones((1, 2, 2, 3), np.float32), np.ones(3, np.float32), np.ones((2, 3))


def grad_input(k, sums=SUMS, count=4, grad=X):
    return k.batch_norm_grad_input(grad, X, C, C, C, C, EPS, "relu", sums, count)


REFUSED = {
    "axes": (lambda k: k.batch_norm(X[0], C, C, C, C, EPS, None), ValueError, "x must have the four axes"),
    "channels": (lambda k: k.batch_norm(X, C[:2], C, C, C, EPS, None), ValueError, r"mean must have shape \(3,\)"),
    "dtypes": (lambda k: k.batch_norm(X, C, C, C.astype(float), C, EPS, "relu"), TypeError, "one .* gamma float64"),
    "statistics": (lambda k: k.batch_norm_statistics(X.astype(int)), TypeError, "x must be float32 or .* got int64"),
    "grad": (
        lambda k: k.batch_norm_grad(X[:, :1], X, C, C, C, C, EPS, "relu", True),
        ValueError,
        "shapes must agree, .* grad ",
    ),
    "grad of the sums": (
        lambda k: k.batch_norm_grad_sums(X[:, :1], X, C, C, C, C, EPS, None),
        ValueError,
        "shapes must agree, .* grad ",
    ),
    "grad of the input": (lambda k: grad_input(k, grad=X[..., :1]), ValueError, "shapes must agree, .* grad "),
    "sums of other channels": (lambda k: grad_input(k, SUMS[:, :2]), ValueError, r"sums must have shape \(2, 3\)"),
    "one sum": (lambda k: grad_input(k, SUMS[0]), ValueError, r"sums must have shape \(2, 3\), got \(3,\)"),
    "sums' dtype": (lambda k: grad_input(k, SUMS.astype(np.float32)), TypeError, "sums must be float64 .* got float32"),
    "no sums": (lambda k: grad_input(k, None), TypeError, "sums must be an array, got NoneType"),
    "count": (lambda k: grad_input(k, SUMS, -1), ValueError, "count must be >= 0 .* got -1"),
}  # fmt: skip


@each_backend
@pytest.mark.parametrize("case", REFUSED)
def test_errors_name_the_argument(k, case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=f"batch_norm: .*{message}"):
        call(k)
