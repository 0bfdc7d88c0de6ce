"""Batch norm over ranks: what each computes of its part is what one process computes of the whole batch."""

import numpy as np
import pytest
from norms_over_ranks import assert_ranks_are_one, case
from ranks_in_threads import in_threads
from strategies import SIMULATED, every_activation

from minideeplab import Tensor, ops

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
SHAPE = (6, 3, 4, 5)


@every_activation
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", [{}, {"residual": True}, {"columns": 4}], ids=["plain", "residual", "convolution"])
def test_ranks_are_one(kind, size, activation):
    assert_ranks_are_one(size, case(SHAPE, **kind), activation=activation)


@pytest.mark.parametrize("kind", [{}, {"residual": True}, {"columns": 4}], ids=["plain", "residual", "convolution"])
def test_one_value_of_each_channel_a_rank(kind):
    """Image-level pooling of one image: alone it has no variance, over ranks it has one."""
    assert_ranks_are_one(3, case((3, 1, 1, 5), **kind), activation="relu")


def test_running_statistics_need_no_others():
    """Nothing is said, so that a rank may evaluate alone."""
    arrays = case(SHAPE, columns=4)
    assert_ranks_are_one(2, arrays, training=False)

    def sums(group):
        x, *tensors = (Tensor(arrays[name], requires_grad=True) for name in ("x", "gamma", "beta", "w"))
        running = np.zeros(5), np.ones(5)
        y = ops.batch_norm(x, *tensors[:2], *running, training=False, group=group)
        ops.conv2d_of_batch_norm(y, *tensors, *running, training=False, group=group).backward(arrays["grad"])
        return group.sums

    assert in_threads(2, sums) == [0, 0]


def test_a_mean_far_from_zero_leaves_the_variance():
    """The variance over ranks is E[x^2] - E[x]^2, of numbers that have one sign: of these it keeps half the digits."""
    arrays = case(SHAPE)
    arrays["x"] = arrays["x"] * 1e-3 + 1e3
    assert_ranks_are_one(2, arrays, tolerance=1e-3)
