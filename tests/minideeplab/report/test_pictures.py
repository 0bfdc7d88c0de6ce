"""Small pictures: which pixels they show, and that their numbers can be read back."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from minideeplab.data import voc_colour_map
from minideeplab.report.pictures import (
    SIDE,
    distinct,
    kept_pixels,
    labels_url,
    percent_of,
    percent_url,
    photo_url,
    small_photo,
    step_of,
)


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))).convert("RGB"))


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_kept_pixels_are_spread_over_the_image(height, width):
    step = step_of(height, width)
    assert (max(height, width) - 1) // step < SIDE and (step == 1 or max(height, width) > (step - 1) * SIDE)
    for place, length in zip(kept_pixels(height, width), (height, width), strict=True):
        kept = list(range(length)[place])
        assert kept == [min(step * y + step // 2, length - 1) for y in range(len(kept))]
        assert kept and length - 1 - kept[-1] < step


@settings(max_examples=10)
@given(st.integers(1, 900), st.integers(1, 900))
def test_small_photographs_fit_their_labels(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    assert small_photo(image).shape == image[kept_pixels(height, width)].shape


@given(arrays(np.float32, (3, 4, 5), elements=st.floats(-80, 80, width=32)), st.integers(0, 2**32 - 1))
def test_percent_is_the_probability_of_the_label(scores, seed):
    labels = np.random.default_rng(seed).integers(0, 5, (3, 4), np.uint8)
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    probabilities = powers / powers.sum(axis=-1, keepdims=True)
    exact = 100 * np.take_along_axis(probabilities, labels[..., None].astype(int), axis=-1)[..., 0]
    assert np.abs(percent_of(labels, scores, "logits") - exact).max() <= 0.5001
    assert np.abs(percent_of(labels, probabilities.astype(np.float32), "probabilities") - exact).max() <= 0.5001


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 40, 256]))
def test_no_two_colours_are_equal(seed, values):
    colours = np.random.default_rng(seed).integers(0, values, (256, 3), np.uint8)
    for each in (colours, 255 - colours):
        found = distinct(each)
        assert len(np.unique(found, axis=0)) == 256
        assert np.abs(found.astype(int) - each).max() <= 8


def test_colours_that_differ_stay():
    np.testing.assert_array_equal(distinct(voc_colour_map()), voc_colour_map())


@pytest.mark.parametrize("colours", [voc_colour_map(), np.zeros((256, 3), np.uint8)], ids=["voc", "black"])
def test_labels_can_be_read_back_by_their_colours(colours):
    labels = np.random.default_rng(0).integers(0, 256, (60, 70), np.uint8)
    colours = distinct(colours)
    shown = decoded(labels_url(labels, colours))
    label_of = {tuple(colour): label for label, colour in enumerate(colours.tolist())}
    read = [[label_of[tuple(pixel)] for pixel in row] for row in shown.tolist()]
    np.testing.assert_array_equal(read, labels)


def test_numbers_and_photographs_can_be_read_back():
    percent = np.arange(101, dtype=np.uint8).reshape(1, 101)
    np.testing.assert_array_equal(decoded(percent_url(percent))[..., 0], percent)
    image = np.full((400, 600, 3), (200, 100, 50), np.uint8)
    photo = decoded(photo_url(small_photo(image)))
    assert photo.shape == (200, 300, 3) and np.abs(photo.astype(int) - image[0, 0]).max() < 6
