"""Groups of processes: what they say to one another, what ends on all, and that one process is a group, too."""

import inspect

import mpi_jobs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi_runs import needs_mpi, on_ranks
from ranks_in_threads import ThreadRank
from strategies import SIMULATED

from minideeplab.distributed import Alone, Ranks
from minideeplab.distributed.group import Started, _Request
from minideeplab.errors import DataError

pytestmark = pytest.mark.skipif(SIMULATED, reason="no kernel to simulate")


class Rank(Alone):
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


# ---------------------------------------------------------------- one process


@pytest.mark.parametrize(("one", "several"), [(Alone, Ranks), (Started, _Request), (Alone, ThreadRank)])
def test_one_process_has_what_several_have(one, several):
    """With the same arguments, so that code for several serves one; what is more is of this class alone."""
    for name, member in inspect.getmembers(one, inspect.isfunction):
        if not name.startswith("__"):
            here, there = inspect.signature(member), inspect.signature(getattr(several, name))
            assert here.parameters.keys() == there.parameters.keys(), name
    own = {name for name in vars(several) if not name.startswith("_")} - set(dir(one))
    assert own <= {"name", "takes_device_arrays"}


def test_one_process_says_nothing():
    alone, array = Alone(), np.arange(3.0)
    assert alone.sum(array) is array and (array == [0, 1, 2]).all()
    started = alone.start_sum(array)
    assert started.progress() and started.wait() is None and (array == [0, 1, 2]).all()
    alone.broadcast(array)
    assert alone.gather("a") == alone.all("a") == ["a"]
    assert alone.any(True) is True and alone.any(0) is False
    assert (alone.rank, alone.size, alone.local_rank, alone.local_size, alone.waited) == (0, 1, 0, 1, 0)
    assert alone.is_first and alone.end(3, "no") == (3, "no")


@pytest.mark.parametrize("error", [DataError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("block", ["agreed", "first_on_each_machine"])
def test_one_process_raises_what_it_raises(block, error):
    with pytest.raises(error), getattr(Alone(), block)():
        raise error("x")


@given(st.lists(st.integers()), st.integers(1, 9))
def test_shares_are_a_partition(items, size):
    """Each item belongs to one rank; shares differ by one item at most, and keep the order."""
    shares = [list(Rank(rank, size).share(items)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [shares[i % size][i // size] for i in range(len(items))] == items


# ---------------------------------------------------------------- ranks on MPI


@pytest.fixture(scope="module", params=[2, 3])
def heard(request):
    return on_ranks(request.param, mpi_jobs.talk)


@needs_mpi
def test_ranks_know_who_they_are(heard):
    size = len(heard)
    assert [found["who"] for found in heard] == [(r, size, r, size, r == 0) for r in range(size)]
    assert all(found["name"].startswith(f"rank {r} of {size} on ") for r, found in enumerate(heard))


@needs_mpi
def test_values_arrive_in_the_order_of_ranks(heard):
    size = len(heard)
    assert heard[0]["gather"] == [{"rank": r} for r in range(size)]
    assert all(found["gather"] == [] for found in heard[1:])
    assert all(found["all"] == [("rank", r) for r in range(size)] for found in heard)
    assert all(found["any"] == [True, False, True] for found in heard)
    assert all((found["broadcast"] == 0).all() for found in heard)


@needs_mpi
def test_sums_are_the_same_bits_everywhere_and_again(heard):
    size = len(heard)
    for found in heard:
        for dtype in ("float32", "float64", "int64"):
            expected = size * np.arange(6).reshape(2, 3) + sum(range(size))
            assert found[f"sum {dtype}"].dtype == dtype and (found[f"sum {dtype}"] == expected).all()
        again = heard[0]["noise"][0]
        for sums in (*found["noise"], found["started"][0]):
            np.testing.assert_array_equal(sums, again)
        assert (found["started"][1] == sum(range(size))).all() and found["started"][2].size == 0
        assert found["done at last"] and found["waited"] > 0
    parts = [np.random.default_rng(rank).standard_normal(again.size).astype(np.float32) for rank in range(size)]
    bound = size * np.finfo(np.float32).eps * np.abs(parts).sum(0)
    assert (np.abs(again - np.sum(parts, 0, np.float64)) <= bound).all()


@pytest.fixture(scope="module")
def agreed():
    return on_ranks(3, mpi_jobs.agree)


ELSEWHERE = "ElsewhereError", "another rank has failed", None


@needs_mpi
@pytest.mark.parametrize(
    ("name", "first", "others"),
    [
        ("nothing", None, None),
        ("error on the first", ("DataError", "a.png: no image", None), ELSEWHERE),
        ("error on the last", ELSEWHERE, ("DataError", "b.png: no image", None)),
        ("two errors", ("UsageError", "one", None), ("ZeroDivisionError", "two", None)),
        ("a stop", ("KeyboardInterrupt", "", 15), ("KeyboardInterrupt", "", 15)),
        ("a stop without a signal", ("KeyboardInterrupt", "", None), ("KeyboardInterrupt", "", 2)),
        ("two stops", ("KeyboardInterrupt", "", 15), ("KeyboardInterrupt", "", 15)),
        ("an error and a stop", ("DataError", "a.png: no image", None), ELSEWHERE),
        ("an error after a stop", ELSEWHERE, ("DataError", "b.png: no image", None)),
        ("nothing again", None, None),
    ],
)
def test_what_ends_a_block_on_one_rank_ends_it_on_all(agreed, name, first, others):
    assert [rank[name] for rank in agreed] == [first, others, others]


@needs_mpi
def test_the_first_of_a_machine_goes_first(tmp_path):
    """When it fails the others have their turn all the same."""
    found = sorted(on_ranks(3, mpi_jobs.take_turns, str(tmp_path)))
    (_, _, ended, seen, error), *others = found
    assert not seen and error == "no room"
    for _, began, _, seen, error in others:
        assert began >= ended and seen and error is None


@needs_mpi
def test_each_machine_has_a_first(tmp_path):
    """MPICH can take two halves of the ranks for machines, which then talk as over a network."""
    found = on_ranks(4, mpi_jobs.take_turns, str(tmp_path), MPIR_CVAR_NUM_CLIQUES="2")
    if sorted(found)[1][0] == 1:
        pytest.skip("this MPI does not pretend to run on several machines")
    assert [local_rank for local_rank, *_ in found] == [0, 0, 1, 1]
    for (_, _, ended, seen, error), (_, began, _, after, none) in zip(found[:2], found[2:], strict=True):
        assert began >= ended and not seen and after and error == "no room" and none is None


@needs_mpi
def test_who_waits_for_what_takes_long_sleeps():
    (_, first), (busy, waited) = on_ranks(2, mpi_jobs.patience)
    assert waited > 0.9 > first and busy < 0.5
