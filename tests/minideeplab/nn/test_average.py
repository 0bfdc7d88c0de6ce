"""The average of weights against its recurrence."""

import numpy as np
import pytest

from minideeplab import Tensor, nn
from minideeplab.nn import WeightAverage


def changed(module, seed):
    """Other values for all parameters and buffers."""
    rng = np.random.default_rng(seed)
    for t in module.arrays():
        t.data = rng.standard_normal(t.shape).astype(t.dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_the_recurrence_over_weights_and_statistics(dtype, tolerance):
    module = nn.ConvNorm(2, 3, 3).initialise(0).astype(dtype)
    average, expected = WeightAverage(module, 0.3), module.state_dict()
    for t in range(6):
        changed(module, t)
        average.update(t)
        d = min(0.3, (1 + t) / (10 + t))  # the warm-up ends at t = 3
        expected = {name: d * expected[name] + (1 - d) * value for name, value in module.state_dict().items()}
    found = average.model.state_dict()
    assert found.keys() == expected.keys() >= {"norm.running_mean", "norm.running_var"}
    for name, array in found.items():
        assert array.dtype == dtype
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=tolerance, err_msg=name)


def test_the_average_is_a_network_of_its_own():
    module = nn.ConvNorm(2, 3, 3).initialise(0)
    x = Tensor(np.ones((1, 4, 4, 2), np.float32))
    module(x).sum().backward()
    average = WeightAverage(module, 0.9)
    before = average.model.state_dict()
    assert not average.model.norm.training and module.norm.training
    assert all(p.grad is None for p in average.model.parameters()) and module.conv.weight.grad is not None
    changed(module, 0)
    for name, array in average.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("decay", [-0.1, 1, float("nan")])
def test_a_decay_is_below_one(decay):
    with pytest.raises(ValueError, match=rf"WeightAverage: decay must be 0 or more and below 1, got {decay}"):
        WeightAverage(nn.ConvNorm(2, 3, 3), decay)
