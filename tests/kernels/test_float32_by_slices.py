"""Dense convolution in float32 by bfloat16 slices against the definition in float64, on every engine."""

from contextlib import contextmanager

import numba
import numpy as np
import pytest
from engines import assert_same_bits_on_any_number_of_threads, engine, every_engine
from hypothesis import given
from hypothesis import strategies as st
from strategies import ACTIVATIONS, SIZE, activations, normal, seeds, windows

import kernels
from kernels import reference
from kernels.bfloat16 import BFLOAT16
from kernels.cpu import bfloat16_block, blocks_over_channels, blocks_over_pixels
from kernels.geometry import Window

cpu = kernels.load("cpu")
both_ops = pytest.mark.parametrize("op", ["conv2d", "pointwise"])
needs_tile_registers = pytest.mark.skipif("amx" not in bfloat16_block.AVAILABLE, reason="this processor has no amx")
HALF_PLACE = 2.0**-24  # what float32 rounds, of a number


@contextmanager
def slices_on(name):
    """All float32 convolutions, of however few channels, by slices on this engine."""
    with pytest.MonkeyPatch.context() as patch, engine(name):
        patch.setitem(cpu.conv2d.__globals__, "side_of", lambda *_: 0)
        for kernel in (cpu.conv2d, cpu.pointwise):
            patch.setitem(kernel.__globals__, "blocks_compute", lambda *_: True)
        yield


def compute(k, x, w, grad, win):
    return k.conv2d(x, w, win), k.conv2d_grad_input(grad, w, win), k.conv2d_grad_weight(x, grad, win)


def by_slices(name, x, w, grad, win):
    with slices_on(name):
        return compute(cpu, x, w, grad, win)


def assert_within(actual, expected, magnitude, terms):
    """The bound of a sum of `terms` products by slices; magnitude: the same sum of absolute values.

    Six products of slices for each product, exact in float32 and together at most 1 + 2^-6 of it, are added in some
    order: 2^-24 for each addition (Higham 2002, section 3.1). What the other three would add is 2^-24.
    """
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    bound = (6 * terms * (1 + 2.0**-6) + 1) * HALF_PLACE * magnitude + 1e-36
    worst = (abs(actual - expected) / bound).max()
    assert worst <= 1, f"{worst:.3g} times the bound"


def assert_equals_definition(name, win, seed):
    given_arrays = normal(seed, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    wide = [a.astype(np.float64) for a in given_arrays]
    terms = win.k_h * win.k_w * win.c_in, win.k_h * win.k_w * win.c_out, win.n * win.out_h * win.out_w
    expected, magnitudes = compute(reference, *wide, win), compute(reference, *map(np.abs, wide), win)
    for a, e, m, n in zip(by_slices(name, *given_arrays, win), expected, magnitudes, terms, strict=True):
        assert_within(a, e, m, n)


# Bits of the integers x, w and grad: one of them of three slices beside others of one, or all of two.
BITS = [(20, 1, 1), (1, 20, 1), (1, 1, 20), (10, 10, 10)]


def integers(win, bits, seed):
    """x, w, grad of so many bits, whose sums of absolute products stay below 2^23: of long sums most terms are zero."""
    generator = np.random.default_rng(seed)
    shapes = win.x_shape, win.w_shape, win.y_shape
    found = [np.rint(generator.uniform(1 - 2**n, 2**n - 1, shape)) for n, shape in zip(bits, shapes, strict=True)]
    while (largest := max(m.max() for m in compute(reference, *map(np.abs, found), win))) >= 2**23:
        found = [a * (generator.random(a.shape) < 0.9 * (2**23 / largest) ** 0.5) for a in found]
    return found


def assert_integers_are_exact(name, win, bits, seed):
    """Sums of integers below 2^24 are exact in float32, in any order; and with them every product of slices that
    counts: one left out, or taken from another slice, is an error that no rounding hides."""
    found = integers(win, bits, seed)
    results = by_slices(name, *(a.astype(np.float32) for a in found), win)
    for a, e in zip(results, compute(reference, *found, win), strict=True):
        np.testing.assert_array_equal(a, e)


@every_engine
@both_ops
@given(data=st.data(), seed=seeds)
def test_every_geometry(name, op, data, seed):
    assert_equals_definition(name, data.draw(windows(op)), seed)


@every_engine
@both_ops
@given(data=st.data(), bits=st.sampled_from(BITS), seed=seeds)
def test_sums_of_integers_are_exact(name, op, data, bits, seed):
    assert_integers_are_exact(name, data.draw(windows(op)), bits, seed)


# Sizes at which the kernels change their way: x, weight, options.
TURNS = {
    "three panels of 24 steps": ((1, 5, 6, 240), (3, 3, 240, 70), {"padding": "same"}),
    "panels of 32 and 31 steps": ((1, 5, 6, 200), (3, 3, 200, 33), {"rate": 2, "padding": "same"}),
    "a tap of several panels": ((1, 5, 6, 2100), (1, 1, 2100, 40), {"stride": 2}),
    "whole steps": ((1, 9, 9, 64), (1, 1, 64, 96), {}),
    "several groups of positions": ((2, 30, 31, 40), (1, 1, 40, 600), {}),
    "groups of few long rows": ((1, 20, 20, 1000), (1, 1, 1000, 33), {}),
    "groups of few rows with many sums": ((1, 24, 24, 33), (1, 1, 33, 1100), {}),
    "several chunks and ranges of pixels": ((2, 40, 45, 40), (3, 3, 40, 33), {"rate": 2, "padding": "same"}),
    "weight gradient in parts": ((1, 6, 7, 200), (3, 3, 200, 300), {"padding": "same"}),
    "strides, rates, padding of all sides": (
        (2, 13, 14, 97), (3, 2, 97, 101), {"stride": (2, 1), "rate": (1, 3), "padding": ((0, 2), (4, 1))}
    ),
    "stride beyond the kernel": ((1, 17, 19, 20), (2, 2, 20, 6), {"stride": (5, 4)}),
    "the taps of few channels side by side": ((2, 33, 31, 3), (7, 7, 3, 64), {"stride": 2, "padding": 3}),
    "nothing but padding": ((1, 1, 1, 2), (1, 1, 2, 3), {"stride": 2, "padding": ((3, 2), (1, 4))}),
}  # fmt: skip
every_turn = pytest.mark.parametrize("key", TURNS)


def turn(key):
    x_shape, w_shape, options = TURNS[key]
    return Window.conv(x_shape, w_shape, **options)


@every_engine
@every_turn
def test_where_the_kernel_turns(name, key):
    assert_equals_definition(name, turn(key), seed=1)
    for bits in BITS:
        assert_integers_are_exact(name, turn(key), bits, seed=1)


def test_the_turns_are_where_they_should_be():
    """What `key` says is what the plans do: else these sizes would test nothing."""
    slices = bfloat16_block.SLICES

    def panels(key):
        plan = blocks_over_channels.block_plan(turn(key), slices, forward=True)
        longest = int(plan.length.argmax())
        first, last = plan.first_panel[longest : longest + 2]
        return np.diff(plan.panels[first:last, 2:]).ravel().tolist()

    assert panels("three panels of 24 steps") == 3 * [24]
    assert panels("panels of 32 and 31 steps") == [32, 31]
    assert panels("a tap of several panels") == 3 * [22]
    win = turn("several chunks and ranges of pixels")
    chunks = -(-win.n * win.out_h * win.out_w // blocks_over_pixels._PIXELS[slices])
    assert blocks_over_pixels._jobs(9 * 2, 2, chunks)[1] > 1
    jobs, ranges = blocks_over_pixels._jobs(9 * 7, 10, 1)  # of "weight gradient in parts"
    tiles, blocks = {tuple(job[1:3]) for job in jobs}, {tuple(job[3:]) for job in jobs}
    assert ranges == 1 and len(tiles) > 1 and len(blocks) > 1


@every_engine
@given(data=st.data(), seed=seeds, activation=activations, with_residual=st.booleans())
def test_the_last_step(name, data, seed, activation, with_residual):
    assert_last_step(name, data.draw(windows("conv2d")), seed, activation, with_residual)


@every_engine
@pytest.mark.parametrize("key", ["three panels of 24 steps", "several groups of positions"])
def test_the_last_step_comes_once(name, key):
    """After all panels, to each of several groups and blocks."""
    for activation in ("relu6", "hardswish"):
        assert_last_step(name, turn(key), 1, activation, with_residual=True)


def assert_last_step(name, win, seed, activation, with_residual):
    """Scale, shift, residual and activation round as one more term of the sum, hardswish as some."""
    shapes = win.x_shape, win.w_shape, (win.c_out,), (win.c_out,), win.y_shape
    x, w, scale, shift, more = arrays = normal(seed, *shapes, dtype=np.float32)
    with slices_on(name):
        y = cpu.conv2d(x, w, win, scale, shift, activation, more if with_residual else None)
    x, w, scale, shift, more = (a.astype(np.float64) for a in arrays)
    more = more * with_residual
    expected = ACTIVATIONS[activation](scale * reference.conv2d(x, w, win) + shift + more)
    magnitude = abs(scale) * reference.conv2d(abs(x), abs(w), win) + abs(shift) + abs(more)
    magnitude = magnitude + SIZE.get(activation, 0)
    steepest = 1.5 if activation == "hardswish" else 1.0  # an error before it grows by so much
    assert_within(y, expected, steepest * magnitude, win.k_h * win.k_w * win.c_in + 2)


# ---------------------------------------------------------------- the error

LAYERS = [
    Window.conv((1, 24, 25, 512), (1, 1, 512, 192)),
    Window.conv((1, 15, 16, 160), (3, 3, 160, 128), rate=2, padding="same"),
]


@needs_tile_registers
@pytest.mark.parametrize("win", LAYERS, ids=["1x1", "3x3"])
@pytest.mark.parametrize("positive", [False, True], ids=["normal", "positive"])
def test_the_error_is_smaller_than_that_of_the_direct_sum(win, positive):
    """Largest and root mean square, relative to the sum of absolute products."""
    given_arrays = normal(7, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    given_arrays = [abs(a) for a in given_arrays] if positive else given_arrays
    wide = [a.astype(np.float64) for a in given_arrays]
    expected, magnitudes = compute(reference, *wide, win), compute(reference, *map(np.abs, wide), win)
    with engine("plain"), pytest.MonkeyPatch.context() as patch:
        patch.setitem(cpu.conv2d.__globals__, "side_of", lambda *_: 0)
        direct = compute(cpu, *given_arrays, win)
    for a, d, e, m in zip(by_slices("amx", *given_arrays, win), direct, expected, magnitudes, strict=True):
        for norm in (lambda v: (v**2).mean() ** 0.5, lambda v: abs(v).max()):
            assert 0 < norm((a - e) / m) < 0.7 * norm((d - e) / m)


# ---------------------------------------------------------------- bits


@every_engine
@pytest.mark.parametrize("key", ["several groups of positions", "several chunks and ranges of pixels"])
def test_the_same_bits_on_any_number_of_threads_and_from_any_memory(name, key):
    win = turn(key)
    given_arrays = normal(3, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    assert_same_bits_on_any_number_of_threads(lambda: by_slices(name, *given_arrays, win))


@every_engine
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3.4e38], ids=str)
def test_what_is_not_finite_makes_nan_of_its_own_sums_alone(name, odd):
    """Infinity leaves NaN for its other slices; what bfloat16 rounds to infinity leaves -infinity, then NaN."""
    win = Window.conv((1, 5, 5, 40), (1, 1, 40, 35))
    x, w, grad = normal(5, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    x[0, 1, 2, 3], x[0, 4, 4, 39], grad[0, 3, 3, 34] = odd, odd, odd
    y, grad_x, grad_w = by_slices(name, x, w, grad, win)
    is_nan = np.zeros(win.y_shape, bool)
    is_nan[0, 1, 2] = is_nan[0, 4, 4] = True
    np.testing.assert_array_equal(np.isnan(y), is_nan)
    assert np.isfinite(y[~is_nan]).all()
    is_nan = np.zeros(win.x_shape, bool)
    is_nan[0, 3, 3] = True
    np.testing.assert_array_equal(np.isnan(grad_x), is_nan)
    is_nan = np.zeros((40, 35), bool)
    is_nan[3] = is_nan[39] = is_nan[:, 34] = True
    np.testing.assert_array_equal(np.isnan(grad_w[0, 0]), is_nan)


@every_engine
def test_a_weight_that_is_not_finite_makes_nan_of_its_channels_alone(name):
    win = Window.conv((1, 5, 5, 40), (3, 3, 40, 35))
    x, w, grad = normal(5, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    w[1, 1, 7, 33] = np.inf
    y, grad_x, _ = by_slices(name, x, w, grad, win)
    np.testing.assert_array_equal(np.isnan(y).all(axis=(0, 1, 2)), np.arange(35) == 33)
    assert np.isfinite(y[..., :33]).all()
    inner = np.zeros((5, 5), bool)
    inner[1:4, 1:4] = True  # pixels that meet the middle tap
    np.testing.assert_array_equal(np.isnan(grad_x[0, ..., 7]), inner)
    assert np.isfinite(np.delete(grad_x, 7, axis=3)).all()


# ---------------------------------------------------------------- where they are chosen


def blocks_compute(c, k, dtype=np.float32, size=65):
    window = Window.conv((1, size, size, c), (3, 3, c, k))
    return bfloat16_block.blocks_compute(np.dtype(dtype) if dtype != BFLOAT16 else dtype, window)


def test_which_convolutions_are_taken(monkeypatch):
    for name in bfloat16_block.ENGINES:
        monkeypatch.setattr(bfloat16_block, "ENGINE", name)
        assert blocks_compute(96, 96) == blocks_compute(96, 2048) == blocks_compute(2048, 96) == (name == "amx")
        assert not blocks_compute(95, 2048) and not blocks_compute(2048, 95) and not blocks_compute(96, 96, size=9)
        assert not blocks_compute(512, 512, np.float64)
        assert blocks_compute(3, 5, BFLOAT16) and blocks_compute(512, 512, BFLOAT16)


def test_python_that_is_not_compiled_takes_none(monkeypatch):
    monkeypatch.setattr(bfloat16_block, "ENGINE", "amx")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert not blocks_compute(512, 512)


@needs_tile_registers
@pytest.mark.parametrize("size", [1, 3])
def test_the_backend_uses_them(size, monkeypatch):
    """The same bits as by slices in any case, and others than by the tile."""
    monkeypatch.setattr(bfloat16_block, "_LEAST", 0)
    win = Window.conv((1, 7, 8, 96), (size, size, 96, 100), padding="same")
    given_arrays = normal(2, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    results = []
    for name in ("amx", "plain"):
        with engine(name):
            results.append(compute(cpu, *given_arrays, win))
    for found, direct, expected in zip(*results, by_slices("amx", *given_arrays, win), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert (found != direct).any()


@needs_tile_registers
def test_a_separable_convolution_is_its_two_parts(monkeypatch):
    """Bit by bit, where the pointwise part is computed by slices, which the fused loop has not."""
    monkeypatch.setattr(bfloat16_block, "_LEAST", 0)
    win = Window.depthwise((2, 9, 11, 96), (3, 3, 96), padding="same")
    last = Window.conv(win.y_shape, (1, 1, 96, 100))
    x, w, w_last, residual = normal(1, win.x_shape, win.w_shape, last.w_shape, last.y_shape, dtype=np.float32)
    scale, shift, scale_last, shift_last = normal(2, 96, 96, 100, 100, dtype=np.float32)
    between, after = (scale, shift, "relu"), (scale_last, shift_last, "hardswish")
    results = []
    for name in ("amx", "plain"):
        with engine(name):
            fused = cpu.separable_conv2d(x, w, w_last, win, last, between, after, residual)
            parts = cpu.pointwise(cpu.depthwise_conv2d(x, w, win, *between), w_last, last, *after, residual)
            np.testing.assert_array_equal(fused, parts)
            results.append(fused)
    assert (results[0] != results[1]).any()
