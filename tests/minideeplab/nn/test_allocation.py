"""A limit on networks that a file asks for."""

import tracemalloc

import numpy as np
import pytest

from minideeplab import models
from minideeplab.nn.allocation import TooLarge, limited_to, zeros


def sizes(model):
    return [array.size for array in model.state_dict().values()]


@pytest.mark.parametrize("name", ["deeplabv3plus", "unet", "vgg16"])
def test_a_network_of_these_sizes_is_made(name):
    small = models.create(name, width=1 / 32)
    with limited_to(sizes(small)):
        assert sizes(models.create(name, width=1 / 32)) == sizes(small)


def test_a_larger_network_takes_no_memory():
    with limited_to(sizes(models.create("resnet18", width=1 / 32))):
        tracemalloc.start()
        with pytest.raises(TooLarge):
            models.create("resnet152", width=4)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10e6


def test_many_tiny_arrays_count():
    with limited_to([]), pytest.raises(TooLarge):
        for _ in range(10**4):
            zeros((1,))


def test_the_limit_ends_with_its_block():
    with pytest.raises(TooLarge), limited_to([]):
        zeros((2000, 2000))
    array = zeros((2000, 2000))
    assert array.dtype == np.float32 and array.shape == (2000, 2000) and not array.any()
