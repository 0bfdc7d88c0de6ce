"""Training batches in an order, and with views, that depend on nothing but (seed, epoch, sample)."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np


class Loader:
    """Shuffled batches of random views; the last, incomplete batch of an epoch is dropped.

    A data set smaller than one batch is repeated to fill it, each repeat with a view of its own.

    Args:
        dataset: has `len(dataset)` and `dataset.sample(i)` -> (H, W, 3) uint8 image, (H, W) uint8 mask.
        transform: callable (image, mask, rng) -> arrays of one fixed shape, such as TrainTransform.
        batch_size: samples per batch.
        seed: any integer from 0.
        rank, ranks: the batches are those of one of `ranks` processes that share each batch: of each of its `parts`
            the piece number `rank`. Together they see what one process sees, and no sample twice.
        parts: into which the batch is cut for gradients that are summed up.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, dataset, transform, batch_size, seed=0, rank=0, ranks=1, parts=1):
        if batch_size < 1:
            raise ValueError(f"Loader: batch_size must be at least 1, got {batch_size}")
        if seed < 0:
            raise ValueError(f"Loader: seed must be at least 0, got {seed}")
        if not 0 <= rank < ranks or parts < 1 or batch_size % (parts * ranks):
            raise ValueError(
                f"Loader: a batch of {batch_size} in {parts} parts has no piece {rank} of {ranks} equal ones"
            )
        if len(dataset) < 1:
            raise ValueError("Loader: the data set is empty")
        self.dataset, self.transform = dataset, transform
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.ranks, self.parts = rank, ranks, parts

    def __len__(self):
        """Batches per epoch."""
        return max(1, len(self.dataset) // self.batch_size)

    def epoch(self, epoch, start=0):
        """Iterate over the batches of one epoch; the next batch is made in a thread meanwhile.

        The thread calls NumPy and Pillow only. Its exceptions surface here; it ends when the iterator is
        closed, which leaving a `for` loop does.

        Args:
            epoch: number of the epoch, from 0.
            start: first batch to make, to resume inside an epoch; the batches are those of a full epoch.

        Returns:
            Iterator of (N, H, W, 3) float32 images and (N, H, W) uint8 labels, N = batch_size / ranks.
        """
        if epoch < 0:
            raise ValueError(f"Loader.epoch: epoch must be at least 0, got {epoch}")
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader.epoch: start must be a batch in 0..{len(self)}, got {start}")
        return self._batches(epoch, start)

    def _batches(self, epoch, start):
        order = self._order(epoch)
        chunks = [self._own(order[b * self.batch_size :][: self.batch_size]) for b in range(start, len(self))]
        if not chunks:
            return
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as thread:
            ahead = thread.submit(self._batch, epoch, chunks[0])
            for following in [*chunks[1:], None]:
                batch = ahead.result()
                if following is not None:
                    ahead = thread.submit(self._batch, epoch, following)
                yield batch

    def _own(self, draws):
        """Of the draw numbers of a batch those of this rank, in each part of the batch."""
        return draws.reshape(self.parts, self.ranks, -1)[:, self.rank].ravel()

    def _order(self, epoch):
        """Draw numbers of one epoch, shuffled; draw d shows sample d % len(dataset)."""
        return self._rng(epoch, 0).permutation(max(len(self.dataset), self.batch_size))

    def _batch(self, epoch, draws):
        views = []
        for draw in draws.tolist():
            image, mask = self.dataset.sample(draw % len(self.dataset))
            views.append(self.transform(image, mask, self._rng(epoch, 1 + draw)))
        images, labels = zip(*views, strict=True)
        return np.stack(images), np.stack(labels)

    def _rng(self, epoch, stream):
        """Stream 0 shuffles, stream 1 + d makes the view of draw d."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream])))
