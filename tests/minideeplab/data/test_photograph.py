"""The drawn photograph: always the same numbers, so that measurements stay comparable."""

import numpy as np

from minideeplab.data.photograph import photograph


def test_it_is_always_the_same_image():
    image = photograph(60, 90)
    assert image.shape == (60, 90, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, photograph(60, 90))
    np.testing.assert_allclose(image.mean(axis=(0, 1)), [103.676, 115.708, 130.051], atol=0.01)
    np.testing.assert_allclose(image[[0, 30, 59], [0, 45, 89]], [[0, 5, 42], [128, 133, 138], [168, 181, 194]], atol=1)
