"""Who reads whom, against networks whose connections are known."""

import numpy as np
import pytest

from minideeplab import models, ops, teach
from minideeplab.nn import Conv2d, Module
from minideeplab.teach.connections import ADDED, ALONE, JOINED


class Known(Module):
    """b reads a; c reads a beside b; d reads c + a, which an ordinary convolution in between hides from b."""

    def __init__(self):
        self.a, self.b, self.c, self.d = Conv2d(3, 4, 3), Conv2d(4, 4, 1), Conv2d(8, 4, 3, bias=True), Conv2d(4, 2, 3)

    def forward(self, x):
        a = ops.relu(self.a(x))
        c = self.c(ops.concat([a, ops.max_pool2d(self.b(a), 3, 1, 1)]))
        return self.d(c + a)


def test_ways_of_reading():
    found = teach.connections(Known(), 8)
    expected = np.zeros((4, 4), int)
    expected[1, 0], expected[2, :2], expected[3, 0], expected[3, 2] = ALONE, JOINED, ADDED, ADDED
    assert np.array_equal(found.reads, expected)


def test_nothing_reads_what_runs_later():
    for name in ("resnet50", "drn-c-26", "densenet121"):
        reads = teach.connections(models.create(name, width=1 / 16)).reads
        assert not np.triu(reads).any() and (reads[1:].sum(axis=1) > 0).all()


def test_a_dense_block_is_full():
    """Layer l of a block reads what came in, and the 3x3 of the l layers before it."""
    reads = teach.connections(models.create("densenet121", width=1 / 16)).reads
    for layer in range(6):
        bottleneck = 1 + 2 * layer
        assert np.flatnonzero(reads[bottleneck]).tolist() == [0, *range(2, 1 + 2 * layer, 2)]


@pytest.mark.parametrize(
    ("name", "carried"),
    [("unet", [512, 256, 128, 64]), ("segnet", []), ("fcn-8s", [512, 256]), ("deeplabv3plus", [64]), ("resnet18", [])],
)
def test_bridges_over_coarser_maps(name, carried):
    options = {"dense": True} if name == "resnet18" else {}
    found = teach.connections(models.create(name, **options))
    assert [found.layers[source].output[2] for source, _ in teach.bridges(found)] == carried
    from matplotlib.figure import Figure

    axes, matrix = Figure().subplots(1, 2)
    teach.draw_ladder(found, axes)
    teach.draw_connections(found, matrix)
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None) is not None]
    assert len(arrows) == len(carried) + (5 if name == "segnet" else 0)
