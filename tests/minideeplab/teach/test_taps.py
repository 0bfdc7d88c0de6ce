"""Taps against the definition of the convolution that they describe."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference
from kernels.geometry import Window
from minideeplab import teach

WINDOWS = st.builds(
    lambda h, w, k, stride, rate, pad: Window.conv(
        (1, h + rate * (k - 1), w + rate * (k - 1), 1), (k, k, 1, 1), stride, rate, pad
    ),
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.integers(0, 5),
)  # fmt: skip


@given(WINDOWS)
def test_the_sum_over_the_taps_is_the_convolution(window):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=window.x_shape), rng.normal(size=window.w_shape)
    y = reference.conv2d(x, w, window)[0, ..., 0]
    for position in np.ndindex(y.shape):
        inputs, weights = teach.taps(window, position)
        total = sum(x[0, i, j, 0] * w[a, b, 0, 0] for (i, j), (a, b) in zip(inputs, weights, strict=True))
        np.testing.assert_allclose(total, y[position], atol=1e-12)


@given(WINDOWS)
def test_the_shares_count_the_taps_of_all_outputs(window):
    lengths = [len(teach.taps(window, at)[0]) for at in np.ndindex(window.out_h, window.out_w)]
    counted = {n: lengths.count(n) / len(lengths) for n in sorted(set(lengths), reverse=True)}
    shares = teach.valid_tap_share(window)
    assert list(shares) == list(counted)
    np.testing.assert_allclose(list(shares.values()), list(counted.values()))


def test_a_rate_as_large_as_the_map_leaves_the_middle_tap():
    assert teach.valid_tap_share(Window.conv((1, 65, 65, 1), (3, 3, 1, 1), rate=65, padding="same")) == {1: 1.0}


def test_an_output_that_is_not_there_is_refused():
    window = Window.conv((1, 5, 5, 1), (3, 3, 1, 1))
    with pytest.raises(ValueError, match=r"3 x 3 positions, there is no \(3, 0\)"):
        teach.taps(window, (3, 0))


def test_drawings_draw_into_the_axes_that_they_are_given():
    from matplotlib.figure import Figure

    window = Window.conv((1, 5, 5, 1), (3, 3, 1, 1), rate=2, padding="same")
    axes = Figure().subplots(1, 3)
    assert teach.draw_taps(window, (0, 0), axes[0], numbers=True) is None
    assert len(axes[0].lines) == 2 + 5 and len(axes[0].texts) == 9  # border and middle, five taps outside, nine names
    assert teach.draw_row([1, 2, 3, 4], [1, 1], 2, 1, axes[1]) is None
    assert [text.get_text() for text in axes[1].texts][:6] == ["1", "2", "3", "4", "4", "6"]
    assert teach.draw_overlap(np.eye(3) > 0, np.eye(3) > 0, axes[2]) is None
    assert len(axes[2].images) == 1
