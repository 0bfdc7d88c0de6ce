"""What tests let ranks do, see `mpi_runs.on_ranks`. Each function takes the group first; all ranks call it."""

import time
from pathlib import Path

import numpy as np

from minideeplab.errors import DataError, UsageError


def talk(group):
    """What each rank hears in every kind of talk."""
    rank = group.rank
    found = {
        "who": (group.rank, group.size, group.local_rank, group.local_size, group.is_first),
        "name": group.name,
        "gather": group.gather({"rank": rank}),
        "all": group.all(("rank", rank)),
        "any": [group.any(rank == 1), group.any(False), group.any(True)],
    }
    for dtype in (np.float32, np.float64, np.int64):
        numbers = np.arange(6, dtype=dtype).reshape(2, 3) + rank
        assert group.sum(numbers) is numbers
        found[f"sum {np.dtype(dtype)}"] = numbers
    noise = np.random.default_rng(rank).standard_normal(100_003).astype(np.float32)
    found["noise"] = [group.sum(noise.copy()) for _ in range(2)]
    sums = [noise.copy(), np.full(3, rank, np.int64), np.zeros(0)]
    started = [group.start_sum(array) for array in sums]
    group.sum(np.ones(5))  # of another size, while they are under way
    found["done at last"] = _becomes_done(started[1])
    for each in started:
        each.wait()
        each.wait()
    found["started"] = sums
    values = np.full((2, 2), rank, np.float64)
    group.broadcast(values)
    found["broadcast"] = values
    found["waited"] = group.waited
    return found


def _becomes_done(started):
    limit = time.monotonic() + 10
    while not started.progress():
        assert time.monotonic() < limit
    return True


def patience(group):
    """(seconds of the processor, seconds that the rank says it has waited) while rank 0 works for 1 s alone."""
    group.any(False)
    before, waited = time.process_time(), group.waited
    if group.rank == 0:
        time.sleep(1)
    group.any(False)
    return time.process_time() - before, group.waited - waited


def _stop(signum):
    error = KeyboardInterrupt()
    error.signum = signum
    return error


AGREEMENTS = {  # what the block raises on each of two ranks or more; the last holds for all that follow
    "nothing": [None],
    "error on the first": [DataError("a.png: no image"), None],
    "error on the last": [None, DataError("b.png: no image")],
    "two errors": [UsageError("one"), ZeroDivisionError("two")],
    "a stop": [None, _stop(15)],
    "a stop without a signal": [KeyboardInterrupt(), None],
    "two stops": [_stop(2), _stop(15)],
    "an error and a stop": [DataError("a.png: no image"), _stop(15)],
    "an error after a stop": [_stop(2), DataError("b.png: no image")],
    "nothing again": [None],
}


def agree(group):
    """What leaves each of AGREEMENTS on this rank: (class, text, signal), or None."""
    found = {}
    for name, errors in AGREEMENTS.items():
        mine = errors[min(group.rank, len(errors) - 1)]
        try:
            with group.agreed():
                if mine:
                    raise mine
            found[name] = None
        except BaseException as error:
            found[name] = type(error).__name__, str(error), getattr(error, "signum", None)
    return found


def take_turns(group, folder):
    """(local rank, when the block began and ended, what it found, error of a second one, where the first one fails)."""
    with group.first_on_each_machine():
        began = time.time()
        seen = Path(folder, "written").exists()
        if group.local_rank == 0:
            time.sleep(0.3)
            Path(folder, "written").touch()
        ended = time.time()
    try:
        with group.first_on_each_machine():
            if group.local_rank == 0:
                raise DataError("no room")
        error = None
    except DataError as caught:
        error = str(caught)
    return group.local_rank, began, ended, seen, error
