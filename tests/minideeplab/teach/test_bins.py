"""Bins of pyramid pooling: what each rule covers, and that pictures and layers divide a map alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab import Tensor, no_grad, ops
from minideeplab.models.sppnet import SpatialPyramidPooling
from minideeplab.teach import bins_of, draw_bins, pooled


@given(st.integers(1, 60), st.integers(1, 12))
def test_adaptive_bins_cover_every_position(size, bins):
    spans = bins_of(size, bins)
    assert len(spans) == bins
    assert set().union(*(range(*span) for span in spans)) == set(range(size))


@given(st.integers(1, 60), st.integers(1, 12))
def test_windows_have_the_papers_size_and_stay_on_the_map(size, bins):
    if size < bins:
        with pytest.raises(ValueError, match="use adaptive"):
            bins_of(size, bins, "window")
        return
    spans = bins_of(size, bins, "window")
    assert {end - start for start, end in spans} == {-(-size // bins)}
    assert spans[0][0] == 0 and spans[-1][1] <= size and len(spans) >= bins


def test_rules_agree_where_the_side_divides_and_differ_at_7():
    assert bins_of(8, 4) == bins_of(8, 4, "window") == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert len(bins_of(7, 4)) == 4 and len(bins_of(7, 4, "window")) == 6
    with pytest.raises(ValueError, match="rule must be one of adaptive, window, got 'floor'"):
        bins_of(7, 4, "floor")


@pytest.mark.parametrize(("size", "rule"), [((9, 13), "adaptive"), ((12, 16), "window")])
def test_pooled_is_what_the_layer_computes(size, rule):
    values = np.random.default_rng(0).standard_normal((*size, 3)).astype(np.float32)
    with no_grad():
        layer = SpatialPyramidPooling((4, 1), rule)(Tensor(values[None])).numpy().ravel()
        mean = ops.adaptive_average_pool2d(Tensor(values[None]), 4, 4).numpy()[0]
    vector = np.concatenate([pooled(values, n, rule).ravel() for n in (4, 1)])
    np.testing.assert_array_equal(layer, vector)
    np.testing.assert_allclose(pooled(values, 4, pooling="average"), mean, rtol=1e-5, atol=1e-6)


def test_a_picture_has_a_patch_for_each_bin_and_each_bar():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert draw_bins((7, 9), 4, "window", np.zeros((7, 9, 3)), axes) is None
    rows, columns = len(bins_of(7, 4, "window")), len(bins_of(9, 4, "window"))
    assert len(axes.patches) == rows * columns + columns and axes.get_xlabel()
