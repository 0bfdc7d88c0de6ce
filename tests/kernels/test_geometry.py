"""Window, its regions and the taps of pooling and resizing, against counting by hand."""

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import pool_windows, windows

from kernels.geometry import Window, adaptive_bounds, bilinear_taps, tap_runs


def positions(size, k, stride, rate, before, after):
    """Number of places where the kernel fits into the padded input, by trying them all."""
    starts = range(0, size + before + after, stride)
    return sum(start + rate * (k - 1) < size + before + after for start in starts)


def axes_of(win):
    """(size, k, stride, rate, before, after, out) down and across."""
    return (
        (win.in_h, win.k_h, win.stride_h, win.rate_h, win.pad_top, win.pad_bottom, win.out_h),
        (win.in_w, win.k_w, win.stride_w, win.rate_w, win.pad_left, win.pad_right, win.out_w),
    )


@given(win=windows("conv2d"))
def test_output_size_is_the_number_of_places_where_the_kernel_fits(win):
    for *axis, out in axes_of(win):
        assert out == positions(*axis)
    assert win.y_shape == (win.n, win.out_h, win.out_w, win.c_out)


@given(win=pool_windows())
def test_every_pooling_window_sees_a_pixel_and_the_floor_rule_counts_the_whole_ones(win):
    for size, k, stride, rate, before, after, out in axes_of(win):
        whole = positions(size, k, stride, rate, before, after)
        assert out in (whole, whole + 1)
        assert all(p * stride - before < size and p * stride - before + k > 0 for p in range(out))


@given(size=st.integers(1, 30), k=st.integers(1, 4), stride=st.integers(1, 4))
def test_ceil_mode_leaves_no_pixel_out(size, k, stride):
    """Rounded up, the windows reach the far border whenever they can (stride <= k); the floor rule may not."""
    size, stride = size + k - 1, min(stride, k)
    win = Window.pool((1, size, size, 1), k, stride, ceil_mode=True)
    assert (win.out_h - 1) * stride + k >= size
    assert win.out_h == -(-(size - k) // stride) + 1


@given(size=st.integers(1, 40), half=st.integers(0, 3), rate=st.integers(1, 20), stride=st.integers(1, 4))
def test_same_padding_keeps_the_size_and_with_a_stride_gives_the_ceiling(size, half, rate, stride):
    """For every odd kernel: ceil(size / stride), whatever the rate."""
    shapes = (1, size, size, 1), (2 * half + 1, 2 * half + 1, 1, 1)
    win = Window.conv(*shapes, stride=stride, rate=rate, padding="same")
    assert (win.out_h, win.out_w) == (-(-size // stride),) * 2
    assert win.pad_top == win.pad_bottom == win.pad_left == win.pad_right == rate * half


def test_effective_kernel_by_hand():
    """k + (k - 1)(r - 1), v1 paper, section 3.1."""
    win = Window.conv((1, 65, 65, 1), (3, 5, 1, 1), rate=(12, 2))
    assert win.effective_kernel == (25, 9)


def test_macs_by_hand():
    assert Window.conv((2, 10, 12, 7), (3, 3, 7, 5), stride=2, padding=1).macs == 2 * 5 * 6 * 9 * 7 * 5
    assert Window.depthwise((2, 10, 12, 7), (3, 3, 7), stride=2, padding=1).macs == 2 * 5 * 6 * 9 * 7


@given(win=windows("conv2d"), rate=st.integers(1, 9))
def test_the_rate_is_free(win, rate):
    """A kernel sees rate times further for the same multiply-adds and weights, if "same" padding grows with it."""
    shapes, stride = (win.x_shape, (3, 3, win.c_in, win.c_out)), (win.stride_h, win.stride_w)
    one, more = (Window.conv(*shapes, stride=stride, rate=r, padding="same") for r in (1, rate))
    assert one.macs == more.macs
    assert more.effective_kernel == (2 * rate + 1, 2 * rate + 1)


def test_is_pointwise_only_without_stride_and_padding():
    shapes = (1, 4, 4, 3), (1, 1, 3, 2)
    assert Window.conv(*shapes).is_pointwise
    assert Window.conv(*shapes, rate=7, padding="same").is_pointwise
    assert not Window.conv(*shapes, stride=2).is_pointwise
    assert not Window.conv(*shapes, padding=((0, 0), (0, 1))).is_pointwise
    assert not Window.conv((1, 4, 4, 3), (1, 2, 3, 2)).is_pointwise


def test_a_window_is_a_value():
    """Equal arguments make equal, hashable windows that cannot be changed: what is derived from them is cached."""
    one, two = (Window.conv((1, 9, 9, 3), (3, 3, 3, 4), padding="same") for _ in range(2))
    assert one == two and hash(one) == hash(two) and one.regions() is two.regions()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.rate_h = 2


# -------------------------------------------------------------------- transposed convolutions


@st.composite
def transposed_axes(draw):
    """(size, k, stride, rate, (before, after), output padding) of one axis, of which something is left."""
    size, k, stride, rate = (draw(st.integers(1, largest)) for largest in (6, 5, 4, 4))
    more = draw(st.integers(0, stride - 1))
    room = (size - 1) * stride + rate * (k - 1) + more  # one less than the size without padding
    before = draw(st.integers(0, room))
    return size, k, stride, rate, (before, draw(st.integers(0, room - before))), more


@given(rows=transposed_axes(), columns=transposed_axes())
def test_a_transposed_convolution_has_pytorchs_sizes_and_comes_back(rows, columns):
    """(H - 1) s - 2 p + r (k - 1) + output_padding + 1, and the convolution of that size has the size H again."""
    (h, k_h, *_), (w, k_w, *_) = rows, columns
    options = {name: (rows[i], columns[i]) for name, i in (("stride", 2), ("rate", 3), ("padding", 4))}
    win = Window.conv_transpose((2, h, w, 3), (k_h, k_w, 5, 3), **options, output_padding=(rows[5], columns[5]))
    sizes = [
        (size - 1) * stride - sum(pads) + rate * (k - 1) + more + 1
        for size, k, stride, rate, pads, more in (rows, columns)
    ]
    assert win.x_shape == (2, *sizes, 5) and win.y_shape == (2, h, w, 3)
    assert win == Window.conv(win.x_shape, win.w_shape, **options)


def test_padding_of_a_transposed_convolution_is_given_as_a_number_a_pair_or_sides():
    shapes = (1, 5, 5, 3), (3, 3, 4, 3)
    one, pair, sides, same = (
        Window.conv_transpose(*shapes, 2, padding=padding) for padding in (1, (1, 1), ((1, 1), (1, 1)), "same")
    )
    assert one == pair == sides == same and one.x_shape == (1, 9, 9, 4)
    assert Window.conv_transpose(*shapes, 2, 2, "same", 1).x_shape == (1, 10, 10, 4)  # twice the size, at any rate
    assert Window.conv_transpose(*shapes, padding=(2, 0)).x_shape == (1, 3, 7, 4)


# -------------------------------------------------------------------- regions


def taps_inside(size, k, stride, rate, before, after, out):
    """For each position of an axis the taps that read inside the input."""
    return [[t for t in range(k) if 0 <= p * stride + t * rate - before < size] for p in range(out)]


@given(win=windows("conv2d"))
def test_regions_partition_the_output_and_list_exactly_the_taps_inside(win):
    rows, columns = (taps_inside(*axis) for axis in axes_of(win))
    seen = np.zeros((win.out_h, win.out_w), int)
    for r in win.regions():
        assert r.p0 < r.p1 and r.q0 < r.q1
        seen[r.p0 : r.p1, r.q0 : r.q1] += 1
        assert all(rows[p] == list(range(r.kh0, r.kh1)) for p in range(r.p0, r.p1))
        assert all(columns[q] == list(range(r.kw0, r.kw1)) for q in range(r.q0, r.q1))
    assert (seen == 1).all()
    assert len(win.regions()) <= (2 * win.k_h + 1) * (2 * win.k_w + 1)


@given(
    count=st.integers(1, 20),
    step=st.integers(1, 4),
    offsets=st.lists(st.integers(-15, 15), max_size=5),
    falling=st.booleans(),
    size=st.integers(1, 20),
)
def test_tap_runs_cover_each_position_once_with_its_taps(count, step, offsets, falling, size):
    """For rising offsets (forward) and falling ones (input gradient)."""
    offsets = sorted(offsets, reverse=falling)
    runs = tap_runs(count, step, offsets, size)
    assert [u for u0, u1, _, _ in runs for u in range(u0, u1)] == list(range(count))
    for u0, u1, t0, t1 in runs:
        for u in range(u0, u1):
            assert [t for t, d in enumerate(offsets) if 0 <= u * step + d < size] == list(range(t0, t1))


# -------------------------------------------------------------------- adaptive bins and resize taps

sizes = st.integers(1, 40)


@given(in_size=sizes, out_size=sizes)
def test_adaptive_bins_are_the_smallest_that_hold_their_share(in_size, out_size):
    starts, ends = adaptive_bounds(in_size, out_size)
    for i in range(out_size):
        share = range(i * in_size, (i + 1) * in_size)  # in units of 1 / out_size pixel
        assert {u // out_size for u in share} == set(range(starts[i], ends[i]))


@given(in_size=sizes, out_size=sizes, align_corners=st.booleans())
def test_bilinear_taps_are_the_exact_source_positions(in_size, out_size, align_corners):
    """low + f is the source position in rational arithmetic, clamped into the input."""
    low, high, f = bilinear_taps(in_size, out_size, align_corners)
    for i in range(out_size):
        if align_corners:
            source = Fraction(i * (in_size - 1), max(out_size - 1, 1))
        else:
            source = Fraction((2 * i + 1) * in_size, 2 * out_size) - Fraction(1, 2)
        source = float(min(max(source, 0), in_size - 1))
        assert 0 <= low[i] <= high[i] <= min(low[i] + 1, in_size - 1) and 0 <= f[i] <= 1
        assert abs(low[i] + f[i] - source) <= in_size * 4e-16
    for a, b in itertools.pairwise(zip(low, high, strict=True)):
        assert a[0] <= b[0] and a[1] <= b[1]


@pytest.mark.parametrize("function, rule", [(adaptive_bounds, "adaptive pooling"), (bilinear_taps, "resize")])
@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (3, -1)])
def test_sizes_below_one_are_refused(function, rule, sizes):
    arguments = sizes if function is adaptive_bounds else (*sizes, False)
    with pytest.raises(ValueError, match=f"{rule}: sizes must be >= 1, got input {sizes[0]} and output {sizes[1]}"):
        function(*arguments)


# -------------------------------------------------------------------- errors

X, W, T = (1, 9, 9, 3), (3, 3, 3, 4), (3, 3, 4, 3)
WRONG = {
    "channels": (lambda: Window.conv(X, (3, 3, 2, 4)), ValueError, r"expects 2 input channels but x has 3 \(x \(1, 9"),
    "axes of x": (lambda: Window.conv((9, 9, 3), W), ValueError, r"x must have the 4 axes \(N, H, W, C\), .*9, 9, 3"),
    "axes of w": (lambda: Window.conv(X, (3, 3, 3)), ValueError, r"weight must have the 4 axes \(KH, KW, C, K\)"),
    "empty axis": (lambda: Window.conv((0, 9, 9, 3), W), ValueError, r"x has an empty axis: \(0, 9, 9, 3\)"),
    "empty kernel": (lambda: Window.conv(X, (3, 0, 3, 4)), ValueError, "weight has an empty axis"),
    "stride 0": (lambda: Window.conv(X, W, stride=0), ValueError, "stride must be >= 1, got 0"),
    "rate 0": (lambda: Window.conv(X, W, rate=(1, 0)), ValueError, r"rate must be >= 1, got \(1, 0\)"),
    "stride of floats": (lambda: Window.conv(X, W, stride=2.0), TypeError, "stride must be an int or a pair"),
    "stride of truth": (lambda: Window.conv(X, W, stride=True), TypeError, "stride must be an int or a pair"),
    "three rates": (lambda: Window.conv(X, W, rate=(1, 2, 3)), TypeError, r"rate must be .* got \(1, 2, 3\)"),
    "padding below 0": (lambda: Window.conv(X, W, padding=((0, 0), (0, -1))), ValueError, r"padding must be >= 0.*-1"),
    "padding's name": (lambda: Window.conv(X, W, padding="valid"), TypeError, 'padding must be "same", an int or'),
    "flat padding": (lambda: Window.conv(X, W, padding=(1, 1)), TypeError, r"padding must be .* got \(1, 1\)"),
    "too small": (lambda: Window.conv(X, W, rate=5), ValueError, r"height 9 .* smaller than the kernel's extent 11"),
    "too narrow": (lambda: Window.conv(X, W, rate=(1, 5)), ValueError, r"width 9 with padding 0\+0 is smaller"),
    "depthwise channels": (lambda: Window.depthwise(X, (3, 3, 4)), ValueError, "weight has 4 channels but x has 3"),
    "depthwise axes": (lambda: Window.depthwise(X, W), ValueError, r"weight must have the 3 axes \(KH, KW, C\)"),
    "transposed channels": (
        lambda: Window.conv_transpose(X, (3, 3, 3, 4)),
        ValueError,
        r"conv_transpose2d: weight expects 4 input channels but x has 3 \(x .* weight \(3, 3, 3, 4\) is KH, KW, K, C\)",
    ),
    "transposed axes": (
        lambda: Window.conv_transpose(X, (3, 3, 3)), ValueError, r"conv_transpose2d: weight must have the 4 axes"
    ),
    "transposed axes of x": (
        lambda: Window.conv_transpose((9, 9, 3), T), ValueError, r"conv_transpose2d: x must have .* \(9, 9, 3\)"
    ),
    "transposed stride": (
        lambda: Window.conv_transpose(X, T, stride=0), ValueError, "conv_transpose2d: stride must be >= 1, got 0"
    ),
    "transposed padding": (
        lambda: Window.conv_transpose(X, T, padding=(1, 2, 3)),
        TypeError,
        r'conv_transpose2d: padding must be "same", an int or .* got \(1, 2, 3\)',
    ),
    "transposed padding's name": (
        lambda: Window.conv_transpose(X, T, padding="valid"), TypeError, "conv_transpose2d: padding must .* got 'valid'"
    ),
    "transposed padding below 0": (
        lambda: Window.conv_transpose(X, T, padding=(0, -1)), ValueError, "conv_transpose2d: padding must be >= 0"
    ),
    "too much transposed padding": (
        lambda: Window.conv_transpose(X, T, stride=2, padding=(9, 10)),
        ValueError,
        r"conv_transpose2d: width 9 at stride 2 becomes \(9 - 1\) 2 \+ 3 = 19 .* padding 10\+10 leaves nothing",
    ),
    "output padding": (
        lambda: Window.conv_transpose(X, T, stride=(3, 2), output_padding=2),
        ValueError,
        "conv_transpose2d: output_padding 2 of the width must be smaller than the stride 2; it chooses",
    ),
    "output padding below 0": (
        lambda: Window.conv_transpose(X, T, output_padding=-1), ValueError, "output_padding must be >= 0, got -1"
    ),
    "output padding of floats": (
        lambda: Window.conv_transpose(X, T, output_padding=0.5), TypeError, "output_padding must be an int or a pair"
    ),
    "pool size": (lambda: Window.pool(X, 0), ValueError, "pool: size must be >= 1, got 0"),
    "pool padding": (lambda: Window.pool(X, 2, padding=2), ValueError, "vertical padding 2 must be .* the window 2"),
    "pool padding across": (
        lambda: Window.pool(X, (3, 2), padding=((0, 0), (0, 2))), ValueError, "horizontal padding 2 must be smaller"
    ),
    "pool too large": (lambda: Window.pool(X, 10), ValueError, "pool: height 9 .* extent 10"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_every_error_names_the_op_the_value_and_the_rule(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()


def test_a_fraction_of_a_pixel_is_no_padding():
    with pytest.raises(TypeError, match="padding must be"):
        Window.conv(X, W, padding=((1.5, 0), (0, 0)))
