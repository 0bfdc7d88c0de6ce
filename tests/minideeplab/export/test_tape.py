"""Networks as lists of kernels: a tape for all sizes is one that the network keeps to at others, or it is refused."""

import pytest
from export_networks import narrow, trained

from minideeplab import models
from minideeplab.autograd import ops
from minideeplab.export import tape as tapes
from minideeplab.export.onnx_file import onnx_file
from minideeplab.export.sizes import Size
from minideeplab.export.tape import NotExportedError, agree
from minideeplab.nn import Conv2d, Module


class Net(Module):
    """One convolution, then what a test does with x and y."""

    def __init__(self, then, **options):
        self.conv, self.then = Conv2d(3, 4, 3, **options), then

    def forward(self, x):
        return self.then(x, self.conv(x))


def record(net, *size, **options):
    return tapes.record(tapes.without_numbers(net), net.state_dict(), *size, **options)


def compared(net, first=(67, 70), others=((67, 70), (40, 51), (75, 36), (64, 48))):
    tape = record(net, *first, any_size=True)
    for other in others:
        agree(tape, record(net, *other), "net")
    return tape


def test_the_network_stays_as_it_is():
    net = Net(lambda x, y: y)
    before, arrays = net.state_dict(), [t.data for t in net.arrays()]
    record(net, 40, 50)
    assert [t.data for t in net.arrays()] == arrays and net.training and net.device == "cpu"
    assert all((net.state_dict()[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("any_size", [False, True])
def test_sizes_know_where_they_come_from_if_asked(any_size):
    tape = record(Net(lambda x, y: y), 40, 50, any_size)
    assert all(isinstance(side, Size) is any_size for shape in tape.shapes for side in shape[1:3])


KEPT = {
    "resized to another map": lambda x, y: ops.resize_bilinear(ops.max_pool2d(y, 2), *y.shape[1:3]),
    "padded to a multiple": lambda x, y: ops.pad(y, 0, -y.shape[1] % 16, 0, -y.shape[2] % 16),
    "padded where that is needed": lambda x, y: ops.pad(y, 0, -y.shape[1] % 8, 0, 0) if y.shape[1] % 8 else y,
    "cropped back": lambda x, y: ops.crop(ops.pad(y, 3, 4, 5, 6), 3, 5, *y.shape[1:3]),
    "a pooling that rounds up": lambda x, y: ops.max_pool2d(y, 2, ceil_mode=True),
}
REFUSED = {
    "a share that is a float": (lambda x, y: ops.resize_bilinear(y, int(y.shape[1] * 0.5), 9), "resize_bilinear"),
    "the smaller side": (lambda x, y: ops.resize_bilinear(y, min(y.shape[1:3]), 9), "resize_bilinear"),
    "another branch": (lambda x, y: y.relu() if y.shape[1] > 60 else y, "activate"),
    "an activation at small sizes": (lambda x, y: y if y.shape[1] > 60 else y.relu(), "activate"),
    "a window of the map's size": (lambda x, y: ops.max_pool2d(y, (y.shape[1] // 4, 2)), "max_pool2d"),
    "a factor from the size": (lambda x, y: y * (1 / y.data.size), "multiply"),
    "the image instead of the map": (lambda x, y: x * 2.0 if y.shape[1] == 75 else y * 2.0, "multiply"),
    "rounding by size": (lambda x, y: ops.max_pool2d(y, 2, ceil_mode=y.shape[1] > 70), "max_pool2d rounds up"),
}


@pytest.mark.parametrize("then", KEPT.values(), ids=KEPT)
def test_what_follows_from_the_size_by_whole_numbers_is_kept(then):
    compared(Net(then))


@pytest.mark.parametrize(("then", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_is_refused_by_name(then, said):
    with pytest.raises(NotExportedError, match=f"net.*{said}.*--size H W"):
        compared(Net(then))


@pytest.mark.parametrize("limit", [34, 64, 513, 1000])
@pytest.mark.parametrize("choose", [min, max])
def test_a_limit_of_a_side_is_found_by_the_sizes_that_the_exporter_tries(limit, choose):
    def then(x, y):
        return ops.resize_bilinear(y, choose(y.shape[1], limit), choose(y.shape[2], limit))

    with pytest.raises(NotExportedError, match=r"Net does not do the same.*resize_bilinear"):
        onnx_file(trained(Net(then)))


def test_rounding_is_learnt_from_the_sizes():
    rounds = {}
    for up in (True, False):
        tape = compared(Net(lambda x, y, up=up: ops.max_pool2d(y, 2, ceil_mode=up)), (67, 71))
        rounds[up] = tape.calls[-1].rounds
    assert rounds == {True: {"up"}, False: {"down"}}


def test_a_network_that_ignores_its_image_is_refused():
    with pytest.raises(NotExportedError, match="does not depend on the image"):
        record(Net(lambda x, y: models.build("resnet18", width=1 / 16).arrays()[0]), 40, 40)


def test_the_spatial_pyramid_of_the_papers_windows_is_for_one_size():
    with pytest.raises(NotExportedError, match=r"max_pool2d in pooling has another win; give --size H W"):
        compared(narrow("spp-net", rule="window"), (224, 224), ((224, 224), (208, 224)))
