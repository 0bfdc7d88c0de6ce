"""Geometries to draw, data for them, and how far two correct results may be apart."""

import os

import numpy as np
import pytest
from hosted import Hosted
from hypothesis import strategies as st

import kernels
from kernels.geometry import Window

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"  # then kernels.cuda is tested, on small shapes, and alone
BACKENDS = ("cuda",) if SIMULATED else ("reference", "cpu")


def backend(name):
    """A backend that takes NumPy arrays."""
    k = kernels.load(name)
    return Hosted(k) if name == "cuda" else k


each_backend = pytest.mark.parametrize("k", [backend(name) for name in BACKENDS], ids=BACKENDS)
each_fast_backend = pytest.mark.parametrize(
    "k",
    [backend(name) for name in BACKENDS if name != "reference"],
    ids=[name for name in BACKENDS if name != "reference"],
)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
any_layout = pytest.mark.parametrize(  # kernels are compiled anew for arrays that are read-only: for one dtype only
    ("layout", "dtype"),
    [(layout, dtype) for layout in ("C", "F", "strided", "reversed") for dtype in (np.float32, np.float64)]
    + [("read-only", np.float32)],
)

# -------------------------------------------------------------------- data

seeds = st.integers(0, 2**32 - 1)


def normal(seed, *shapes, dtype=np.float64):
    """Arrays of standard normal numbers, one for each shape; the array itself for a single shape."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed])))
    arrays = [generator.standard_normal(shape, np.float64).astype(dtype) for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


ACTIVATIONS = {  # name: its definition
    None: lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "relu6": lambda v: np.minimum(np.maximum(v, 0), 6),
    "hardswish": lambda v: v * np.minimum(np.maximum(v + 3, 0), 6) / 6,
    "hardsigmoid": lambda v: np.minimum(np.maximum(v + 3, 0), 6) / 6,
    "sigmoid": lambda v: np.where(v >= 0, 1, np.exp(-abs(v))) / (1 + np.exp(-abs(v))),
}
CURVES = ("hardswish", "hardsigmoid", "sigmoid")  # those that round in more than one step
SIZE = {"hardsigmoid": 1.0, "sigmoid": 1.0}  # what their results round at, however small v is
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
activations = st.sampled_from(tuple(ACTIVATIONS))


layouts = st.sampled_from(("C", "F", "strided", "reversed"))


def arrange(array, layout):
    """The same numbers in another memory layout, as slices and transposes leave them, or "read-only"."""
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
        return array
    if layout == "strided":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1])[::-1]
    return np.array(array, order=layout)


# -------------------------------------------------------------------- geometries

LARGEST = 5 if SIMULATED else 12  # the simulator is slow
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "pointwise")
channels = st.integers(1, 9 if SIMULATED else 70)  # the simulator is slow


def window_of(op, x_shape, w_shape, **options):
    """The window of one of CONVOLUTIONS; options as in Window.conv."""
    make = Window.depthwise if op == "depthwise_conv2d" else Window.conv
    return make(x_shape, w_shape, **options)


def weight_shape(op, k_h, k_w, c_in, c_out):
    return (k_h, k_w, c_in) if op == "depthwise_conv2d" else (k_h, k_w, c_in, c_out)


@st.composite
def axes(draw, extra=LARGEST - 4):
    """(size, k, stride, rate, (before, after)) of one axis, valid as the input is drawn last, large enough."""
    k, stride, rate = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    effective = rate * (k - 1) + 1
    pads = draw(st.tuples(st.integers(0, effective + 1), st.integers(0, effective + 1)))
    return max(1, effective - sum(pads)) + draw(st.integers(0, extra)), k, stride, rate, pads


@st.composite
def windows(draw, op):
    """Windows of one of CONVOLUTIONS: any padding, "same" and asymmetric included, 1 .. 70 channels, 1 .. 2 images."""
    n, c_in, c_out = draw(st.integers(1, 2)), draw(channels), draw(channels)
    if op == "pointwise":
        h, w = draw(st.integers(1, LARGEST)), draw(st.integers(1, LARGEST))
        return window_of(op, (n, h, w, c_in), (1, 1, c_in, c_out))
    (h, k_h, stride_h, rate_h, rows), (w, k_w, stride_w, rate_w, columns) = draw(axes()), draw(axes())
    padding = draw(st.sampled_from(("explicit", "same")))
    if padding == "same":  # with an odd rate an even kernel is padded one pixel short: one pixel more of input
        h, w = h + 1, w + 1
    return window_of(
        op,
        (n, h, w, c_in),
        weight_shape(op, k_h, k_w, c_in, c_out),
        stride=(stride_h, stride_w),
        rate=(rate_h, rate_w),
        padding="same" if padding == "same" else (rows, columns),
    )


@st.composite
def pool_windows(draw):
    """Windows of a pooling: padding smaller than the window, ceil mode or not."""

    def axis():
        k, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        before, after = draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))
        return max(1, k - before - after) + draw(st.integers(0, 9)), k, stride, (before, after)

    (h, k_h, stride_h, rows), (w, k_w, stride_w, columns) = axis(), axis()
    shape = (draw(st.integers(1, 2)), h, w, draw(channels))
    return Window.pool(shape, (k_h, k_w), (stride_h, stride_w), (rows, columns), ceil_mode=draw(st.booleans()))


def image_shapes(largest=LARGEST):
    """(N, H, W, C)."""
    return st.tuples(st.integers(1, 2), st.integers(1, largest), st.integers(1, largest), channels)


# -------------------------------------------------------------------- comparison


def assert_close(actual, expected, magnitude, terms, floor=0.0):
    """|actual - expected| <= terms eps magnitude (+ floor): the bound of rounding in a sum of `terms` products.

    A sum of n products in any order is within n eps/2 sum |a b| of the exact one (Higham 2002, section 3.1), so two of
    them are within n eps sum |a b|; eps is that of actual's dtype, terms has a few more than n for what else rounds.

    Args:
        expected: computed in float64; magnitude: the same sum of absolute values.
    """
    actual = np.asarray(actual)
    assert actual.shape == np.shape(expected)
    bound = terms * np.finfo(actual.dtype).eps * np.asarray(magnitude, np.float64) + floor
    error = np.abs(actual.astype(np.float64) - expected)
    wrong = ~(error <= bound)  # NaN is wrong too
    if wrong.any():
        at = tuple(np.argwhere(np.broadcast_to(wrong, actual.shape))[0].tolist())
        pytest.fail(
            f"{wrong.sum()} of {wrong.size} elements are wrong, the first at {at}: {actual[at]!r}, expected"
            f" {np.asarray(expected)[at]!r} within {np.broadcast_to(bound, actual.shape)[at]:.3g}"
        )


def inner(a, b):
    """<a, b> in float64."""
    return float(np.dot(a.ravel().astype(np.float64), b.ravel().astype(np.float64)))


def central_differences(function, x, step=1e-6):
    """d function / d x for a float64 array x and a function to a number, one element after the other."""
    slope = np.empty_like(x)
    for at in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += sign * step
            ends.append(function(moved))
        slope[at] = (ends[0] - ends[1]) / (2 * step)
    return slope
