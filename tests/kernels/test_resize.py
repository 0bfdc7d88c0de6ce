"""Bilinear and nearest resize against interpolation by NumPy and SciPy, and their adjoints."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from strategies import arrange, assert_close, both_dtypes, each_backend, image_shapes, inner, layouts, normal, seeds

sizes = st.tuples(st.integers(1, 25), st.integers(1, 25))
both_conventions = pytest.mark.parametrize("align_corners", [True, False], ids=["corners", "areas"])

# Four products and three additions, weights known to a few eps, source positions to in_size eps.
TERMS = 12


def source(in_size, out_size, align_corners):
    """Where output position i lies in the input, unclamped."""
    i = np.arange(out_size)
    if align_corners:
        return i * ((in_size - 1) / max(out_size - 1, 1))
    return (i + 0.5) * (in_size / out_size) - 0.5


def along(axis, x, positions):
    """Linear interpolation of x along one axis; np.interp holds the border values beyond the ends."""
    return np.apply_along_axis(lambda line: np.interp(positions, np.arange(len(line)), line), axis, x)


@each_backend
@both_dtypes
@both_conventions
@given(shape=image_shapes(), out=sizes, seed=seeds, layout=layouts)
def test_bilinear_is_np_interp_along_both_axes(k, dtype, align_corners, shape, out, seed, layout):
    x = normal(seed, shape, dtype=dtype)
    y = k.resize_bilinear(arrange(x, layout), *out, align_corners)
    rows, columns = (source(*size, align_corners) for size in zip(shape[1:3], out, strict=True))
    expected = along(2, along(1, x.astype(np.float64), rows), columns)
    assert y.dtype == dtype
    assert_close(y, expected, abs(x).max(), TERMS + max(shape))


@each_backend
@both_dtypes
@given(shape=st.tuples(st.integers(1, 12), st.integers(1, 12)), out=sizes, seed=seeds)
def test_bilinear_with_corners_is_scipy_map_coordinates(k, dtype, shape, out, seed):
    x = normal(seed, (1, *shape, 1), dtype=dtype)
    where = np.meshgrid(*(source(*size, True) for size in zip(shape, out, strict=True)), indexing="ij")
    expected = ndimage.map_coordinates(x[0, :, :, 0].astype(np.float64), where, order=1, mode="nearest")
    assert_close(k.resize_bilinear(x, *out, True)[0, :, :, 0], expected, abs(x).max(), TERMS + max(shape))


@each_backend
@both_dtypes
@given(shape=st.tuples(st.integers(2, 12), st.integers(2, 12)), out=sizes)
def test_bilinear_with_corners_reproduces_ramps(k, dtype, shape, out):
    """A plane a + b h + c w stays a plane, and its corners stay where they are."""
    h, w = np.meshgrid(*(np.linspace(0, 1, size) for size in shape), indexing="ij")
    plane = (3 + 2 * h - 5 * w).astype(dtype)[None, :, :, None]
    y = k.resize_bilinear(plane, *out, True)
    p, q = np.meshgrid(*(np.linspace(0, 1, size) for size in out), indexing="ij")
    assert_close(y[0, :, :, 0], 3 + 2 * p - 5 * q, 10, TERMS)
    ends = [-1 if size > 1 else 0 for size in out]
    np.testing.assert_array_equal(y[0, 0, 0], plane[0, 0, 0])
    np.testing.assert_array_equal(y[0, ends[0], ends[1]], plane[0, ends[0], ends[1]])


@each_backend
@given(shape=image_shapes(), factor=st.integers(1, 5), seed=seeds)
def test_bilinear_by_areas_commutes_with_a_flip(k, shape, factor, seed):
    """No half-pixel shift: a mirrored image gives the mirrored result."""
    x = normal(seed, shape)
    out = (factor * shape[1], factor * shape[2])
    mirrored = k.resize_bilinear(x[:, ::-1, ::-1], *out, False)[:, ::-1, ::-1]
    assert_close(mirrored, k.resize_bilinear(x, *out, False), abs(x).max(), TERMS + max(out))


@each_backend
@both_dtypes
@both_conventions
@given(shape=image_shapes(), seed=seeds)
def test_equal_size_is_the_identity_to_the_bit(k, dtype, align_corners, shape, seed):
    x = normal(seed, shape, dtype=dtype)
    for result in (
        k.resize_bilinear(x, *shape[1:3], align_corners),
        k.resize_bilinear_grad(x, *shape[1:3], align_corners),
        k.resize_nearest(x, *shape[1:3]),
        k.resize_nearest_grad(x, *shape[1:3]),
    ):
        np.testing.assert_array_equal(result, x)


@each_backend
@both_dtypes
@both_conventions
@given(shape=image_shapes(), out=sizes, seed=seeds, layout=layouts)
def test_bilinear_gradient_is_the_exact_adjoint(k, dtype, align_corners, shape, out, seed, layout):
    """<resize(x), g> = <x, resize_grad(g)>; the weights are positive, so that absolute values bound the rounding."""
    x, grad = normal(seed, shape, (shape[0], *out, shape[3]), dtype=dtype)
    y = k.resize_bilinear(x, *out, align_corners)
    grad_x = k.resize_bilinear_grad(arrange(grad, layout), *shape[1:3], align_corners)
    assert grad_x.shape == shape and grad_x.dtype == dtype
    magnitude = inner(k.resize_bilinear(abs(x), *out, align_corners), abs(grad))
    assert_close(dtype(inner(y, grad) - inner(x, grad_x)), 0.0, magnitude, TERMS + out[0] + out[1])


@each_backend
@both_conventions
@given(shape=image_shapes(6), out=sizes)
def test_bilinear_gradient_is_the_transposed_matrix(k, align_corners, shape, out):
    """Every element: the gradient of each input pixel is the response of the output to it."""
    h, w = shape[1:3]
    pixels = np.eye(h * w).reshape(1, h, w, h * w)  # one pixel a channel
    outputs = np.eye(out[0] * out[1]).reshape(1, *out, -1)
    matrix = k.resize_bilinear(pixels, *out, align_corners).reshape(-1, h * w)
    transposed = k.resize_bilinear_grad(outputs, h, w, align_corners).reshape(h * w, -1)
    assert_close(transposed, matrix.T, 1.0, TERMS)


@each_backend
@both_dtypes
@given(shape=image_shapes(), out=sizes, seed=seeds, layout=layouts)
def test_nearest_takes_pixels_as_they_are(k, dtype, shape, out, seed, layout):
    x = normal(seed, shape, dtype=dtype)
    rows, columns = ([i * size // o for i in range(o)] for size, o in zip(shape[1:3], out, strict=True))
    np.testing.assert_array_equal(k.resize_nearest(arrange(x, layout), *out), x[:, rows][:, :, columns])


@each_backend
@both_dtypes
@given(shape=image_shapes(), out=sizes, seed=seeds)
def test_nearest_gradient_is_the_adjoint(k, dtype, shape, out, seed):
    x, grad = normal(seed, shape, (shape[0], *out, shape[3]), dtype=dtype)
    difference = inner(k.resize_nearest(x, *out), grad) - inner(x, k.resize_nearest_grad(grad, *shape[1:3]))
    assert_close(dtype(difference), 0.0, inner(k.resize_nearest(abs(x), *out), abs(grad)), TERMS + out[0] + out[1])


@each_backend
@pytest.mark.parametrize("name", ["resize_bilinear", "resize_bilinear_grad", "resize_nearest", "resize_nearest_grad"])
def test_errors_name_the_op(k, name):
    options = (True,) if "bilinear" in name else ()
    for wrong in (np.ones((1, 2, 2, 1), np.int32), [[[[1.0]]]]):
        with pytest.raises(TypeError, match=name.removesuffix("_grad")):
            getattr(k, name)(wrong, 3, 3, *options)


@each_backend
@pytest.mark.parametrize("name", ["resize_bilinear", "resize_bilinear_grad"])
def test_a_size_of_zero_is_refused(k, name):
    with pytest.raises(ValueError, match="resize: sizes must be >= 1"):
        getattr(k, name)(np.ones((1, 2, 2, 1)), 0, 3, True)
