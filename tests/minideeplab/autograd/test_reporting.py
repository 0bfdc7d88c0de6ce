"""`reporting_leaves`: who waits for gradients hears when each of them is complete."""

from collections import Counter

import numpy as np
import pytest
from strategies import SIMULATED, normal

from minideeplab import Tensor, models, ops
from minideeplab.autograd.function import recompute, reporting_leaves
from minideeplab.nn import Parameter
from minideeplab.nn.initialisers import ones

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")


class Heard:
    """What backward reports: the leaves in order, and a copy of each gradient as it was then."""

    def __init__(self):
        self.leaves, self.gradients = [], {}

    def __call__(self, leaf):
        self.leaves.append(leaf)
        self.gradients[leaf] = np.array(leaf.grad)

    def assert_complete(self):
        """No gradient has changed after its last report."""
        for leaf, gradient in self.gradients.items():
            np.testing.assert_array_equal(leaf.grad, gradient)


def heard_in(backward):
    heard = Heard()
    with reporting_leaves(heard):
        backward()
    return heard


def test_each_leaf_is_reported_once_after_its_last_use():
    """One is used twice by one op, one by several ops, one in both ways."""
    a, b, c = (Tensor(array, requires_grad=True) for array in normal(0, (3, 4), (3, 4), (3, 4)))
    fixed = Tensor(normal(1, (3, 4)))
    loss = ops.sum(a * a + ops.relu(b * c) * b + c * c * fixed)
    heard = heard_in(loss.backward)
    assert Counter(heard.leaves) == Counter([a, b, c])
    heard.assert_complete()


def test_gradients_of_two_graphs_are_two_reports():
    a = Tensor(normal(0, (3, 4)), requires_grad=True)
    heard = Heard()
    with reporting_leaves(heard):
        for _ in range(2):
            ops.sum(a * a).backward()
    assert heard.leaves == [a, a]
    heard.assert_complete()


def test_nobody_hears_outside_of_the_block():
    a = Tensor(normal(0, (3, 4)), requires_grad=True)
    outer, inner = Heard(), Heard()
    with reporting_leaves(outer):
        with pytest.raises(ZeroDivisionError), reporting_leaves(inner):
            raise ZeroDivisionError
        ops.sum(a).backward()
    ops.sum(a).backward()
    assert outer.leaves == [a] and not inner.leaves


def test_a_part_that_is_computed_again_reports_for_itself():
    """A weight that two parts and the loss share has three reports; the last says that it is complete."""
    shared, own = (Parameter((4,), ones) for _ in range(2))
    x = Tensor(normal(0, (3, 4)).astype(np.float32), requires_grad=True)

    def part(x):
        return ops.relu(x * shared) * own

    loss = ops.sum(recompute(part, recompute(part, x)) * shared)
    heard = heard_in(loss.backward)
    count = Counter(heard.leaves)
    assert (count[shared], count[own], count[x]) == (3, 2, 1)
    heard.assert_complete()


@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("name", ["deeplabv3plus", "deeplabv2-resnet101", "pspnet"])
def test_a_network_reports_all_its_parameters(name, again):
    """As often in each step, the last time with the complete gradient; one of them sees an image in three sizes."""
    model = models.build(name, num_classes=3, width=1 / 32)
    if again:
        model.checkpoint_activations()
    images, labels = normal(0, (1, 33, 33, 3), dtype=np.float32), np.zeros((1, 33, 33), np.uint8)
    counts = []
    for _ in range(2):
        for p in model.parameters():
            p.grad = None
        heard = heard_in(model.loss(Tensor(images), labels).backward)
        heard.assert_complete()
        counts.append({name: heard.leaves.count(p) for name, p in model.named_parameters()})
    assert counts[0] == counts[1] and min(counts[0].values()) >= 1
    assert max(counts[0].values()) == (3 if again and name == "deeplabv2-resnet101" else 1)
