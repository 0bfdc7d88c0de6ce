"""Processes that compute together: who they are, and what they say to one another.

`Alone` is the group of one process, which sends nothing: code that serves several processes serves one as it is.
`Ranks` is a group on MPI. Whatever both have is collective, unless it says otherwise: all ranks call it, in one order.
"""

import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from minideeplab.errors import MiniDeepLabError

_FAILED = 1000  # among what ranks tell in `agreed`: an error; smaller numbers are signals, 0 is nothing
LONGEST_ALONE = 3.0  # seconds that a rank that has failed waits for the others to fail, too
_PAUSE = 0.0005  # seconds between two looks at what may take long: who waits in a loop holds a core


# A rank that waits lets others run: on a machine with more ranks than cores they are what it waits for.
_let_others_run = getattr(os, "sched_yield", lambda: time.sleep(0))


class ElsewhereError(MiniDeepLabError):
    """Another rank has failed, and says why."""


class Alone:
    """One process, which sends nothing.

    Attributes:
        rank: number of this process, from 0; size: number of processes.
        local_rank, local_size: the same among the processes of this machine.
        waited: seconds that this process has waited for others.
    """

    rank, size, local_rank, local_size, waited = 0, 1, 0, 1, 0.0

    def __deepcopy__(self, memo) -> "Alone":
        """Itself: the copy of a network belongs to the same processes."""
        return self

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which prints, writes and draws. Not collective."""
        return self.rank == 0

    def share(self, items: Sequence) -> Sequence:
        """Every size-th item, from that of this rank: each item belongs to one rank. Not collective."""
        return items[self.rank :: self.size]

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sums a contiguous array over all ranks, in place; every rank gets the same bits."""
        return array

    def start_sum(self, array) -> "Started":
        """Starts `sum`, and returns at once; the array is the sum after `wait`, and is left alone until then.

        An array of a device that the group `reaches` may lie there.
        """
        return Started()

    def reaches(self, array) -> bool:
        """Whether `start_sum` takes an array where it lies: in host memory always. Not collective."""
        return True

    def broadcast(self, array: np.ndarray) -> None:
        """Overwrites a contiguous array by that of rank 0."""

    def end(self, code: int, text: str) -> tuple[int, str]:
        """(exit code, what to print) of a process that has failed. Called by ranks that have failed, and no others."""
        return code, text

    def leave(self) -> None:
        """After `end`, when this process has printed: a launcher may end all ranks when the first of them ends."""

    def gather(self, value) -> list:
        """The values of all ranks, in their order, on rank 0; [] on others. Any objects."""
        return [value]

    def all(self, value) -> list:
        """The values of all ranks, in their order, on each. Small objects."""
        return [value]

    def local_all(self, value) -> list:
        """As `all`, of the ranks of this machine."""
        return [value]

    def any(self, value: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(value)

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        """The block is work of each rank for itself. What ends it on one rank ends it on all.

        Raises:
            Exception: what the block raises, on the rank where it did; ElsewhereError on the others.
            KeyboardInterrupt: a signal was heard on some rank; on all.
        """
        yield

    @contextlib.contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """The block runs on the first rank of each machine, and then on the others, which find what it has written."""
        yield


ALONE = Alone()


@contextlib.contextmanager
def failing_together(group: Alone) -> Iterator[None]:
    """A block of which no rank is left behind: one that fails ends the others, unless they fail, too."""
    try:
        yield
    except BaseException as error:  # a signal, too: who leaves alone is waited for
        group.end(1, f"{type(error).__name__}: {error}")
        raise


class Started:
    """A sum under way; of one process it is done."""

    def progress(self) -> bool:
        """Lets the library work on it; whether it is done."""
        return True

    def wait(self) -> None:
        """Returns when it is done."""


class Ranks(Alone):
    """The processes that an MPI launcher has started.

    Args:
        comm: an intracommunicator of mpi4py. Messages travel in copies of it.
    """

    def __init__(self, comm):
        from mpi4py import MPI

        self._mpi = MPI
        self._comm, self._sums, self._ends = comm.Dup(), comm.Dup(), comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._local = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = self._local.Get_rank(), self._local.Get_size()
        self.host = socket.gethostname()
        self._late = None  # a request to stop that came while this rank waited
        self._all_end = False  # whether all ranks have agreed to end: then each comes to `end`, after it has saved

    @property
    def name(self) -> str:
        """This process in words."""
        return f"rank {self.rank} of {self.size} on {self.host}"

    def sum(self, array):
        self.start_sum(array).wait()
        return array

    def start_sum(self, array):
        return _Request(self, self._sums.Iallreduce(self._mpi.IN_PLACE, array))

    def reaches(self, array):
        return isinstance(array, np.ndarray) or _reaches_gpus(self._mpi)

    def broadcast(self, array):
        self._comm.Bcast(array)

    def gather(self, value):
        return self._comm.gather(value) or []

    def all(self, value):
        return self._comm.allgather(value)

    def local_all(self, value):
        return self._local.allgather(value)

    def any(self, value):
        return self._largest(int(value)) > 0

    def _largest(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        numbers = np.array([number], np.int64)
        self._patiently(self._comm.Iallreduce(self._mpi.IN_PLACE, numbers, self._mpi.MAX))
        return int(numbers[0])

    def _patiently(self, request) -> None:
        """Waits for what may take long, such as the validation of another rank: asleep, it holds no core.

        A signal that is heard meanwhile is told in the next `agreed`: a rank that left now would be waited for.
        """
        began = time.perf_counter()
        while True:
            try:
                if request.Test():
                    break
                if time.perf_counter() - began > _PAUSE:
                    time.sleep(_PAUSE)
            except KeyboardInterrupt as stop:
                self._late = stop
        self.waited += time.perf_counter() - began

    @contextlib.contextmanager
    def agreed(self):
        caught = None
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            caught = error
        caught, self._late = caught or self._late, None
        is_stop = isinstance(caught, KeyboardInterrupt)
        own = getattr(caught, "signum", signal.SIGINT) if is_stop else _FAILED if caught else 0
        found = self._largest(own)
        self._all_end = found > 0
        if caught and found == own:
            raise caught
        if found == _FAILED:
            raise ElsewhereError("another rank has failed")
        if found:
            stop = KeyboardInterrupt()
            stop.signum = found
            raise stop

    @contextlib.contextmanager
    def first_on_each_machine(self):
        if self.local_rank:
            self._patiently(self._local.Ibarrier())
        try:
            yield
        finally:
            if not self.local_rank:
                self._patiently(self._local.Ibarrier())

    def end(self, code: int, text: str) -> tuple[int, str]:
        """Ends a process that has failed, and all others with it; called by no rank that has not.

        Where all ranks fail, by agreement or within LONGEST_ALONE seconds, each may end by itself, as a command does.
        Else the others wait for this one or work in vain: MPI ends them all.

        Args:
            code: exit code; text: what there is to say, "" for nothing.

        Returns:
            (the exit code of all, what this rank prints): of equal texts the first rank prints one. It does not return
            where the others have not failed.
        """
        seen = np.zeros((self.size, 2), np.int64)
        own = np.array([code, zlib.crc32(text.encode()) if text else -1], np.int64)
        request = self._ends.Iallgather(own, seen)
        began = time.monotonic()
        while not request.Test():
            if time.monotonic() - began > LONGEST_ALONE and not self._all_end:
                sys.stderr.write(f"{self.name}: {text}\n" if text else f"{self.name} has ended\n")
                sys.stderr.flush()
                self._abort(code or 1)
            time.sleep(_PAUSE)
        if not text or own[1] in seen[: self.rank, 1]:
            return int(seen[:, 0].max()), ""
        return int(seen[:, 0].max()), text if self.is_first else f"{self.name}: {text}"

    def _abort(self, code: int) -> None:
        """Ends all ranks, this one first of all."""
        if hasattr(signal, "alarm"):  # where Abort hangs, the system ends this process, and the launcher the others
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(3 * LONGEST_ALONE))
        time.sleep(_PAUSE * 200)  # the launcher hears of the end on another way than of what was printed
        self._mpi.COMM_WORLD.Abort(code)
        time.sleep(LONGEST_ALONE)  # in some libraries Abort comes back, before the launcher ends this process
        os._exit(code)

    def leave(self):
        self._patiently(self._ends.Ibarrier())


@functools.cache
def _reaches_gpus(mpi) -> bool:
    """Whether the MPI library takes arrays in the memory of a GPU, as it says itself (Open MPI and MPICH)."""
    query = getattr(ctypes.CDLL(mpi.__file__), "MPIX_Query_cuda_support", None)
    return query is not None and query() == 1


class _Request(Started):
    def __init__(self, ranks, request):
        self._ranks, self._request = ranks, request

    def progress(self):
        return self._request.Test()

    def wait(self):
        began = time.perf_counter()
        while not self._request.Test():
            _let_others_run()
        self._ranks.waited += time.perf_counter() - began
