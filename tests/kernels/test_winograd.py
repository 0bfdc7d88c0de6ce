"""3x3 convolutions with fewer multiplications, against their definition, in all three directions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ACTIVATIONS, activations, both_dtypes, inner, normal, seeds

import kernels
from kernels import reference
from kernels.bfloat16 import BFLOAT16
from kernels.cpu import arrays, winograd, winograd_grad_weight, winograd_plan
from kernels.cpu.tile import VECTORISED
from kernels.geometry import Window

cpu = kernels.load("cpu")
both_sides = pytest.mark.parametrize("side", winograd_plan.SIDES)
needs_vectors = pytest.mark.skipif(not VECTORISED, reason="no vector tile for this processor: all sums are direct")


def by_squares(x, w, grad, win, side):
    """y, grad_x, grad_w by squares."""
    return (
        winograd.forward(x, w, win, side),
        winograd.grad_input(grad, w, win, side),
        winograd_grad_weight.grad_weight(x, grad, win, side),
    )


def direct(k, x, w, grad, win):
    """The same from a backend."""
    return k.conv2d(x, w, win), k.conv2d_grad_input(grad, w, win), k.conv2d_grad_weight(x, grad, win)


@st.composite
def windows(draw):
    """3x3 windows of stride 1: any rates and padding, whole vectors of channels, blocks of columns partly filled."""
    (c, k), (r, s) = (draw(st.tuples(sizes, sizes)) for sizes in (st.sampled_from((16, 32, 48)), st.integers(1, 4)))
    pads = [draw(st.tuples(st.integers(0, 2 * rate + 2), st.integers(0, 2 * rate + 2))) for rate in (r, s)]
    h, w = (max(1, 2 * rate + 1 - sum(pad)) + draw(st.integers(0, 10)) for rate, pad in zip((r, s), pads, strict=True))
    return Window.conv((draw(st.integers(1, 2)), h, w, c), (3, 3, c, k), rate=(r, s), padding=tuple(pads))


@both_sides
@given(seed=seeds)
def test_the_matrices_give_a_correlation(side, seed):
    """On a line y = A^T [(G w) * (B^T x)] is y[i] = w[0] x[i] + w[1] x[i + 1] + w[2] x[i + 2]."""
    a, g, b = winograd_plan.matrices(side)
    x, w = normal(seed, side + 2, 3)
    y = a.T @ ((g @ w) * (b.T @ x))
    np.testing.assert_allclose(y, np.correlate(x, w, "valid"), atol=1e-13)


@given(size=st.integers(1, 40), rate=st.integers(1, 9), side=st.sampled_from(winograd_plan.SIDES))
def test_every_position_belongs_to_one_square(size, rate, side):
    runs = winograd_plan.origins(size, rate, side)[:, None] + rate * np.arange(side)
    assert sorted(runs[runs < size]) == list(range(size))


@both_sides
@both_dtypes
@settings(max_examples=25)
@given(win=windows(), seed=seeds)
def test_equals_the_definition_on_every_geometry(side, dtype, win, seed):
    """Within the rounding of a sum of as many products as the direct one has, of the image's largest magnitude."""
    arrays = normal(seed, win.x_shape, win.w_shape, win.y_shape, dtype=dtype)
    wide = [a.astype(np.float64) for a in arrays]
    expected, magnitude = direct(reference, *wide, win), direct(reference, *map(np.abs, wide), win)
    terms = (9 * win.c_in, 9 * win.c_out, win.n * win.out_h * win.out_w + 40)
    for a, e, m, n in zip(by_squares(*arrays, win, side), expected, magnitude, terms, strict=True):
        assert a.dtype == dtype
        assert a.shape == e.shape
        assert abs(a - e).max() <= n * np.finfo(dtype).eps * m.max()


@both_sides
@settings(max_examples=10)
@given(win=windows(), seed=seeds)
def test_the_gradients_are_adjoints(side, win, seed):
    x, w, grad = normal(seed, win.x_shape, win.w_shape, win.y_shape)
    y, grad_x, grad_w = by_squares(x, w, grad, win, side)
    expected = pytest.approx(inner(y, grad), rel=1e-11, abs=1e-11 * inner(abs(y), abs(grad)))
    assert inner(grad_x, x) == expected
    assert inner(grad_w, w) == expected


@both_sides
@settings(max_examples=10)
@given(win=windows(), seed=seeds, activation=activations, with_residual=st.booleans())
def test_the_last_step_is_that_of_conv2d(side, win, seed, activation, with_residual):
    shapes = win.x_shape, win.w_shape, (win.c_out,), (win.c_out,), win.y_shape
    x, w, scale, shift, residual = normal(seed, *shapes)
    more = residual if with_residual else None
    plain = reference.conv2d(x, w, win)
    expected = ACTIVATIONS[activation](scale * plain + shift + residual * with_residual)
    np.testing.assert_allclose(
        winograd.forward(x, w, win, side, scale, shift, activation, more), expected, rtol=1e-11, atol=1e-11
    )


@both_sides
def test_several_chunks_and_parts_of_the_weight_gradient(side, monkeypatch):
    """Chunks of few squares, added in order; parts of one tile; sums over fewer squares than a chunk has."""
    win = Window.conv((2, 19, 17, 48), (3, 3, 48, 80), rate=2, padding="same")
    x, grad = normal(1, win.x_shape, win.y_shape)
    for name, value in {"_CHUNK": 1 << 20, "_SUMS": 1, "_SQUARES": 8}.items():
        monkeypatch.setattr(winograd_grad_weight, name, value)
    winograd_grad_weight._parts.cache_clear()
    actual = winograd_grad_weight.grad_weight(x, grad, win, side)
    winograd_grad_weight._parts.cache_clear()
    np.testing.assert_allclose(actual, reference.conv2d_grad_weight(x, grad, win), rtol=1e-10, atol=1e-10)


LAYER = Window.conv((1, 33, 33, 64), (3, 3, 64, 64), padding="same")


@both_sides
def test_errors_stay_within_ten_times_those_of_the_direct_sum(side):
    """Root mean square and largest error, for a layer as networks have it: x after a ReLU, weights of He's size."""
    x, w, grad = normal(1, LAYER.x_shape, LAYER.w_shape, LAYER.y_shape, dtype=np.float32)
    x, w = np.maximum(x, 0), w * np.float32((2 / (9 * 64)) ** 0.5)
    exact = direct(reference, *(a.astype(np.float64) for a in (x, w, grad)), LAYER)
    plan = winograd_plan.side_of
    directions = ("conv2d", (x, w)), ("conv2d_grad_input", (grad, w)), ("conv2d_grad_weight", (x, grad))
    for (name, operands), e, a in zip(directions, exact, by_squares(x, w, grad, LAYER, side), strict=True):
        kernel = getattr(cpu, name)
        kernel.__globals__["side_of"] = lambda *_: 0
        try:
            sums = kernel(*operands, LAYER)
        finally:
            kernel.__globals__["side_of"] = plan
        for norm in (lambda v: (v**2).mean() ** 0.5, lambda v: abs(v).max()):
            assert 0 < norm(a - e) < 10 * norm(sums - e)


@both_sides
def test_nan_stays_in_the_squares_that_read_it(side):
    """And reaches each output that has it under a tap."""
    win = Window.conv((1, 21, 21, 16), (3, 3, 16, 32), padding="same")
    x, w = normal(1, win.x_shape, win.w_shape)
    x[0, 9, 12, 3] = np.nan
    is_nan = np.isnan(winograd.forward(x, w, win, side)).all(axis=-1)[0]
    assert is_nan[8:11, 11:14].all()
    rows, columns = np.nonzero(is_nan)
    assert abs(rows - 9).max() <= side
    assert abs(columns - 12).max() <= side


def results():
    """Bits of all directions in both sides, as a list of bytes in hexadecimal."""
    win = Window.conv((1, 35, 30, 48), (3, 3, 48, 80), rate=(1, 2), padding="same")
    operands = normal(3, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    return [a.tobytes().hex() for side in winograd_plan.SIDES for a in by_squares(*operands, win, side)]


def test_no_result_depends_on_what_its_memory_held(monkeypatch):
    monkeypatch.setattr(arrays, "_POOLED_FROM", 0)
    expected = results()
    for buffers in arrays._free.values():
        for buffer in buffers:
            buffer.fill(0xFF)
    assert results() == expected
    arrays.release_pool()


# -------------------------------------------------------------------- where it is chosen


def side_of(size, c, k, rate=1, op="conv2d", dtype=np.float32, **options):
    shapes = (1, size, size, c), (3, 3, c, k)
    return winograd_plan.side_of(Window.conv(*shapes, rate=rate, padding="same", **options), op, np.dtype(dtype))


@needs_vectors
@pytest.mark.parametrize("op", ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"])
def test_large_layers_are_computed_by_squares(op):
    assert side_of(129, 256, 256, op=op) == 4
    assert side_of(129, 304, 256, op=op) == 4
    assert side_of(65, 128, 128, op=op) == 4
    assert side_of(65, 256, 256, 2, op=op) == 4


@pytest.mark.parametrize("op", ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"])
def test_others_are_direct_sums(op):
    assert side_of(33, 2048, 256, 12, op=op) == 0  # most taps lie in the padding
    assert side_of(17, 256, 256, op=op) == 0  # few squares for so many weights
    assert side_of(129, 250, 256, op=op) == 0  # channels that fill no vector
    assert side_of(129, 16, 16, op=op) == 0
    assert side_of(129, 256, 256, op=op, stride=2) == 0
    assert side_of(129, 256, 256, op=op, dtype=BFLOAT16) == 0
    assert winograd_plan.side_of(Window.conv((1, 129, 129, 256), (5, 5, 256, 256)), op, np.dtype(np.float32)) == 0


@needs_vectors
@both_dtypes
def test_the_backend_uses_them(dtype):
    """The same bits as from the functions by name."""
    win = Window.conv((1, 65, 65, 128), (3, 3, 128, 128), rate=2, padding="same")
    x, w, grad = normal(2, win.x_shape, win.w_shape, win.y_shape, dtype=dtype)
    for a, e in zip(direct(cpu, x, w, grad, win), by_squares(x, w, grad, win, 4), strict=True):
        np.testing.assert_array_equal(a, e)
