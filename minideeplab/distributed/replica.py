"""The copy of a network that each rank trains with its part of every batch."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import kernels
from minideeplab.distributed.gradients import GradientSums
from minideeplab.distributed.group import Alone
from minideeplab.errors import MiniDeepLabError
from minideeplab.nn import BatchNorm2d, share_batch


class Replica:
    """A network of which each rank has a copy; together they train as one would with the whole batch.

        loss = sum_r weight_r loss_r / sum_r weight_r,    gradient = sum_r weight_r gradient_r / sum_r weight_r

    All copies begin with the values of rank 0, and have the same values after each step: they see the same gradients,
    and take the same step. Running statistics are the same, too: of synchronised batch norm by themselves, of others
    by a mean over the ranks after each step.

    Args:
        model: on this rank; group: of the ranks.
        synchronised: whether batch norm takes its statistics over the ranks, see `nn.share_batch`.

    Cost: a copy of the parameters travels in each step, 2 (size - 1) / size of it from each rank; with synchronised
    batch norm 2 C numbers of 8 bytes for each layer forward and as many backward, which each layer waits for.
    """

    def __init__(self, model, group: Alone, synchronised: bool = True):
        self.model, self.group, self.synchronised = model, group, synchronised
        for tensor in model.arrays():
            values = np.ascontiguousarray(kernels.to_device(tensor.data, "cpu"))
            group.broadcast(values)
            tensor.data = kernels.to_device(values, tensor.device)
        share_batch(model, group, synchronised)
        self.gradients = GradientSums(model.parameters(), group)

    def mean_loss(self, loss: float, weight: float) -> tuple[float, float]:
        """(loss, weight) of the ranks together, of those of this one; 0 where all pixels are void."""
        total, weight = self.group.sum(np.array([loss * weight if weight else 0.0, weight])).tolist()
        return (total / weight if weight else total), weight

    @contextmanager
    def summing(self) -> Iterator[None]:
        """Around the last backward of a step; after the block all gradients are sums over the ranks."""
        try:
            with self.gradients.overlapping():
                yield
            self.gradients.finish()
        except BaseException:
            self.gradients.forget()
            raise

    def finish(self) -> None:
        """After the step of the optimiser: running statistics become their means, where they are not the same."""
        norms = [each for _, each in self.model.named_modules() if isinstance(each, BatchNorm2d) and each.uses_batch]
        buffers = [b for each in norms for b in (each.running_mean, each.running_var)]
        if self.synchronised or not buffers:
            return
        flat = np.concatenate([kernels.to_device(b.data, "cpu").ravel() for b in buffers])
        flat = self.group.sum(flat) / flat.dtype.type(self.group.size)
        for b, values in zip(buffers, np.split(flat, np.cumsum([b.data.size for b in buffers])[:-1]), strict=True):
            b.data = kernels.to_device(np.ascontiguousarray(values.reshape(b.shape)), b.device)

    def require_equal(self) -> None:
        """Compares the parameters and statistics of all ranks.

        Raises:
            MiniDeepLabError: they are not the same, bit for bit.
        """
        digest = hashlib.blake2b(digest_size=16)
        for tensor in self.model.arrays():
            digest.update(np.ascontiguousarray(kernels.to_device(tensor.data, "cpu")))
        digests = self.group.all((digest.digest(), getattr(self.group, "name", "")))
        others = [name for found, name in digests if found != digests[0][0]]
        if others:
            raise MiniDeepLabError(
                f"the weights on {others[0]} are no longer those of rank 0: processors or programs differ, or memory "
                "failed; mend that, and go on from the last checkpoint with --resume"
            )
