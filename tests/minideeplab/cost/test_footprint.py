"""Measured fields against fields that follow from the windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab import Tensor, cost, models, ops, teach
from minideeplab.nn import Conv2d, Sequential

steps = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3))  # kernel, stride, rate


@given(st.lists(steps, min_size=1, max_size=3))
def test_a_chain_sees_what_the_recurrence_says(chain):
    model = Sequential(*(Conv2d(2, 2, k, s, r) for k, s, r in chain)).initialise(0)
    for p in model.parameters():
        p.data = np.abs(p.data) + 0.1  # nothing cancels
    side = cost.receptive_field(chain) + 40
    print_ = cost.footprint(model, Tensor(np.ones((1, side, side, 2), np.float32)))
    rows = np.flatnonzero(print_.sum(axis=1))
    assert rows[-1] - rows[0] + 1 == cost.receptive_field(chain)
    assert (print_ >= 0).all() and print_.shape == (side, side)


def test_the_gradient_of_a_convolution_is_its_kernel():
    w = np.random.default_rng(0).standard_normal((3, 3, 1, 1)).astype(np.float32)
    found = teach.footprint(lambda x: ops.conv2d(x, Tensor(w), rate=2), (9, 11), channels=1)
    expected = np.zeros((9, 11), np.float32)
    expected[2:7:2, 3:8:2] = np.abs(w[..., 0, 0])  # around the middle (4, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_module_stays_as_it_was_and_the_position_counts():
    model = models.build("resnet18", width=1 / 16, dense=True, num_classes=3)
    before = {key: array.copy() for key, array in model.state_dict().items()}
    found = teach.footprint(model, 65, position=(0, 64))
    rows, columns = np.mgrid[:65, :65]
    assert (found * rows).sum() / found.sum() < 32 < (found * columns).sum() / found.sum()
    assert all(np.array_equal(array, before[key]) for key, array in model.state_dict().items())


def test_what_cannot_be_asked():
    with pytest.raises(ValueError, match="outside"):
        teach.footprint(ops.relu, 5, position=(5, 0))
    with pytest.raises(ValueError, match="must be"):
        cost.footprint(ops.relu, Tensor(np.zeros((2, 5, 5, 3), np.float32)))
