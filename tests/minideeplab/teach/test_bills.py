"""Drawings of fields and costs: what stands in them is what was counted."""

import numpy as np
import pytest

from minideeplab import models, teach
from minideeplab.cost import cost_of, receptive_field


@pytest.fixture
def pair():
    from matplotlib.figure import Figure

    return Figure().subplots(1, 2)


@pytest.mark.parametrize(("side", "rate"), [(7, 3), (6, 3), (5, 2), (4, 1)])
def test_interlaced_maps_hold_each_position_once(pair, side, rate):
    teach.draw_interlaced(side, rate, pair)
    left, right = (axes.images[0].get_array() for axes in pair)
    assert left.shape == right.shape == (-(-side // rate) * rate,) * 2
    for grid in (left, right):
        numbers = np.ma.filled(grid.astype(float), np.nan)
        assert np.isfinite(numbers).sum() == side**2
    width = len(right) // rate
    for row in range(rate):
        for column in range(rate):
            tile = np.ma.filled(right.astype(float), np.nan)[row * width :, column * width :][:width, :width]
            assert np.unique(tile[np.isfinite(tile)]).tolist() == [row * rate + column]  # one dense map, one colour


def test_a_drawn_chain_ends_on_its_field(pair):
    chain = [(3, 1, 1), (3, 2, 1), (3, 1, 2)]
    teach.draw_chain(chain, pair[0])
    used = pair[0].lines[-1].get_xdata()  # of the input, which is drawn last
    assert max(used) - min(used) + 1 == receptive_field(chain)


def test_the_half_of_a_footprint():
    flat = np.ones((9, 9))
    assert teach.half_side(flat) == 7  # 49 of 81 pixels; 5 x 5 are not half
    assert teach.half_side(flat, share=1.0) == 9
    point = np.zeros((9, 9))
    point[1, 2] = 1
    assert teach.half_side(point, (1, 2)) == 1 and teach.half_side(point) == 7


def test_gaps_bars_and_dots(pair):
    teach.draw_gaps(["one", "two"], [100, 200], {"a": [90, 200], "b": [100, 202]}, pair[0])
    np.testing.assert_allclose([line.get_xdata() for line in pair[0].lines[:2]], [[-10, 0], [0, 1]], atol=1e-9)
    teach.draw_bars(["one", "two"], [1.0, 2.0], "numbers", pair[1])
    assert [patch.get_width() for patch in pair[1].patches] == [1, 2]
    pair[1].clear()
    costs = {"ResNet-18": cost_of(models.create("resnet18"), 65)}
    teach.draw_landscape(costs, axes=pair[1])
    x, y = pair[1].collections[0].get_offsets()[0]
    assert (x, y) == pytest.approx((costs["ResNet-18"].parameters / 1e6, costs["ResNet-18"].macs / 1e9))
    assert [text.get_text() for text in pair[1].get_legend().get_texts()] == ["ResNet"]
