"""Depthwise and pointwise convolution in one pass: the bits of one after the other."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import activations, arrange, both_dtypes, layouts, normal, seeds, windows

import kernels
from kernels.cpu import separable
from kernels.geometry import Window

cpu = kernels.load("cpu")


def both_ways(win, columns, activation, last_activation, adds, dtype=np.float32, seed=0, layout="C"):
    """(in one pass, one after the other)."""
    c, last = win.c_in, Window.conv(win.y_shape, (1, 1, win.c_in, columns))
    maps = normal(seed, win.x_shape, last.y_shape, dtype=dtype)
    w, w_last = normal(seed + 1, win.w_shape, last.w_shape, dtype=dtype)
    scale, shift, scale_last, shift_last = normal(seed + 2, (c,), (c,), (columns,), (columns,), dtype=dtype)
    x, residual = (arrange(a, layout) for a in maps)
    steps = (scale, shift, activation), (scale_last, shift_last, last_activation)
    residual = residual if adds else None
    y = cpu.depthwise_conv2d(x, w, win, *steps[0])
    return (
        cpu.separable_conv2d(x, w, w_last, win, last, *steps, residual),
        cpu.pointwise(y, w_last, last, *steps[1], residual),
    )


WIDE = Window.depthwise((1, 12, 9, 512), (3, 3, 512), rate=2, padding="same")  # positions 2 KiB apart
TALL = Window.depthwise((3, 40, 33, 40), (3, 3, 40), stride=(1, 2), padding="same")  # several buffers and images


@both_dtypes
@given(
    win=windows("depthwise_conv2d"), columns=st.integers(1, 70), first=activations, last=activations,
    adds=st.booleans(), seed=seeds, layout=layouts,
)  # fmt: skip
@example(win=WIDE, columns=33, first="relu", last=None, adds=True, seed=0, layout="C")
@example(win=TALL, columns=64, first=None, last="hardswish", adds=False, seed=0, layout="C")
def test_it_has_the_bits_of_one_after_the_other(dtype, win, columns, first, last, adds, seed, layout):
    found, expected = both_ways(win, columns, first, last, adds, dtype, seed, layout)
    np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("win", [WIDE, TALL], ids=["wide", "tall"])
def test_the_number_of_threads_changes_no_bit(win):
    threads, found = kernels.num_threads(), []
    try:
        for count in sorted({1, threads}):
            kernels.set_num_threads(count)
            found.append(both_ways(win, 40, "relu", "relu6", True)[0])
    finally:
        kernels.set_num_threads(threads)
    for result in found:
        np.testing.assert_array_equal(result, found[0])


def test_many_channels_go_one_after_the_other(monkeypatch):
    """Their weights would pass by for a few positions at a time."""
    monkeypatch.setattr(separable, "_run", None)
    win = Window.depthwise((1, 20, 20, 4096), (3, 3, 4096), padding="same")
    np.testing.assert_array_equal(*both_ways(win, 3, None, None, False))
    with pytest.raises(TypeError, match="not callable"):
        both_ways(TALL, 3, None, None, False)


REFUSED = {
    "x": ({"x": (1, 5, 5, 8)}, "depthwise_conv2d: x has shape"),
    "scale": ({"scale": (5,)}, "depthwise_conv2d: scale has shape"),
    "w_last": ({"w_last": (1, 1, 4, 8)}, "pointwise: weight has shape"),
    "shift_last": ({"shift_last": (8,)}, "pointwise: shift has shape"),
    "residual": ({"residual": (1, 6, 6, 8)}, "pointwise: residual has shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_shapes_that_do_not_fit_are_refused(case):
    changed, message = REFUSED[case]
    shapes = {
        "x": (1, 6, 6, 8), "w": (3, 3, 8), "w_last": (1, 1, 8, 4), "scale": (8,), "shift": (8,), "scale_last": (4,),
        "shift_last": (4,), "residual": (1, 6, 6, 4),
    }  # fmt: skip
    win = Window.depthwise(shapes["x"], shapes["w"], padding="same")
    last = Window.conv(win.y_shape, shapes["w_last"])
    a = {name: np.ones(shape, np.float32) for name, shape in (shapes | changed).items()}
    steps = (a["scale"], a["shift"], None), (a["scale_last"], a["shift_last"], None)
    with pytest.raises(ValueError, match=message):
        cpu.separable_conv2d(a["x"], a["w"], a["w_last"], win, last, *steps, a["residual"])


def test_observers_see_the_two_convolutions():
    seen = []
    with kernels.watching("cpu", lambda name, function, args, kwargs: seen.append(name)):
        assert cpu.separable_conv2d is None
    assert cpu.separable_conv2d is separable.separable_conv2d and not seen
    assert not hasattr(kernels.load("reference"), "separable_conv2d")


def test_windows_and_dtypes_that_do_not_fit_are_refused():
    win = Window.depthwise((1, 33, 9, 8), (3, 3, 8), padding="same")
    x, w, w_last = normal(0, win.x_shape, win.w_shape, (1, 1, 8, 32), dtype=np.float32)
    scale, shift, scale_last, shift_last = normal(1, (8,), (8,), (32,), (32,), dtype=np.float32)
    steps = (scale, shift, "relu"), (scale_last, shift_last, None)
    for height in (20, 40):
        other = Window.conv((1, height, 9, 8), w_last.shape)
        with pytest.raises(ValueError, match="pointwise window was made for"):
            cpu.separable_conv2d(x, w, w_last, win, other, *steps)
    last = Window.conv(win.y_shape, w_last.shape)
    doubles = [a.astype(np.float64) for a in (w_last, scale_last, shift_last)]
    with pytest.raises(TypeError, match="share one dtype"):
        cpu.separable_conv2d(x, w, doubles[0], win, last, steps[0], (*doubles[1:], None))
    y = cpu.separable_conv2d(x, w, w_last, win, last, (None, None, None), (None, None, None))
    np.testing.assert_array_equal(y, cpu.pointwise(cpu.depthwise_conv2d(x, w, win), w_last, last))
