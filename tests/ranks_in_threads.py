"""Ranks that are threads of this process: groups as of `distributed`, without MPI, so that tests can look into each.

One thread runs at a time, which holds a lock; it lets the next one run only where it waits for the others. Kernels
need that: the thread pool of Numba is not made for calls from several threads at once (kernels.cpu). So does autograd:
that nothing is recorded, and who is told of gradients, holds for the process. So no function here may wait for others
within `no_grad` or `reporting_leaves`, which batch norm over ranks does in parts that are computed again; jobs on MPI
test those.
"""

import copy
import threading

import numpy as np

import kernels
from minideeplab.distributed import Alone
from minideeplab.distributed.group import Started

LONGEST = 60  # seconds that one thread waits for the others


class _Meeting:
    """Where threads wait for one another: it counts meetings, and keeps what each has brought."""

    def __init__(self, size):
        self.size, self.number, self.turn = size, 0, threading.Condition()
        self.brought, self.failed = {}, None

    def exchange(self, rank, value):
        """The values that all threads bring to this meeting, in their order."""
        number, values = self.number, self.brought.setdefault(self.number, {})
        assert rank not in values, "a rank has come to a meeting twice"
        values[rank] = value
        if len(values) == self.size:
            self.number += 1
            self.turn.notify_all()
        arrived = self.turn.wait_for(lambda: self.number > number or self.failed, LONGEST)
        assert arrived, f"{sorted(values)} of {self.size} ranks have come to meeting {number}"
        if self.number == number:
            raise ConnectionError("another rank has failed") from self.failed
        return [values[each] for each in range(self.size)]


class ThreadRank(Alone):
    """One of the threads.

    Attributes:
        sums: how often it has summed over ranks; starts: how many sums have started before they were waited for.
        takes_device_arrays: as MPI that reads the memory of a GPU; else gradients come to host memory.
    """

    takes_device_arrays = False

    def __init__(self, meeting, rank):
        self._meeting, self.rank, self.size = meeting, rank, meeting.size
        self.local_rank, self.local_size = rank, meeting.size
        self.sums = self.starts = 0

    def sum(self, array):
        self.sums += 1
        parts = self.all(array.copy())
        total = parts[0].copy()
        for part in parts[1:]:  # in the order of the ranks, in the array's dtype: equal bits on all
            total += part
        array[...] = total
        return array

    def start_sum(self, array):
        self.starts += 1
        return _Later(self, array)

    def reaches(self, array):
        return self.takes_device_arrays or isinstance(array, np.ndarray)

    def broadcast(self, array):
        array[...] = self.all(array.copy())[0]

    def all(self, value):
        return self._meeting.exchange(self.rank, value)

    def gather(self, value):
        values = self.all(value)
        return values if self.is_first else []

    def any(self, value):
        return any(self.all(bool(value)))


class _Later(Started):
    """A sum of which this rank has not seen the others' parts yet."""

    def __init__(self, group, array):
        self.group, self.array, self.own = group, array, self._seen(array).copy()

    def progress(self):
        assert (self._seen(self.array) == self.own).all(), "an array was changed while it travelled"
        return False

    def wait(self):
        self.progress()
        if isinstance(self.array, np.ndarray):
            self.group.sum(self.array)
        else:
            k = kernels.load("cuda")
            k.flatten([k.from_numpy(self.group.sum(self.own))], self.array)

    def _seen(self, array):
        return kernels.to_device(array, "cpu")


def in_threads(size, function, *arguments) -> list:
    """What function(group, *arguments) returns in each of so many threads; the first error, if one raises."""
    meeting, results = _Meeting(size), [None] * size

    def run(rank):
        with meeting.turn:
            try:
                kernels.set_num_threads(1)  # of this thread, which else takes all cores
                results[rank] = function(ThreadRank(meeting, rank), *arguments)
            except BaseException as error:
                meeting.failed = meeting.failed or error
                meeting.turn.notify_all()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if meeting.failed:
        raise meeting.failed
    return results


def part_of(group, array):
    """The rank's part of a batch: one after the other, as many images each."""
    return np.split(array, group.size)[group.rank]


def own(model):
    """A copy of a model for one rank."""
    return copy.deepcopy(model)
