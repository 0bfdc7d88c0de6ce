"""What `--suite distributed` starts on two ranks: one training step in several ways, in turn.

Each rank has its own cores. Who has nothing to do sleeps, so that a rank alone has the machine for itself.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import time
from collections import Counter

import kernels
from minideeplab import cli
from minideeplab.bench.model import batch, network
from minideeplab.bench.timing import spread
from minideeplab.distributed import ALONE, Ranks, Replica
from minideeplab.files.whole import write_text
from minideeplab.nn import SGD, share_batch
from minideeplab.train import train_step

_LASTING = 0.3  # seconds of a round: shorter steps are repeated, so that what ranks begin apart does not count
_PAUSE = 0.02  # seconds: see `timing`


class Watched(Ranks):
    """Ranks that count what they send, and how long they wait for it.

    `sum` is of batch norm, but for the loss, and running statistics where these are not synchronised; `start_sum` is of
    buckets.
    """

    def __init__(self, comm):
        super().__init__(comm)
        self.tally = Counter()

    def sum(self, array):
        before = self.waited
        self.tally["norms"] += 1
        self.tally["norm_bytes"] += array.nbytes
        super().start_sum(array).wait()
        self.tally["norm_waited"] += self.waited - before
        return array

    def start_sum(self, array):
        self.tally["buckets"] += 1
        self.tally["bucket_bytes"] += array.nbytes
        return super().start_sum(array)

    def tallied(self) -> Counter:
        """What was counted since the last call."""
        found, self.tally = self.tally + Counter(waited=self.waited), Counter()
        self.waited = 0.0
        return found


class Jobs:
    """The ways to take a step; each is called on every rank.

    Args:
        images: a rank; side: of them; options: of `models.build`; threads: of each rank.
        cores: of all ranks; [] where no process can choose its own.
    """

    def __init__(self, group, images, side, options, cores, threads):
        self.group, self.cores, self.threads = group, cores, threads
        self.model = network(options).train()
        self.optimiser, self.replica = SGD(self.model, 0.001), Replica(self.model, group)
        self.whole = batch(images * group.size, side)
        self.part, self.half = ([a[:n] for a in self.whole] for n in (images, images // group.size))
        self.names = ["one_rank_all_threads", "alone", "independent", "synchronised", "own_statistics", "blocking"]
        if images % group.size == 0:
            self.names.append("divided")

    def one_rank_all_threads(self):
        """The batch of all ranks on the first, with the threads and cores of all; the others sleep."""
        if self.group.is_first:
            self._take(everything=True)
            self._step(self.whole)
            self._take()

    def alone(self):
        """A rank with its part; the others sleep."""
        if self.group.is_first:
            self._step(self.part)

    def independent(self):
        """All ranks at a time, which say nothing to one another: what they share is the memory."""
        self._step(self.part)

    def synchronised(self):
        """As one with the whole batch."""
        self._step(self.part, True)

    def own_statistics(self):
        """The same, but for batch norm, which sees the rank's part."""
        self._step(self.part, False)

    def blocking(self):
        """The gradients once more, when there is nothing to compute meanwhile."""
        self.replica.gradients.finish()

    def divided(self):
        """The part of one rank, divided among all: the same batch, so strong scaling."""
        self._step(self.half, True)

    def _step(self, images_and_labels, synchronised=None):
        together = synchronised is not None
        share_batch(self.model, self.group if together else ALONE, bool(synchronised))
        self.replica.synchronised = bool(synchronised)
        train_step(self.model, self.optimiser, *images_and_labels, replica=self.replica if together else None)

    def _take(self, everything=False):
        """Threads and cores of this rank, or of all."""
        n, rank, size = self.threads, self.group.rank, self.group.size
        kernels.set_num_threads(n * size if everything else n)
        cores = self.cores if everything else self.cores[rank * n : (rank + 1) * n]
        for thread in os.listdir("/proc/self/task") if cores else ():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setaffinity(int(thread), cores)

    def measured(self, repeats) -> dict[str, list]:
        """Of each job its rounds, of a round its ranks: wall and processor seconds and what was counted, for a step."""
        self._take()
        steps = {}
        for name in [*self.names, *self.names]:  # kernels compile, buckets begin to travel in backward; then it counts
            (first, *_) = self._round(name, 1)
            steps[name] = max(1, math.ceil(_LASTING / max(first["seconds"], 1e-3)))
        rounds = {name: [] for name in self.names}
        for _ in range(repeats):
            for name in self.names:
                rounds[name].append(self._round(name, 1 if name == "blocking" else steps[name]))
        return rounds

    def _round(self, name, steps):
        self._meet()
        time.sleep(_PAUSE)
        self.group.tallied()
        began, worked = time.perf_counter(), time.process_time()
        for _ in range(steps):
            getattr(self, name)()
        found = {"seconds": time.perf_counter() - began, "processor": time.process_time() - worked}
        found |= self.group.tallied()
        self._meet()
        return self.group.all({key: value / steps for key, value in found.items()})

    def _meet(self):
        """Who has nothing to do waits here, asleep; other collectives wait in a loop."""
        self.group.any(False)


def figures_of(rounds, threads) -> dict:
    """Medians over the rounds; of the seconds of a job those of its slowest rank count, since a step ends with it."""
    seconds = {name: [max(rank["seconds"] for rank in ranks) for ranks in each] for name, each in rounds.items()}
    middle = {name: statistics.median(each) for name, each in seconds.items()}

    def mean(name, key):
        return statistics.median(statistics.mean(rank.get(key, 0) for rank in ranks) for ranks in rounds[name])

    size, alone = len(rounds["alone"][0]), middle["alone"]
    found = {"ranks": size, "threads_a_rank": threads, "seconds": middle}
    found["spread"] = {name: spread(each) for name, each in seconds.items()}
    found["ceiling"] = alone / middle["independent"]
    for name in ("synchronised", "own_statistics"):
        found[name] = {
            "efficiency": alone / middle[name],
            "of_ceiling": middle["independent"] / middle[name],
            "waited_norms": mean(name, "norm_waited"),
            "waited_buckets": mean(name, "waited") - mean(name, "norm_waited"),
        }
        found[name] |= {key: round(mean(name, key)) for key in ("norms", "norm_bytes", "buckets", "bucket_bytes")}
    if "divided" in middle:
        found["strong_efficiency"] = alone / middle["divided"] / size
    found["threads_over_ranks"] = middle["one_rank_all_threads"] / middle["synchronised"]
    if threads == 1:  # of one that does not wait for others, wall and processor differ by what other programs took
        found["taken_by_others"] = 1 - mean("independent", "processor") / mean("independent", "seconds")
    return found


@cli.main_guard(for_ranks=True)
def main(argv=None):
    """One rank of `--suite distributed`; started by it."""
    parser = argparse.ArgumentParser("ranks")
    parser.add_argument("network", help="JSON of the arguments images, side and options of Jobs")
    parser.add_argument("--cores", help="JSON of the cores of all ranks")
    parser.add_argument("--threads", type=int, help="of each rank")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--precision")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args(argv)
    cli.use_precision(args.precision)
    from mpi4py import MPI

    jobs = Jobs(Watched(MPI.COMM_WORLD), **json.loads(args.network), cores=json.loads(args.cores), threads=args.threads)
    figures = figures_of(jobs.measured(args.repeats), args.threads)
    if jobs.group.is_first:
        write_text(args.json, json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
