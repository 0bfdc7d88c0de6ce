"""Pictures of a training."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from minideeplab.data import SHAPE_CLASSES
from minideeplab.teach import draw_confusion, draw_curves, draw_key


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_key_names_all():
    draw_key()
    texts = [text.get_text() for text in plt.gca().texts]
    assert texts == [f"{i} {name}" for i, name in enumerate(SHAPE_CLASSES)] + ["255 void"]


def test_losses_are_drawn_as_they_are():
    draw_curves({"a": [2, 1], "b": [3.0]}, chance=1.9)
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
