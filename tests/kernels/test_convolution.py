"""Dense, depthwise and pointwise convolution against their definitions, in float32 and float64, on both backends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, signal
from strategies import (
    ACTIVATIONS,
    CONVOLUTIONS,
    CURVES,
    SIZE,
    activations,
    arrange,
    assert_close,
    both_dtypes,
    each_backend,
    inner,
    layouts,
    normal,
    seeds,
    weight_shape,
    window_of,
    windows,
)

import kernels
from kernels import reference

cpu = kernels.load("cpu")
every_op = pytest.mark.parametrize("op", CONVOLUTIONS)
with_taps = pytest.mark.parametrize("op", CONVOLUTIONS[:2])  # those whose kernel may be larger than 1x1


def terms(win):
    """Products in the longest of the sums of the three kernels, and a few for other roundings."""
    return max(win.k_h * win.k_w * max(win.c_in, win.c_out), win.n * win.out_h * win.out_w) + 4


def functions(k, op):
    return getattr(k, op), getattr(k, f"{op}_grad_input"), getattr(k, f"{op}_grad_weight")


def compute(k, op, x, w, grad, win):
    """y, grad_x, grad_w of a backend."""
    forward, grad_input, grad_weight = functions(k, op)
    return forward(x, w, win), grad_input(grad, w, win), grad_weight(x, grad, win)


def assert_equals_reference(op, win, dtype, seed, layout="C"):
    """The three CPU kernels against the reference in float64."""
    x, w, grad = (arrange(a, layout) for a in normal(seed, win.x_shape, win.w_shape, win.y_shape, dtype=dtype))
    wide = [a.astype(np.float64) for a in (x, w, grad)]
    expected = compute(reference, op, *wide, win)
    magnitude = compute(reference, op, *map(np.abs, wide), win)
    for a, e, m in zip(compute(cpu, op, x, w, grad, win), expected, magnitude, strict=True):
        assert a.dtype == dtype
        assert_close(a, e, m, terms(win))


@every_op
@both_dtypes
@given(data=st.data(), seed=seeds, layout=layouts)
def test_cpu_equals_reference_on_every_geometry(op, dtype, data, seed, layout):
    assert_equals_reference(op, data.draw(windows(op)), dtype, seed, layout)


# Sizes at which the CPU kernels change their way on the register tile: (op, x, weight, options).
TURNS = {
    "channels a power of two are gathered": ("conv2d", (1, 6, 7, 512), (3, 3, 512, 20), {"rate": 2, "padding": "same"}),
    "a segment longer than a panel": ("conv2d", (1, 5, 6, 1024), (3, 3, 1024, 8), {"padding": "same"}),
    "several panels, accumulated": ("conv2d", (1, 5, 6, 700), (3, 3, 700, 70), {"rate": 2, "padding": "same"}),
    "weight gradient beyond the cache": ("conv2d", (1, 9, 9, 160), (3, 3, 160, 130), {"rate": 3, "padding": "same"}),
    "rows wider than a chunk of pixels": ("conv2d", (2, 3, 700, 5), (3, 3, 5, 40), {"rate": 2, "padding": "same"}),
    "the stem": ("conv2d", (2, 33, 31, 3), (7, 7, 3, 64), {"stride": 2, "padding": 3}),
    "the stem, asymmetric": ("conv2d", (1, 9, 8, 3), (3, 4, 3, 9), {"stride": (2, 1), "padding": ((0, 2), (3, 1))}),
    "many images": ("conv2d", (40, 5, 5, 4), (3, 3, 4, 4), {"padding": 1}),
    "strided pixels are gathered, several chunks": ("conv2d", (2, 49, 49, 256), (1, 1, 256, 40), {"stride": 2}),
    "joined taps, pixels 2 KiB apart": ("conv2d", (1, 2, 34, 32), (2, 2, 32, 8), {"stride": (1, 16)}),
    "stride beyond the kernel": ("conv2d", (1, 17, 19, 6), (2, 2, 6, 6), {"stride": (5, 4)}),
    "a single pixel": ("conv2d", (1, 1, 1, 1), (3, 3, 1, 1), {"rate": 18, "padding": "same"}),
    "nothing but padding": ("conv2d", (1, 1, 1, 2), (1, 1, 2, 3), {"stride": 2, "padding": ((3, 2), (1, 4))}),
    "wide depthwise": ("depthwise_conv2d", (2, 9, 11, 300), (3, 3, 300), {"rate": 4, "padding": "same"}),
    "depthwise of five columns": ("depthwise_conv2d", (1, 9, 11, 7), (2, 5, 7), {"stride": 2, "padding": 2}),
    "pixels far apart, several chunks": ("conv2d", (1, 15, 31, 515), (2, 2, 515, 523), {"padding": "same"}),
    "large pointwise": ("pointwise", (2, 21, 20, 256), (1, 1, 256, 304), {}),
    "large pointwise, weight beyond the cache": ("pointwise", (1, 5, 7, 512), (1, 1, 512, 520), {}),
}


@pytest.mark.parametrize("name", TURNS)
@both_dtypes
@pytest.mark.usefixtures("by_tiles")
def test_cpu_equals_reference_where_the_kernel_turns(name, dtype):
    op, x_shape, w_shape, options = TURNS[name]
    assert_equals_reference(op, window_of(op, x_shape, w_shape, **options), dtype, seed=1)


@every_op
@both_dtypes
@given(data=st.data(), seed=seeds, activation=activations)
def test_scale_and_shift_are_those_of_each_output_channel(op, dtype, data, seed, activation):
    """On both backends the plain result, scaled; a row that is computed twice is scaled once."""
    win = data.draw(windows(op))
    x, w, scale, shift = normal(seed, win.x_shape, win.w_shape, (win.c_out,), (win.c_out,), dtype=dtype)
    for k in (cpu, reference):
        plain = getattr(k, op)(x, w, win)
        expected = ACTIVATIONS[activation](scale * plain + shift)
        result = getattr(k, op)(x, w, win, scale, shift, activation)
        magnitude = abs(scale * plain) + abs(shift) + SIZE.get(activation, 0)
        assert_close(result, expected, magnitude, terms=10 if activation in CURVES else 2)


@pytest.mark.parametrize("op", ["conv2d", "pointwise"])
@both_dtypes
@given(data=st.data(), seed=seeds, activation=activations)
def test_a_residual_is_added_before_the_activation(op, dtype, data, seed, activation):
    win = data.draw(windows(op))
    arrays = normal(seed, win.x_shape, win.w_shape, (win.c_out,), (win.c_out,), win.y_shape, dtype=dtype)
    x, w, scale, shift, residual = arrays
    for k in (cpu, reference):
        plain = getattr(k, op)(x, w, win)
        expected = ACTIVATIONS[activation](scale * plain + shift + residual)
        result = getattr(k, op)(x, w, win, scale, shift, activation, residual)
        magnitude = abs(scale * plain) + abs(shift) + abs(residual) + SIZE.get(activation, 0)
        assert_close(result, expected, magnitude, terms=12 if activation in CURVES else 3)
        with pytest.raises(ValueError, match="a residual is added after scale and shift, which are missing"):
            getattr(k, op)(x, w, win, residual=residual)


@pytest.mark.parametrize("name", TURNS)
def test_scale_and_shift_where_the_kernel_turns(name):
    op, x_shape, w_shape, options = TURNS[name]
    win = window_of(op, x_shape, w_shape, **options)
    shapes = win.x_shape, win.w_shape, (win.c_out,), (win.c_out,), win.y_shape
    x, w, scale, shift, residual = normal(1, *shapes, dtype=np.float64)
    affine = (scale, shift, "hardswish", *(() if op == "depthwise_conv2d" else (residual,)))
    result = getattr(cpu, op)(x, w, win, *affine)
    np.testing.assert_allclose(result, getattr(reference, op)(x, w, win, *affine), rtol=1e-10, atol=1e-10)


@every_op
def test_scale_and_shift_of_another_size_are_refused(op):
    w_shape = {"conv2d": (3, 3, 4, 4), "depthwise_conv2d": (3, 3, 4), "pointwise": (1, 1, 4, 4)}[op]
    win = window_of(op, (1, 3, 3, 4), w_shape)
    x, w = normal(0, win.x_shape, win.w_shape, dtype=np.float32)
    for k in (cpu, reference):
        with pytest.raises(ValueError, match=rf"{op}: scale has shape \(3,\), but the window was made for \(4,\)"):
            getattr(k, op)(x, w, win, np.ones(3, np.float32), np.ones(4, np.float32))
        with pytest.raises(ValueError, match=f"{op}: scale and shift go together"):
            getattr(k, op)(x, w, win, np.ones(4, np.float32))


@every_op
@each_backend
def test_nan_passes_the_last_step(k, op):
    size = 1 if op == "pointwise" else 3
    shapes = (1, 3, 3, 37), weight_shape(op, size, size, 37, 37)
    win, one = window_of(op, *shapes, padding="same"), np.ones(37, np.float32)
    x, w = np.ones(shapes[0], np.float32), np.ones(shapes[1], np.float32)
    x[0, 1, 1, 5] = np.nan
    for activation in ACTIVATIONS:
        assert np.isnan(getattr(k, op)(x, w, win, one, one, activation)[0, 1, 1, 5]), activation


@every_op
@each_backend
def test_an_activation_belongs_to_the_last_step(k, op):
    size = 1 if op == "pointwise" else 3
    win = window_of(op, (1, 3, 3, 4), weight_shape(op, size, size, 4, 4))
    x, w, one = np.ones(win.x_shape, np.float32), np.ones(win.w_shape, np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match=f"{op}: relu follows scale and shift, which are missing; or call `activate`"):
        getattr(k, op)(x, w, win, activation="relu")
    with pytest.raises(
        ValueError, match=f"{op}: unknown activation True; there are None, 'relu', 'relu6', 'hardswish', 'hard"
    ):
        getattr(k, op)(x, w, win, one, one, True)


# -------------------------------------------------------------------- definitions, independent of the reference's code


def by_channel(x, w, correlate):
    """The convolution from a function correlate(image (H, W), kernel (KH, KW)) of one channel."""
    channels = range(x.shape[3])
    if w.ndim == 3:  # depthwise
        planes = [[correlate(image[:, :, c], w[:, :, c]) for c in channels] for image in x]
    else:
        planes = [
            [sum(correlate(image[:, :, c], filters[:, :, c]) for c in channels) for filters in np.moveaxis(w, 3, 0)]
            for image in x
        ]
    return np.moveaxis(np.array(planes), 1, -1)  # (N, K, P, Q) -> (N, P, Q, K)


def assert_matches_definition(k, op, win, dtype, seed, correlate):
    """Backend k against by_channel of the padded image; `correlate` slides without stride, the stride is taken here."""
    x, w = normal(seed, win.x_shape, win.w_shape, dtype=dtype)
    pads = ((0, 0), (win.pad_top, win.pad_bottom), (win.pad_left, win.pad_right), (0, 0))
    padded, wide = np.pad(x, pads).astype(np.float64), w.astype(np.float64)
    expected, magnitude = (
        by_channel(a, b, correlate)[:, :: win.stride_h, :: win.stride_w]
        for a, b in ((padded, wide), (abs(padded), abs(wide)))
    )
    assert_close(functions(k, op)[0](x, w, win), expected, magnitude, terms(win))


small = st.integers(1, 5)  # channels where the definition is a Python loop


@st.composite
def lines(draw, op, axis):
    """Windows of a 1-D convolution lying along the height (0) or the width (1) of an image."""
    k, stride, rate, pads = 1, 1, draw(st.integers(1, 5)), (0, 0)
    if op != "pointwise":
        k, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        pads = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    size = max(1, rate * (k - 1) + 1 - sum(pads)) + draw(st.integers(0, 8))
    c_in, c_out, n = draw(small), draw(small), draw(st.integers(1, 2))
    (h, w), (k_h, k_w), padding = ((size, 1), (k, 1), (pads, (0, 0)))
    if axis == 1:
        h, w, k_h, k_w, padding = w, h, k_w, k_h, padding[::-1]
    shapes = (n, h, w, c_in), weight_shape(op, k_h, k_w, c_in, c_out)
    return window_of(op, *shapes, stride=stride, rate=rate, padding=padding)


@every_op
@both_dtypes
@each_backend
@pytest.mark.parametrize("axis", [0, 1], ids=["width 1", "height 1"])
@given(data=st.data(), seed=seeds)
def test_on_a_line_it_is_equation_1(k, op, dtype, axis, data, seed):
    """On an image one pixel wide or high: y[i] = sum_k x[i + r k] w[k]."""
    win = data.draw(lines(op, axis))
    rate = (win.rate_h, win.rate_w)[axis]

    def correlate(image, kernel):
        return np.expand_dims(reference.atrous_conv1d(image.ravel(), kernel.ravel(), rate), 1 - axis)

    assert_matches_definition(k, op, win, dtype, seed, correlate)


@with_taps
@both_dtypes
@each_backend
@given(k_size=st.tuples(small, small), rate=st.integers(1, 4), extra=st.integers(0, 4), channels=small, seed=seeds)
def test_a_rank_one_kernel_is_two_1d_convolutions(k, op, dtype, k_size, rate, extra, channels, seed):
    """With w = outer(column, row) equation 1 along the width, then along the height, is the 2-D convolution."""
    x_shape = (1, *(rate * (size - 1) + 1 + extra for size in k_size), channels)
    x, column, row = normal(seed, x_shape, (k_size[0], channels), (k_size[1], channels), dtype=dtype)
    diagonal = np.eye(channels, dtype=dtype) if op == "conv2d" else np.ones(channels, dtype)
    outer = np.einsum("hc,wc->hwc", column, row)
    w = outer[..., None] * diagonal if op == "conv2d" else outer
    win = window_of(op, x_shape, w.shape, rate=rate)

    def separated(x, column, row):
        def along(axis, image, filters):
            planes = [
                np.apply_along_axis(reference.atrous_conv1d, axis, image[..., c], filters[:, c], rate)
                for c in range(channels)
            ]
            return np.stack(planes, -1)

        return along(1, along(2, x, row), column)

    wide = [a.astype(np.float64) for a in (x, column, row)]
    expected, magnitude = separated(*wide), separated(*map(np.abs, wide))
    assert_close(functions(k, op)[0](x, w, win), expected, magnitude, terms(win))


def stuffed(kernel, rate_h, rate_w):
    """The kernel with rate - 1 zeros between its taps."""
    k_h, k_w = kernel.shape
    holes = np.zeros((rate_h * (k_h - 1) + 1, rate_w * (k_w - 1) + 1))
    holes[::rate_h, ::rate_w] = kernel
    return holes


def scipy_signal(image, kernel):
    return signal.correlate(image, kernel, mode="valid", method="direct")


def scipy_ndimage(image, kernel):
    """The same from ndimage, whose output has the image's size: its part where the kernel lies inside the image."""
    top, left = ((size - 1) // 2 for size in kernel.shape)
    origin = [-((size + 1) % 2) for size in kernel.shape]  # centre an even kernel on the tap before its middle
    full = ndimage.correlate(image, kernel, mode="constant", origin=origin)
    rows, columns = (i - f + 1 for i, f in zip(image.shape, kernel.shape, strict=True))
    return full[top : top + rows, left : left + columns]


@every_op
@both_dtypes
@each_backend
@pytest.mark.parametrize("correlate", [scipy_signal, scipy_ndimage])
@given(data=st.data(), seed=seeds)
def test_atrous_is_scipy_with_a_zero_stuffed_kernel(k, op, dtype, correlate, data, seed):
    win = data.draw(windows(op).filter(lambda win: win.c_in * win.c_out <= 300))

    def atrous(image, kernel):
        return correlate(image, stuffed(kernel, win.rate_h, win.rate_w))

    assert_matches_definition(k, op, win, dtype, seed, atrous)


@every_op
@both_dtypes
@each_backend
@given(k_size=st.integers(1, 4), extra=st.integers(0, 6), channels=st.tuples(small, small), seed=seeds)
def test_rate_1_is_the_plain_convolution(k, op, dtype, k_size, extra, channels, seed):
    k_size = 1 if op == "pointwise" else k_size
    shapes = (2, k_size + extra, k_size, channels[0]), weight_shape(op, k_size, k_size, *channels)
    win = window_of(op, *shapes, rate=1)

    def plain(image, kernel):
        return np.einsum("pqhw,hw->pq", np.lib.stride_tricks.sliding_window_view(image, kernel.shape), kernel)

    assert_matches_definition(k, op, win, dtype, seed, plain)


# -------------------------------------------------------------------- properties of the rate


@with_taps
@both_dtypes
@each_backend
@given(data=st.data(), rate=st.integers(1, 4), k_size=st.integers(1, 3), extra=st.integers(0, 9), seed=seeds)
def test_rate_r_is_r_by_r_interleaved_plain_convolutions(k, op, dtype, data, rate, k_size, extra, seed):
    """Phase decomposition: output[a::r, b::r] is the rate-1 convolution of input[a::r, b::r]."""
    size, (c_in, c_out) = rate * (k_size - 1) + 1 + extra, data.draw(st.tuples(small, small))
    x_shape, w_shape = (1, size, size + 1, c_in), weight_shape(op, k_size, k_size, c_in, c_out)
    win, forward = window_of(op, x_shape, w_shape, rate=rate), functions(k, op)[0]
    x, w = normal(seed, x_shape, w_shape, dtype=dtype)
    y, magnitude = forward(x, w, win), forward(abs(x), abs(w), win)
    for a in range(min(rate, win.out_h)):
        for b in range(min(rate, win.out_w)):
            phase, here = x[:, a::rate, b::rate], (slice(None), slice(a, None, rate), slice(b, None, rate))
            plain = forward(phase, w, window_of(op, phase.shape, w_shape))
            assert_close(plain, y[here].astype(np.float64), magnitude[here], terms(win))


@with_taps
@both_dtypes
@each_backend
@given(data=st.data(), seed=seeds)
def test_impulse_response(k, op, dtype, data, seed):
    """One pixel of one channel at 1, all else 0: each output is the weight whose tap falls on it, to the bit."""
    win = data.draw(windows(op))
    (i, j, channel) = (data.draw(st.integers(0, size - 1)) for size in (win.in_h, win.in_w, win.c_in))
    w = normal(seed, win.w_shape, dtype=dtype)
    x = np.zeros(win.x_shape, dtype)
    x[-1, i, j, channel] = 1
    expected = np.zeros(win.y_shape, dtype)
    for kh, kw in np.ndindex(win.k_h, win.k_w):
        p, p_rest = divmod(i + win.pad_top - kh * win.rate_h, win.stride_h)
        q, q_rest = divmod(j + win.pad_left - kw * win.rate_w, win.stride_w)
        if p_rest == q_rest == 0 and 0 <= p < win.out_h and 0 <= q < win.out_w:
            to = (-1, p, q, channel) if op == "depthwise_conv2d" else (-1, p, q)
            expected[to] = w[kh, kw, channel]
    np.testing.assert_array_equal(functions(k, op)[0](x, w, win), expected)


@with_taps
@both_dtypes
@each_backend
@given(
    half=st.integers(0, 2), size=st.tuples(st.integers(1, 9), st.integers(1, 9)), beyond=st.integers(0, 9), seed=seeds
)
def test_a_rate_beyond_the_map_leaves_the_centre_tap(k, op, dtype, half, size, beyond, seed):
    """Why ASPP has image pooling: at rates >= the feature map a 3x3 kernel is a 1x1 one (v3 paper, section 3.3)."""
    k_size, rate = 2 * half + 1, max(size) + beyond
    x_shape, w_shape = (2, *size, 5), weight_shape(op, k_size, k_size, 5, 4)
    win = window_of(op, x_shape, w_shape, rate=rate, padding="same")
    x, w = normal(seed, x_shape, w_shape, dtype=dtype)
    centre = w[half, half].astype(np.float64)
    wide = x.astype(np.float64)
    expected = wide * centre if op == "depthwise_conv2d" else wide @ centre
    magnitude = abs(wide) * abs(centre) if op == "depthwise_conv2d" else abs(wide) @ abs(centre)
    assert_close(functions(k, op)[0](x, w, win), expected, magnitude, terms(win))


@every_op
@both_dtypes
@each_backend
@given(data=st.data(), seed=seeds, layout=layouts)
def test_gradients_are_the_adjoints(k, op, dtype, data, seed, layout):
    """<conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_weight(x, g)>."""
    win = data.draw(windows(op))
    x, w, grad = (arrange(a, layout) for a in normal(seed, win.x_shape, win.w_shape, win.y_shape, dtype=dtype))
    y, grad_x, grad_w = compute(k, op, x, w, grad, win)
    magnitude = inner(functions(k, op)[0](abs(x), abs(w), win), abs(grad))
    bound = {
        "magnitude": magnitude,
        "terms": 2 * terms(win),
        "floor": max(x.size, y.size, w.size) * 2.3e-16 * magnitude,
    }
    assert_close(dtype(inner(y, grad) - inner(x, grad_x)), 0.0, **bound)
    assert_close(dtype(inner(y, grad) - inner(w, grad_w)), 0.0, **bound)


# -------------------------------------------------------------------- what a kernel refuses

REFUSED = {
    "another shape of x": (lambda x, w: (x[:, 1:], w), ValueError, r"x has shape \(1, 4, 5, 3\), .* \(1, 5, 5, 3\)"),
    "another shape of the weight": (lambda x, w: (x, w[..., :1]), ValueError, r"weight has shape .* made for"),
    "mixed dtypes": (lambda x, w: (x, w.astype(np.float64)), TypeError, "one dtype, got x float32, weight float64"),
    "integers": (lambda x, w: (x.astype(np.int32), w), TypeError, "x must be float32 or float64, got int32"),
    "half precision": (lambda x, w: (x, w.astype(np.float16)), TypeError, "weight must be float32 or .* got float16"),
    "a list": (lambda x, w: (x.tolist(), w), TypeError, "x must be an array, got list"),
}  # fmt: skip


@every_op
@each_backend
@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_the_window_was_not_made_for(k, op, case):
    change, error, message = REFUSED[case]
    size = 1 if op == "pointwise" else 3
    x, w = np.ones((1, 5, 5, 3), np.float32), np.ones(weight_shape(op, size, size, 3, 3), np.float32)
    win = window_of(op, x.shape, w.shape)
    with pytest.raises(error, match=message):
        functions(k, op)[0](*change(x, w), win)


@every_op
@each_backend
def test_gradients_check_their_arrays(k, op):
    size = 1 if op == "pointwise" else 3
    x, w = np.ones((1, 5, 5, 3), np.float32), np.ones(weight_shape(op, size, size, 3, 3), np.float32)
    win = window_of(op, x.shape, w.shape)
    _, grad_input, grad_weight = functions(k, op)
    for call in (lambda: grad_input(x[:, :, 1:], w, win), lambda: grad_weight(x, x[:, :, 1:], win)):
        with pytest.raises(ValueError, match=r"grad has shape \(1, 5, 4, 3\)"):
            call()
