"""A 1x1 convolution that reads what a batch norm makes in passing: the bits of one after the other."""

from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest
from engines import assert_same_bits_on_any_number_of_threads, engine, every_engine
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import activations, arrange, layouts, normal, seeds

import kernels
from kernels.bfloat16 import BFLOAT16, narrow
from kernels.cpu import bfloat16_block, norm_then_pointwise
from kernels.geometry import Window

cpu = kernels.load("cpu")
EPS = 1e-3


def both_ways(shape, columns, activation, dtype, seed, layout="C"):
    """[(in one pass, one after the other)] of the convolution and its weight gradient."""
    c, win = shape[3], Window.conv(shape, (1, 1, shape[3], columns))
    numbers = np.float32 if dtype == BFLOAT16 else dtype
    x, w, grad = normal(seed, shape, win.w_shape, win.y_shape, dtype=numbers)
    mean, var, gamma, beta = normal(seed + 1, (c,), (c,), (c,), (c,), dtype=numbers)
    if dtype == BFLOAT16:
        x, grad = narrow(x), narrow(grad)
    x, grad = arrange(x, layout), arrange(grad, layout)
    affine = mean, var**2, gamma, beta, EPS, activation
    y = cpu.batch_norm(x, *affine)
    return [
        (cpu.pointwise_of_batch_norm(x, w, win, *affine), cpu.pointwise(y, w, win)),
        (cpu.pointwise_of_batch_norm_grad_weight(x, grad, win, *affine), cpu.pointwise_grad_weight(y, grad, win)),
    ]


def assert_same_bits(pairs):
    for found, expected in pairs:
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()


@contextmanager
def blocks(name):
    """Blocks compute every layer of float32 or bfloat16, on this engine."""
    with pytest.MonkeyPatch.context() as patch, engine(name):
        for module in (norm_then_pointwise, import_module("kernels.cpu.pointwise")):
            patch.setattr(module, "blocks_compute", lambda dtype, win: dtype != np.float64)
        yield patch


shapes = st.tuples(st.integers(1, 2), st.integers(1, 13), st.integers(1, 13), st.integers(1, 70))


@every_engine
@pytest.mark.parametrize("dtype", [np.float32, np.float64, BFLOAT16], ids=["float32", "float64", "bfloat16"])
@given(shape=shapes, columns=st.integers(1, 70), activation=activations, seed=seeds, layout=layouts)
@example(shape=(2, 11, 25, 40), columns=33, activation="relu", seed=0, layout="C")  # groups, chunks, an odd last pixel
@example(shape=(1, 3, 3, 1100), columns=5, activation=None, seed=0, layout="C")  # panels
def test_it_has_the_bits_of_one_after_the_other(name, dtype, shape, columns, activation, seed, layout):
    with blocks(name):
        assert_same_bits(both_ways(shape, columns, activation, dtype, seed, layout))


@pytest.mark.parametrize("activation", [None, "relu", "hardswish"])
def test_what_the_tile_computes_goes_one_after_the_other(activation, monkeypatch):
    monkeypatch.setattr(bfloat16_block, "ENGINE", "plain")
    monkeypatch.setattr(norm_then_pointwise, "blocks_over_channels", None)
    assert_same_bits(both_ways((1, 6, 7, 128), 128, activation, np.float32, 1))


@every_engine
def test_the_normalised_map_is_never_made(name):
    win, ones = Window.conv((1, 9, 9, 40), (1, 1, 40, 33)), np.ones(40, np.float32)
    x, w, grad = normal(0, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    affine = ones, ones, ones, ones, EPS, "relu"
    with blocks(name) as patch:
        patch.setattr(norm_then_pointwise, "batch_norm", None)
        assert np.isfinite(cpu.pointwise_of_batch_norm(x, w, win, *affine)).all()
        assert np.isfinite(cpu.pointwise_of_batch_norm_grad_weight(x, grad, win, *affine)).all()
        with pytest.raises(TypeError, match="not callable"):
            cpu.pointwise_of_batch_norm(x.astype(np.float64), w, win, *affine)


@every_engine
def test_the_number_of_threads_changes_no_bit(name):
    with blocks(name):
        assert_same_bits_on_any_number_of_threads(
            lambda: [once for once, _ in both_ways((2, 17, 19, 130), 100, "relu6", np.float32, 2)]
        )


@pytest.mark.parametrize(
    ("changed", "message"),
    [("w", "weight has shape"), ("mean", "mean must have shape"), ("beta", "beta must have shape")],
)
def test_shapes_that_do_not_fit_are_refused(changed, message):
    win = Window.conv((1, 5, 5, 40), (1, 1, 40, 33))
    shapes = {"x": win.x_shape, "w": win.w_shape} | dict.fromkeys(("mean", "var", "gamma", "beta"), (40,))
    shapes[changed] = (1, 1, 33, 40) if changed == "w" else (41,)
    arrays = [np.ones(shape, np.float32) for shape in shapes.values()]
    with blocks("plain"), pytest.raises(ValueError, match=message):
        cpu.pointwise_of_batch_norm(*arrays[:2], win, *arrays[2:], EPS, None)
