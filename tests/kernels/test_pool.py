"""Pooling with windows and into bins, against a definition that masks a padded image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    arrange,
    assert_close,
    both_dtypes,
    each_backend,
    image_shapes,
    inner,
    layouts,
    normal,
    pool_windows,
    seeds,
)

import kernels
from kernels.geometry import Window

bins = st.tuples(st.integers(1, 14), st.integers(1, 14))  # more bins than pixels, too


def covers(win):
    """Masks (out_h, H) and (out_w, W): the pixels inside the window of each output position."""
    masks = []
    for size, out, k, stride, before in (
        (win.in_h, win.out_h, win.k_h, win.stride_h, win.pad_top),
        (win.in_w, win.out_w, win.k_w, win.stride_w, win.pad_left),
    ):
        start = np.arange(out)[:, None] * stride - before
        masks.append((np.arange(size) >= start) & (np.arange(size) < start + k))
    return masks


def bin_covers(size, out):
    """Mask (out, size): pixel u is in bin i if they overlap, i.e. u out < (i + 1) size and (u + 1) out > i size."""
    i, u = np.arange(out)[:, None], np.arange(size)
    return (u * out < (i + 1) * size) & ((u + 1) * out > i * size)


def maxima(x, rows, columns):
    """Largest value and its first place for each pair of masks; a NaN counts as larger than everything."""
    n, h, w, c = x.shape
    y, argmax = np.empty((n, len(rows), len(columns), c), x.dtype), np.empty((n, len(rows), len(columns), c), np.int64)
    for p, q in np.ndindex(len(rows), len(columns)):
        places = np.flatnonzero(rows[p][:, None] & columns[q])
        inside = x.reshape(n, h * w, c)[:, places]
        first = np.where(np.isnan(inside), np.inf, inside).argmax(axis=1)
        y[:, p, q] = np.take_along_axis(inside, first[:, None], axis=1)[:, 0]
        argmax[:, p, q] = places[first]
    return y, argmax


def average(x, rows, columns):
    """Mean over each pair of masks, in float64."""
    rows, columns = (m / m.sum(axis=1, keepdims=True) for m in (rows, columns))
    return np.einsum("ph,qw,nhwc->npqc", rows, columns, x.astype(np.float64))


def with_ties_and_nans(seed, shape, dtype):
    """Few different values, one in twenty of them NaN."""
    x = np.round(normal(seed, shape, dtype=dtype))
    return np.where(normal(seed + 1, shape) > 1.6, dtype(np.nan), x)


@each_backend
@both_dtypes
@given(win=pool_windows(), seed=seeds, layout=layouts)
def test_max_takes_the_first_of_equals_and_the_first_nan(k, dtype, win, seed, layout):
    x = with_ties_and_nans(seed, win.x_shape, dtype)
    y, argmax = k.max_pool2d(arrange(x, layout), win)
    expected, places = maxima(x, *covers(win))
    assert y.dtype == dtype and argmax.dtype == np.int32
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, places)


@each_backend
@both_dtypes
@given(shape=image_shapes(), out=bins, seed=seeds)
def test_adaptive_max_takes_the_first_of_equals_and_the_first_nan(k, dtype, shape, out, seed):
    x = with_ties_and_nans(seed, shape, dtype)
    y, argmax = k.adaptive_max_pool2d(x, *out)
    expected, places = maxima(x, bin_covers(shape[1], out[0]), bin_covers(shape[2], out[1]))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, places)


@each_backend
def test_padding_never_wins(k):
    """All values far below 0, and even -inf: the padding is no value."""
    x = np.full((1, 3, 3, 1), -np.inf, np.float32)
    x[0, 1, 1] = -1e30
    y, argmax = k.max_pool2d(x, Window.pool(x.shape, 3, 2, padding=1))
    assert (y == np.float32(-1e30)).all() and (argmax == 4).all()
    y, _ = k.max_pool2d(np.full_like(x, -np.inf), Window.pool(x.shape, 2, 2, padding=1))
    assert (y == -np.inf).all()


@each_backend
@both_dtypes
@given(win=pool_windows(), seed=seeds, layout=layouts)
def test_average_counts_the_pixels_inside_only(k, dtype, win, seed, layout):
    x = normal(seed, win.x_shape, dtype=dtype)
    y = k.average_pool2d(arrange(x, layout), win)
    assert y.dtype == dtype
    assert_close(y, average(x, *covers(win)), average(abs(x), *covers(win)), terms=win.k_h * win.k_w + 2)


@each_backend
@both_dtypes
@given(shape=image_shapes(), out=bins, seed=seeds)
def test_adaptive_average_is_the_mean_of_each_bin(k, dtype, shape, out, seed):
    x, masks = normal(seed, shape, dtype=dtype), (bin_covers(shape[1], out[0]), bin_covers(shape[2], out[1]))
    y = k.adaptive_average_pool2d(x, *out)
    assert_close(y, average(x, *masks), average(abs(x), *masks), terms=shape[1] * shape[2] + 2)


def test_global_average_of_a_large_image_is_accurate():
    """Image pooling: a float32 running sum over 260,000 pixels of 100.1 would be off by a tenth."""
    k = kernels.load("cpu")
    x = np.full((1, 512, 512, 2), 100.1, np.float32)
    assert_close(
        k.adaptive_average_pool2d(x, 1, 1), np.full((1, 1, 1, 2), np.float64(np.float32(100.1))), 101, terms=10
    )


# -------------------------------------------------------------------- gradients


@each_backend
@both_dtypes
@given(win=pool_windows(), seed=seeds, layout=layouts)
def test_max_gradient_goes_to_the_winners(k, dtype, win, seed, layout):
    """For the winners held fixed max pooling is linear, and this is its adjoint: <x[argmax], g> = <x, grad>."""
    x, grad = normal(seed, win.x_shape, win.y_shape, dtype=dtype)
    y, argmax = k.max_pool2d(x, win)
    grad_x = k.max_pool2d_grad(arrange(grad, layout), arrange(argmax, layout), win)
    assert grad_x.shape == x.shape and grad_x.dtype == dtype
    won = np.zeros(x.shape, bool).reshape(win.n, -1, win.c_in)
    np.put_along_axis(won, argmax.reshape(win.n, -1, win.c_in), True, axis=1)
    assert not grad_x[~won.reshape(x.shape)].any()
    assert_adjoint(y, grad, x, grad_x, win.k_h * win.k_w)


@each_backend
@both_dtypes
@given(shape=image_shapes(), out=bins, seed=seeds)
def test_adaptive_max_gradient_goes_to_the_winners(k, dtype, shape, out, seed):
    x, grad = normal(seed, shape, (shape[0], *out, shape[3]), dtype=dtype)
    y, argmax = k.adaptive_max_pool2d(x, *out)
    assert_adjoint(y, grad, x, k.adaptive_max_pool2d_grad(grad, argmax, *shape[1:3]), out[0] * out[1])


@each_backend
@both_dtypes
@given(win=pool_windows(), seed=seeds)
def test_average_gradient_is_the_adjoint(k, dtype, win, seed):
    x, grad = normal(seed, win.x_shape, win.y_shape, dtype=dtype)
    assert_adjoint(k.average_pool2d(x, win), grad, x, k.average_pool2d_grad(grad, win), win.k_h * win.k_w)


@each_backend
@both_dtypes
@given(shape=image_shapes(), out=bins, seed=seeds)
def test_adaptive_average_gradient_is_the_adjoint(k, dtype, shape, out, seed):
    x, grad = normal(seed, shape, (shape[0], *out, shape[3]), dtype=dtype)
    grad_x = k.adaptive_average_pool2d_grad(grad, *shape[1:3])
    assert_adjoint(k.adaptive_average_pool2d(x, *out), grad, x, grad_x, max(out[0] * out[1], shape[1] * shape[2]))


def assert_adjoint(y, grad, x, grad_x, terms):
    """<y, grad> = <x, grad_x> for y = A x and grad_x = A^T grad with sums of `terms` products."""
    assert grad_x.shape == x.shape
    magnitude = inner(abs(x), abs(grad_x)) + inner(abs(y), abs(grad))
    # where terms cancel inside an element the sums of absolute values are larger than those of the results
    magnitude += np.sqrt(inner(x, x) * inner(grad, grad))
    assert_close(x.dtype.type(inner(y, grad) - inner(x, grad_x)), 0.0, magnitude, terms + 4)


# -------------------------------------------------------------------- errors

X = np.ones((1, 6, 6, 2), np.float32)
WIN = Window.pool(X.shape, 2)
HALF = np.ones((1, 3, 3, 2), np.float32)
REFUSED = {
    "another shape": (lambda k: k.max_pool2d(X[:, 1:], WIN), ValueError, r"pool: x has shape \(1, 5, 6, 2\)"),
    "integers": (lambda k: k.average_pool2d(X.astype(int), WIN), TypeError, "pool: x must be float32 or .* got int64"),
    "a list": (lambda k: k.adaptive_average_pool2d(X.tolist(), 1, 1), TypeError, "x must be an array, got list"),
    "grad": (lambda k: k.average_pool2d_grad(X, WIN), ValueError, r"pool: grad has shape .* made for \(1, 3, 3, 2\)"),
    "argmax": (lambda k: k.max_pool2d_grad(HALF, X.astype(np.int32), WIN), ValueError, "argmax must have shape"),
    "bins": (lambda k: k.adaptive_max_pool2d(X, 0, 3), ValueError, "sizes must be >= 1, got input 6 and output 0"),
    "adaptive argmax": (
        lambda k: k.adaptive_max_pool2d_grad(HALF, X.astype(np.int32), 6, 6), ValueError, "argmax must have shape"
    ),
}  # fmt: skip


@each_backend
@pytest.mark.parametrize("case", REFUSED)
def test_errors_name_the_argument(k, case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call(k)
