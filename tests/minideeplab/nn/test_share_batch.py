"""`share_batch`: layers that see a part of each batch do what they would with the whole."""

import numpy as np
import pytest
from ranks_in_threads import in_threads, part_of
from strategies import SIMULATED, normal

import kernels
from minideeplab import Tensor, models, ops, precision
from minideeplab.distributed import Alone, Replica
from minideeplab.nn import BatchNorm2d, Dropout, Sequential, freeze_batch_norm, share_batch

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
X = normal(0, (6, 3, 4, 5), dtype=np.float32)


class Part(Alone):
    """The group of a rank that nobody answers."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.mark.parametrize("mode", ["float32", "bf16"])
@pytest.mark.parametrize("size", [2, 3])
def test_parts_of_a_batch_drop_what_the_batch_drops(size, mode):
    """Bit for bit, in the second step, too, and backward."""

    def dropped(part, x):
        layer, found = Sequential(Dropout(0.4)).reseed(3), []
        share_batch(layer, part)
        for _ in range(2):
            x = Tensor(x.data, requires_grad=True)
            y = layer(x)
            y.backward(kernels.load("cpu").full(y.shape, 1.0, y.dtype))
            found += [y.numpy(), x.grad]
        return found

    with precision(mode):
        whole = dropped(Part(0, 1), Tensor(X))
        parts = [dropped(Part(rank, size), Tensor(part_of(Part(rank, size), X))) for rank in range(size)]
    for i, expected in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([found[i] for found in parts]), expected)
    assert (whole[0] != whole[2]).any()


@pytest.mark.parametrize("size", [1, 3])
def test_first_is_the_number_of_the_first_element(size):
    whole = ops.dropout(Tensor(X), 0.3, 2**64 - 5).numpy()
    flat = X.reshape(-1)
    parts = [ops.dropout(Tensor(flat[i : i + 40]), 0.3, 2**64 - 5, first=i).numpy() for i in range(0, X.size, 40)]
    np.testing.assert_array_equal(np.concatenate(parts), whole.reshape(-1))


def test_who_shares_a_batch():
    model, group = models.build("deeplabv1-largefov", num_classes=3, width=1 / 16), Part(2, 3)
    share_batch(model, group)
    layers = [layer for _, layer in model.named_modules() if isinstance(layer, (BatchNorm2d, Dropout))]
    assert layers and all(getattr(layer, "group", group) is group for layer in layers)
    assert {layer.part for layer in layers if isinstance(layer, Dropout)} == {2}
    share_batch(model, group, synchronised=False)
    assert all(layer.group is None for layer in layers if isinstance(layer, BatchNorm2d))
    assert {layer.part for layer in layers if isinstance(layer, Dropout)} == {2}


def test_a_layer_over_ranks_sees_the_batch():
    """Its own statistics are those of the batch; left alone, they are those of its part."""

    def statistics(group, synchronised):
        layer = BatchNorm2d(5).initialise(0)
        share_batch(layer, group, synchronised)
        layer(Tensor(part_of(group, X)))
        return layer.running_mean.numpy(), layer.running_var.numpy()

    whole = statistics(Alone(), True)
    for mean, var in in_threads(2, statistics, True):
        np.testing.assert_allclose(mean, whole[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(var, whole[1], rtol=1e-5)
    (one, _), (other, _) = in_threads(2, statistics, False)
    assert (one != other).any()


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_of_each_rank_become_their_mean_unless_they_are_frozen(frozen):
    """Frozen ones stay as they are to the last bit: (a + a + a) / 3 is not always a."""

    def statistics(group):
        norm = BatchNorm2d(1000)
        norm.running_mean.data = normal(7, (1000,), dtype=np.float32)
        if frozen:
            freeze_batch_norm(norm)
        replica = Replica(norm, group, synchronised=False)
        own = normal(7 if frozen else group.rank, (1000,), dtype=np.float32)
        norm.running_mean.data = own.copy()
        replica.finish()
        return own, norm.running_mean.data

    owns, found = zip(*in_threads(3, statistics), strict=True)
    for each in found:
        if frozen:
            np.testing.assert_array_equal(each, owns[0])
        else:
            np.testing.assert_array_equal(each, found[0])
            np.testing.assert_allclose(each, np.mean(owns, axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6)
