"""bfloat16: what it is, and every kernel on bfloat16 feature maps against the reference."""

import kernel_calls
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import calls
from strategies import SIMULATED, activations, normal, seeds, windows

import kernels
from kernels.bfloat16 import BFLOAT16, narrow, rounded, widen

pytestmark = pytest.mark.skipif(SIMULATED, reason="the device cuda has no bfloat16")
FLOAT32_ALONE = ("softmax", "cross_entropy", "update", "confusion", "lattice", "mean_field", "arrays")
NAMES = [name for file, names in kernels.CONTRACT.items() if file not in FLOAT32_ALONE for name in names] + ["argmax"]
NAMES = [name for name in NAMES if name not in ("batch_norm_factors", "update_running")]


@pytest.fixture(scope="module", params=["reference", "cpu"])
def k(request):
    return kernels.load(request.param)


# ---------------------------------------------------------------- the numbers


@given(st.floats(width=32) | st.integers(0, 2**32 - 1).map(lambda bits: float(np.uint32(bits).view(np.float32))))
def test_the_nearest_and_of_two_the_even_one(number):
    x = np.array([number], np.float32)
    bits = narrow(x).view(np.uint16)
    if np.isnan(number):
        assert np.isnan(widen(bits)).all()
        return
    around = np.array([int(bits[0]) + step for step in (-1, 0, 1)], np.int64) & 0xFFFF
    with np.errstate(invalid="ignore"):  # one of them may be a NaN that signals
        near = widen(around.astype(np.uint16)).astype(np.float64)
    near = np.where(np.isinf(near), np.sign(near) * 2.0**128, near)  # beyond the largest: as if the range went on
    if np.isinf(number):
        assert widen(bits)[0] == number
        return
    distance = np.abs(near - float(x[0]))
    distance = np.where(np.isnan(distance), np.inf, distance)
    assert distance[1] == distance.min()
    assert bits[0] % 2 == 0 or (distance == distance.min()).sum() == 1


def test_there_and_back(k):
    every = np.arange(2**16, dtype=np.uint16).view(BFLOAT16)
    numbers = k.to_float32(every)
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, widen(every))
    real = ~np.isnan(numbers)
    np.testing.assert_array_equal(k.to_bfloat16(numbers)[real], every[real])
    assert np.isnan(widen(k.to_bfloat16(numbers)))[~real].all()


def test_rounding_is_that_of_the_definition(k):
    bits = normal(1, 100_000, dtype=np.float32).view(np.uint32) ^ np.arange(100_000, dtype=np.uint32)
    numbers = bits.view(np.float32)
    np.testing.assert_array_equal(k.to_bfloat16(numbers), narrow(numbers))


def test_only_what_rounds_without_surprise(k):
    with pytest.raises(TypeError, match="to_bfloat16: x must be float32, got float64"):
        k.to_bfloat16(np.ones(3))
    with pytest.raises(TypeError, match="to_float32: x must be bfloat16, got float32"):
        k.to_float32(np.ones(3, np.float32))


def test_arrays(k):
    x = k.full((2, 3), 1.5, BFLOAT16)
    assert x.dtype == BFLOAT16 and x.nbytes == 12 and (widen(x) == 1.5).all()
    assert (widen(k.zeros((4,), BFLOAT16)) == 0).all()
    assert k.copy(x[:, ::2]).flags.c_contiguous
    assert k.is_finite(x)
    for odd in (np.inf, -np.inf, np.nan):
        assert not k.is_finite(narrow(np.array([1, odd], np.float32)))


# ---------------------------------------------------------------- kernels


@pytest.fixture(scope="module")
def results():
    """{name: (reference, cpu)} of every kernel on the same bfloat16 maps."""
    both = [calls(kernels.load(name), BFLOAT16) for name in ("reference", "cpu")]
    return {name: [table[name]() for table in both] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_against_the_reference(name, results):
    """Both round the same sums, which differ by float32's rounding: they are neighbours at most, and rarely that."""
    for expected, actual in zip(*results[name], strict=True):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        if actual.dtype == BFLOAT16:
            expected, actual = widen(expected).astype(np.float64), widen(actual).astype(np.float64)
            typical = np.sqrt((expected**2).mean())
            assert (np.abs(actual - expected) <= 2.0**-7 * np.abs(expected) + 2e-6 * typical).all()
            assert (np.abs(actual - expected) > 1e-5 * typical).mean() < 2e-3
        elif actual.dtype.kind == "f":
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.sqrt((expected**2).mean()))
        else:
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", ["conv2d", "depthwise_conv2d", "pointwise", "batch_norm", "add", "resize_bilinear"])
def test_the_oracle_rounds_once(name):
    """Against float64 on the same numbers a bfloat16 result is off by half its last place, and float32's rounding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_calls, "normal", _held_by_bfloat16)
        exact, halves = (calls(kernels.load("reference"), dtype)[name]() for dtype in (np.float64, BFLOAT16))
    for wide, half in zip(exact, halves, strict=True):
        error = np.abs(widen(half) - wide)
        assert (error <= 2.0**-8 * np.abs(wide) + 1e-5 * np.sqrt((wide**2).mean())).all()
        assert error.max() > 0


def _held_by_bfloat16(*args, dtype):
    """As `normal`, numbers that bfloat16 holds."""
    arrays = normal(*args, dtype=np.float32)
    return [rounded(a).astype(dtype) for a in arrays] if isinstance(arrays, list) else rounded(arrays).astype(dtype)


@settings(max_examples=40)
@given(windows("depthwise_conv2d"), activations, st.booleans(), seeds)
def test_depthwise_in_every_geometry(win, activation, scaled, seed):
    """Any kernel, stride, rate and padding, channels that fill no vector, with and without the last step."""
    x, grad = (narrow(a) for a in normal(seed, win.x_shape, win.y_shape, dtype=np.float32))
    w, scale, shift = normal(seed + 1, win.w_shape, (win.c_in,), (win.c_in,), dtype=np.float32)
    last = (scale, shift, activation) if scaled else ()
    reference, cpu = kernels.load("reference"), kernels.load("cpu")
    for name, arguments in (
        ("depthwise_conv2d", (x, w, win, *last)),
        ("depthwise_conv2d_grad_input", (grad, w, win)),
        ("depthwise_conv2d_grad_weight", (x, grad, win)),
    ):
        expected, actual = (getattr(k, name)(*arguments) for k in (reference, cpu))
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        size = {"rtol": 2e-5, "atol": 1e-4}
        if actual.dtype == BFLOAT16:  # neighbours, where the sums lie on both sides of the middle between them
            expected, actual, size = widen(expected), widen(actual), {"rtol": 2.0**-7, "atol": 1e-4}
            if expected.size > 500:
                assert (np.abs(actual - expected) > 1e-4).mean() < 0.01
        np.testing.assert_allclose(actual, expected, **size)


def test_numbers_near_zero_and_nan_in_a_depthwise_convolution():
    """NaN and infinity go where they belong; a result below 2^-126 may be zero, by the processor's instruction."""
    win = kernels.geometry.Window.depthwise((1, 4, 9, 32), (1, 1, 32))
    numbers = np.array([np.nan, np.inf, -np.inf, 2.0**-126, 3e-39, -0.0, 1 + 2.0**-8, 3.4e38], np.float32)
    x = narrow(np.tile(numbers, 4 * 9 * 4).reshape(win.x_shape))
    y = widen(kernels.load("cpu").depthwise_conv2d(x, np.ones(win.w_shape, np.float32), win))
    expected = widen(x)
    small = np.abs(expected) < 2.0**-126
    np.testing.assert_array_equal(y[~small], expected[~small])
    assert (np.abs(y[small]) <= np.abs(expected[small])).all()


# ---------------------------------------------------------------- refusals

HALF, FLOAT = narrow(np.ones((1, 4, 4, 8), np.float32)), np.ones((1, 4, 4, 8), np.float32)
WINDOW = kernels.geometry.Window.depthwise(FLOAT.shape, (3, 3, 8), padding="same")
WEIGHT, CHANNELS = np.ones((3, 3, 8), np.float32), np.ones(8, np.float32)
REFUSED = {
    "weight": (
        lambda k: k.depthwise_conv2d(HALF, narrow(WEIGHT), WINDOW),
        "depthwise_conv2d: weight must be float32 beside bfloat16 feature maps, as all parameters are, got bfloat16",
    ),
    "gradient": (
        lambda k: k.depthwise_conv2d_grad_weight(HALF, FLOAT, WINDOW),
        "feature maps must share one dtype, got x bfloat16, grad float32",
    ),
    "gamma": (
        lambda k: k.batch_norm(HALF, CHANNELS, CHANNELS, CHANNELS.astype(np.float64), CHANNELS, 1e-5, None),
        "batch_norm: gamma must be float32 beside bfloat16",
    ),
    "maps": (lambda k: k.concat([FLOAT, HALF]), "share one dtype, got .*float32, .*bfloat16"),
    "sum": (lambda k: k.add(HALF, FLOAT), "add: beside a bfloat16 array b must be bfloat16, or float32 with one axis"),
    "softmax": (lambda k: k.softmax(HALF), "softmax: x must be float32 or float64, got bfloat16; widen it"),
    "softmax's gradient": (lambda k: k.softmax_grad(HALF, HALF), "must be float32 or float64, got bfloat16"),
    "loss": (
        lambda k: k.cross_entropy(HALF, np.zeros((1, 4, 4), np.uint8), None, 255),
        "cross_entropy: logits must be float32 or float64, got bfloat16",
    ),
    "optimiser": (lambda k: k.sgd_update([HALF], [HALF], [HALF], 0.1, 0.9, [0]), "got bfloat16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, k):
    call, message = REFUSED[case]
    with pytest.raises(TypeError, match=message):
        call(k)
