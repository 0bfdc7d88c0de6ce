"""Pictures of a training."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from minideeplab.data import SHAPE_CLASSES
from minideeplab.teach import coloured, draw_confusion, draw_key, draw_losses, training


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_class_has_a_colour_of_its_own_and_void_is_white():
    colours = coloured(np.array([[*range(7), 255]], np.uint8))
    assert colours.shape == (1, 8, 3) and colours.dtype == np.uint8
    assert len({tuple(colour) for colour in colours[0].tolist()}) == 8
    assert colours[0, 7].tolist() == [255, 255, 255]
    assert list(training.COLOURS) == list(SHAPE_CLASSES)


def test_void_may_be_another_label():
    assert coloured(np.array([[7, 3]], np.uint8), void=3).tolist() == [[[255] * 3] * 2]


def test_colours_differ_in_lightness_from_the_ground():
    red, green, blue = (coloured(np.arange(7, dtype=np.uint8)[None])[0] / 255).T
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert (light[1:] > light[0] + 0.1).all()


def test_the_key_names_all():
    draw_key()
    texts = [text.get_text() for text in plt.gca().texts]
    assert texts == [f"{i} {name}" for i, name in enumerate(SHAPE_CLASSES)] + ["255 void"]


def test_losses_are_drawn_as_they_are():
    draw_losses({"a": [2, 1], "b": [3.0]}, chance=1.9)
    axes = plt.gca()
    assert [line.get_ydata().tolist() for line in axes.lines[:2]] == [[2, 1], [3]]
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "step"
    assert [text.get_text() for text in axes.get_legend().texts] == ["a", "b"]


def test_rows_of_confusion_add_up_to_a_hundred():
    counts = np.array([[75, 25], [0, 0]])
    draw_confusion(counts, ("road", "sky"))
    axes = plt.gca()
    assert [text.get_text() for text in axes.texts] == ["75", "25", "·", "·"]
    assert axes.get_xlabel() and axes.get_ylabel()
