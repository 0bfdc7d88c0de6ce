"""Close-ups: the same window of each picture, labels in their colours."""

import numpy as np
import pytest

from minideeplab.teach import classes, draw_closeups


def test_each_row_shows_its_window():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    labels = np.where(np.arange(30) < 15, 1, 255) * np.ones((20, 1), np.uint8)
    axes = Figure().subplots(2, 2)
    assert draw_closeups([{"image": image, "labels": labels}] * 2, [(0, 0, 8), (5, 10, 10)], axes=axes) is None
    np.testing.assert_array_equal(axes[1, 0].images[0].get_array(), image[5:15, 10:20])
    drawn = axes[1, 1].images[0].get_array()
    assert (drawn[:, :5] == classes().palette[1]).all() and (drawn[:, 5:] == 224).all()
    assert [[a.get_title() for a in row] for row in axes] == [["image", "labels"], ["", ""]]
    assert (classes().palette[255] != 224).any()  # the palette itself is left as it is
