"""Ranks that train as one: each has a part of the batch, and all take the step of the whole batch.

In float64 that is checked to 1e-9. In float32 nobody else computes exactly either: one process gets other bits when
only the order of the images in its batches changes. Ranks may be as far from one process as these are from each other,
times SLACK.
"""

import functools
import re

import numpy as np
import pytest
import replica_cases
from mpi_runs import needs_mpi, on_ranks
from replica_cases import EXACT, FEW, MANY, OWN, ROUNDED
from strategies import SIMULATED

from minideeplab import Tensor
from minideeplab.distributed import Alone, Replica
from minideeplab.nn import share_batch

pytestmark = pytest.mark.skipif(SIMULATED, reason="no kernel to simulate")
SLACK = 4
ORDERS = (5, 4, 3, 2, 1, 0), (1, 2, 3, 4, 5, 0), (3, 0, 4, 1, 5, 2), (0, 1, 2, 5, 4, 3), (2, 4, 0, 1, 3, 5)


class Part(Alone):
    """One of several, whom nobody answers."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@functools.cache
def whole(name, order=None):
    """The same training in one process."""
    case, steps = (EXACT[name], FEW) if name in EXACT else (ROUNDED[name], MANY if name == "float32" else FEW)
    return case.train(Alone(), steps, order)


@pytest.fixture(scope="module", params=[2, 3])
def trained(request, mpi):
    """What `train_all` finds on each of the ranks."""
    for name in (*EXACT, *ROUNDED):
        whole(name)  # first, so that kernels that are not compiled yet are compiled once
    return on_ranks(request.param, replica_cases.train_all, timeout=600)


@needs_mpi
@pytest.mark.parametrize("name", EXACT)
def test_ranks_take_the_step_of_the_whole_batch(trained, name):
    """Each array to 1e-9 of its largest number."""
    for number, (losses, *arrays) in trained[0][name].items():
        expected_losses, *expected = whole(name)[number]
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-9)
        for mine, others in zip(arrays, expected, strict=True):
            assert mine.keys() == others.keys()
            for key in others:
                atol = 1e-9 * abs(others[key]).max()
                np.testing.assert_allclose(mine[key], others[key], rtol=0, atol=atol, err_msg=f"{number}: {key}")


def distance(one, other, first):
    """How far two networks are from each other, in units of how far training has come from the first values."""

    def norm(a, b):
        return sum(float(((a[key].astype(np.float64) - b[key]) ** 2).sum()) for key in first) ** 0.5

    return norm(one, other) / norm(other, first)


@needs_mpi
@pytest.mark.parametrize("name", ROUNDED)
def test_rounding_is_what_separates_them(trained, name):
    if name not in trained[0]:
        pytest.skip("this processor does not multiply bfloat16")
    first = {key: p.numpy().copy() for key, p in ROUNDED[name].start(Alone())[0].model.named_parameters()}
    for number, found in trained[0][name].items():
        base, others = whole(name)[number], [whole(name, order)[number] for order in ORDERS]
        usual = max(distance(other[1], base[1], first) for other in others)
        assert distance(found[1], base[1], first) <= SLACK * usual, f"after {number} steps"
        last, expected, *others = (np.mean([loss for loss, _ in each[0][-10:]]) for each in (found, base, *others))
        usual = max(np.finfo(np.float32).eps * expected, *(abs(other - expected) for other in others))
        assert abs(last - expected) <= SLACK * usual, f"after {number} steps"
        assert [weight for _, weight in found[0]] == [weight for _, weight in base[0]]


@needs_mpi
def test_all_ranks_have_the_same_losses_and_bits(trained):
    """`train` compares the bits; the losses are printed by the first rank, and decide on all."""
    for found in trained[1:]:
        for name in {*EXACT, *ROUNDED, "own"} & found.keys():
            for number, result in found[name].items():
                assert replica_cases.same(result, trained[0][name][number]), name


@needs_mpi
def test_the_same_number_of_ranks_gives_the_same_bits(trained):
    assert all(found["again"] for found in trained)


@needs_mpi
def test_statistics_of_their_own_become_their_mean(trained):
    """Without synchronised batch norm, after each step."""
    size = len(trained)
    parts = []
    for rank in range(size):
        replica, _ = OWN.start(Alone())
        images, _ = OWN.batch(0)
        share_batch(replica.model, Part(rank, size), synchronised=False)
        replica.model(Tensor(OWN.part(Part(rank, size), images)))
        parts.append({name: b.numpy() for name, b in replica.model.named_buffers()})
    _, state, _ = trained[0]["own"][1]
    for name in parts[0]:
        np.testing.assert_allclose(state[name], np.mean([part[name] for part in parts], 0), rtol=1e-5, atol=1e-7)


@needs_mpi
def test_all_ranks_hear_of_a_nan_in_the_images_of_one(trained):
    for message, unchanged, loss in (found["fault"] for found in trained):
        assert message == "the loss is nan, the images hold values that are not finite"
        assert unchanged and loss == trained[0]["fault"][2] and np.isfinite(loss)


@needs_mpi
def test_one_bit_is_noticed(trained):
    last = len(trained) - 1
    for found in trained:
        before, after = found["flipped"]
        assert not before
        assert re.match(rf"the weights on rank {last} of {last + 1} on .+ are no longer those of rank 0: ", after)
    assert len({found["flipped"][1] for found in trained}) == 1


# ---------------------------------------------------------------- one process


@pytest.mark.parametrize("name", ["v3+", "dropout"])
def test_one_rank_is_no_replica(name):
    """Bit for bit."""
    case = EXACT[name]

    class NoReplica(replica_cases.Case):
        def start(self, group):
            replica, optimiser = super().start(group)
            for _, module in replica.model.named_modules():
                if hasattr(module, "group"):
                    module.group = None
            return replica, optimiser

    plain = NoReplica(case.name, case.n, case.lr, model=case.model, step=case.step).train(Alone(), FEW)
    for number, found in plain.items():
        assert replica_cases.same(found, whole(name)[number])


def test_all_void_is_a_loss_of_zero():
    assert Replica(OWN.start(Alone())[0].model, Alone()).mean_loss(float("nan"), 0.0) == (0.0, 0.0)
