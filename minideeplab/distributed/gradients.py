"""Sums of gradients over ranks, in buckets that travel while backward goes on."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

import kernels
from minideeplab.autograd.function import reporting_leaves
from minideeplab.distributed.group import Alone

BUCKET_BYTES = 8 << 20  # small enough that the first one leaves early, large enough that bandwidth counts, not latency


class _Bucket:
    """Parameters whose gradients travel together.

    Attributes:
        flat: (numbers,) the gradients side by side, on their device; firsts: where that of each parameter begins.
        sent: what the ranks sum: `flat` itself, or a copy in host memory where MPI does not reach the device.
        missing: parameters whose gradient is not complete yet; started: the sum under way, None before.
    """

    def __init__(self, parameters):
        self.parameters, self.missing, self.started = parameters, len(parameters), None
        *self.firsts, size = itertools.accumulate((p.data.size for p in parameters), initial=0)
        self.k = kernels.load(parameters[0].device)
        self.flat, self.sent = self.k.zeros((size,), parameters[0].dtype), None

    def start(self, group):
        """Fills the bucket, zeros where a parameter has no gradient, and sends it."""
        self.k.flatten([self._gradient(p) for p in self.parameters], self.flat)
        if isinstance(self.flat, np.ndarray):  # the arrays that they came in are free for the rest of backward
            self.hand_back()
        if group.reaches(self.flat):
            self.sent = self.flat
            self.k.synchronize()
        else:
            self.sent = self.k.to_numpy(self.flat)
        self.started = group.start_sum(self.sent)

    def _gradient(self, p):
        return self.k.zeros(p.shape, p.dtype) if p.grad is None else p.grad

    def finish(self):
        """Waits for the sum, which becomes the gradients."""
        self.started.wait()
        if self.sent is not self.flat:
            self.flat = self.k.from_numpy(self.sent)
        self.hand_back()
        self.started = None

    def hand_back(self):
        """The gradients are those in the bucket, where there are any; in host memory they share it."""
        for p, first in zip(self.parameters, self.firsts, strict=True):
            if p.grad is not None:
                p.grad = self.k.part(self.flat, first, p.shape)


class GradientSums:
    """Replaces the gradients of parameters by their sums over the ranks of a group.

    Parameters lie in buckets, last layers first, since backward comes to these first. A bucket starts to travel when
    the gradients of all its parameters, and of those before it, are complete; `finish` waits for all of them. Buckets
    and their order are fixed, so equal gradients give equal bits, whenever a bucket starts.

    Args:
        parameters: in the order of the layers; those without requires_grad are left out.
        group: of the ranks. bucket_bytes: size of a bucket, which a larger parameter exceeds.

    Cost: memory of one more copy of the gradients, and a copy of them for each step. Gradients in host memory move into
    their bucket when it leaves, so that the arrays that they came in are free for the rest of backward.

    Source: Li et al. 2020, "PyTorch Distributed" (arXiv 2006.15704), section 3.2: buckets, and communication that
    overlaps backward.
    """

    def __init__(self, parameters: Sequence, group: Alone, bucket_bytes: int = BUCKET_BYTES):
        self.group = group
        trained = [p for p in reversed(parameters) if p.requires_grad]
        self.buckets, run = [], []
        for p in trained:
            if run and (sum(q.data.nbytes for q in run) + p.data.nbytes > bucket_bytes or p.dtype != run[0].dtype):
                self.buckets.append(_Bucket(run))
                run = []
            run.append(p)
        if run:
            self.buckets.append(_Bucket(run))
        self._bucket_of = {p: bucket for bucket in self.buckets for p in bucket.parameters}
        self._uses = None  # parameter -> how often backward reports it, known after the first time
        self._seen, self._lost = Counter(), False
        self._next = self._done = 0  # buckets before _next have left, those before _done are sums

    @contextlib.contextmanager
    def overlapping(self) -> Iterator[None]:
        """Around the last backward of a step, which completes the gradients: sums start in it, from the second time on.

        What an op of this network reports once, such as each part whose activations are computed again, another may
        report more often. The first backward counts that.

        Raises:
            RuntimeError: a step before has failed while sums were under way: other ranks may be in other sums.
        """
        if self._lost:
            raise RuntimeError("GradientSums: a step has failed while sums were under way; start all ranks again")
        with reporting_leaves(self._complete):
            yield

    def _complete(self, leaf):
        """One more part of the gradient of a leaf is there."""
        bucket = self._bucket_of.get(leaf)
        if bucket is None:
            return
        self._seen[leaf] += 1
        if self._uses is not None:
            if self._seen[leaf] > self._uses[leaf]:
                raise RuntimeError("GradientSums: backward took another way than in the first step; the graph must not")
            bucket.missing -= self._seen[leaf] == self._uses[leaf]
            while self._next < len(self.buckets) and self.buckets[self._next].missing == 0:
                self._start()
            while self._done < self._next and self.buckets[self._done].started.progress():
                self._done += 1  # a library that is asked for the oldest works on all of them

    def _start(self):
        self.buckets[self._next].start(self.group)
        self._next += 1

    def finish(self) -> None:
        """Waits for all sums. Afterwards each gradient is the sum over the ranks, until the next step begins."""
        while self._next < len(self.buckets):
            self._start()
        for bucket in self.buckets:
            bucket.finish()
        self._uses = self._seen if self._uses is None else self._uses
        self.forget()

    def forget(self) -> None:
        """Gets ready for the next step, also after one that has failed before any sum was under way."""
        self._seen, self._next, self._done = Counter(), 0, 0
        # Sums that are lost stay in their buckets: MPI may still write there.
        self._lost = self.group.size > 1 and any(bucket.started for bucket in self.buckets)
        if self._uses is not None:
            for bucket in self.buckets:
                bucket.missing = sum(self._uses[p] > 0 for p in bucket.parameters)
