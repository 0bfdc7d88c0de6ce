"""Drawings of label maps: what stands in them, without looking at pixels of the picture."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

from minideeplab import teach


@pytest.fixture
def axes():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_colours_follow_the_palette():
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    assert (teach.coloured(labels) == teach.classes().palette[labels]).all()
    other = np.zeros((256, 3), np.uint8)
    other[1] = 7
    assert teach.coloured(labels, other)[0, 1].tolist() == [7, 7, 7]


def test_floats_are_no_labels():
    with pytest.raises(TypeError, match="float64"):
        teach.coloured(np.zeros((2, 2)))


def test_each_class_has_its_name_inside_the_map(axes):
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 70:] = 6
    labels[10:20, 10:20] = 255
    labels[40, 40] = 3  # too small for a name
    assert teach.draw_labels(labels, axes, "title") is None
    assert texts(axes) == ["0 background", "6 star"]
    assert all(0 < text.get_position()[0] < 80 for text in axes.texts)
    assert axes.get_title() == "title"


def test_names_can_be_left_out(axes):
    teach.draw_labels(np.zeros((60, 80), np.uint8), axes, names=False)
    assert not texts(axes)


def test_numbers_stand_in_their_squares(axes):
    values = np.array([[1, 2, 3], [4, 5, 255]])
    dark = np.zeros((2, 3, 3), np.uint8)
    assert teach.draw_numbers(values, axes, colours=dark) is None
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (column, row): str(values[row, column]) for row, column in np.ndindex(2, 3)
    }
    assert {text.get_color() for text in axes.texts} == {"white"}


def test_void_pixels_have_no_loss_in_the_picture(axes):
    void = np.array([[True, False], [False, False]])
    assert teach.draw_losses(np.ones((2, 2)), void, axes) is None
    shown = axes.images[0].get_array()
    assert np.ma.getmaskarray(shown).tolist() == void.tolist()
    assert axes.images[0].get_clim() == (0, 4)
