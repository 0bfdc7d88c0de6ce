"""A model of a training step on many ranks: what it computes, and what travels meanwhile."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Link:
    """What joins the ranks, each of which has one.

    Attributes:
        latency: alpha, seconds until the first byte of a message arrives; bandwidth: bytes a second.
    """

    name: str
    latency: float
    bandwidth: float


# Assumed: usual round figures for TCP on Ethernet, and for RDMA (InfiniBand, RoCE). Nothing here was measured.
LINKS = (
    Link("10 Gbit/s", 20e-6, 10e9 / 8),
    Link("100 Gbit/s", 2e-6, 100e9 / 8),
    Link("400 Gbit/s", 2e-6, 400e9 / 8),
)


def ring(ranks: int, size: float, link: Link) -> float:
    """Seconds of an all-reduce in which each rank sends to its neighbour, in as many parts as there are ranks.

        t = 2 (N - 1) alpha + 2 (N - 1) / N bytes / bandwidth

    Source: Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
    """
    return 2 * (ranks - 1) * (link.latency + size / ranks / link.bandwidth)


def tree(ranks: int, size: float, link: Link) -> float:
    """Seconds of a reduction along a binary tree, and of a broadcast back.

        t = 2 ceil(log2 N) (alpha + bytes / bandwidth)

    Source: Thakur, Rabenseifner and Gropp 2005, "Optimization of collective communication operations in MPICH".
    """
    return 2 * doubling(ranks, size, link)


def doubling(ranks: int, size: float, link: Link) -> float:
    """Seconds of an all-reduce in which pairs of ranks exchange all they have, at distances 1, 2, 4: for small arrays.

        t = ceil(log2 N) (alpha + bytes / bandwidth)

    Source: as of `tree`, "recursive doubling".
    """
    return math.ceil(math.log2(ranks)) * (link.latency + size / link.bandwidth)


def faster(ranks: int, size: float, link: Link) -> float:
    """Seconds of the better of `ring` and `tree`, as a library chooses for each size."""
    return min(ring(ranks, size, link), tree(ranks, size, link))


@dataclass(frozen=True)
class Event:
    """Something that one rank sends in a step.

    Attributes:
        seconds: of computation since the event before, or since the step began.
        size: bytes; waits: whether the rank goes on only when the sum is there, as batch norm does.
    """

    seconds: float
    size: int
    waits: bool


@dataclass(frozen=True)
class Step:
    """A training step of one rank.

    Attributes:
        events: in their order; rest: seconds of computation from the last to the end of backward; update: after that.
    """

    events: tuple[Event, ...]
    rest: float
    update: float

    @property
    def seconds(self) -> float:
        """Of a step alone."""
        return sum(event.seconds for event in self.events) + self.rest + self.update

    def scaled(self, images: float = 1, speed: float = 1) -> "Step":
        """The step with so many times the images, on a rank that computes so many times as fast.

        Time grows with the images, but for the update.
        """
        events = tuple(replace(event, seconds=event.seconds * images / speed) for event in self.events)
        return Step(events, self.rest * images / speed, self.update / speed)


@dataclass(frozen=True)
class Outcome:
    """Seconds of a step on many ranks, and of these: waiting for batch norm, waiting for buckets after backward."""

    seconds: float
    norms: float
    exposed: float


def simulate(step: Step, ranks: int, link: Link, all_reduce=faster) -> Outcome:
    """A step on `ranks` ranks that compute alike.

        bucket k starts at max(its gradients are complete, bucket k - 1 has arrived)
        step = max(end of backward, the last bucket has arrived) + update

    Sums that a rank waits for are found by recursive doubling, and pass by the buckets that are under way. Sending
    takes nothing from computing.

    Args:
        all_reduce: of a bucket, such as `ring`.
    """
    now = free = norms = 0.0
    for event in step.events:
        now += event.seconds
        if event.waits:
            took = doubling(ranks, event.size, link)
            now, norms = now + took, norms + took
        else:
            free = max(now, free) + all_reduce(ranks, event.size, link)
    end = now + step.rest
    return Outcome(max(end, free) + step.update, norms, max(0.0, free - end))


def efficiency(step: Step, ranks: int, link: Link, all_reduce=faster) -> float:
    """Weak scaling: seconds of a step alone over those of one on `ranks` ranks, with as many images on each."""
    return step.seconds / simulate(step, ranks, link, all_reduce).seconds


def images_until(step: Step, ranks: int, link: Link, target: float, limit: int = 64) -> int | None:
    """The smallest number of times the images of the step at which efficiency reaches `target`; None: above `limit`."""
    return next((b for b in range(1, limit + 1) if efficiency(step.scaled(b), ranks, link) >= target), None)
