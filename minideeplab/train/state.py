"""Where a training run stands."""

from dataclasses import dataclass, field
from pathlib import Path

from minideeplab.errors import CheckpointError, DataError


@dataclass
class TrainState:
    """Where a run stands; with the weights and the optimiser's slots, all that the rest of the run depends on.

    Attributes:
        step: optimiser steps done.
        epoch: epochs done, validation included.
        batch: batches of the epoch under way that are done.
        epoch_loss, epoch_weight: sums over them of the loss times its weight, and of the weight: labelled pixels.
        best: highest validation mean IoU, None before the first.
        history: one row of EPOCH_COLUMNS per epoch.
        seconds: wall-clock time spent.
        fingerprint: of the data.
        extended_at: epochs that were done when --extend made the run longer; 0 before.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    epoch_loss: float = 0.0
    epoch_weight: float = 0.0
    best: float | None = None
    history: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    fingerprint: str = ""
    extended_at: int = 0

    def add_step(self, loss: float, weight: float) -> None:
        """One more step is done."""
        self.step += 1
        self.batch += 1
        self.epoch_loss += loss * weight
        self.epoch_weight += weight

    def mean_loss(self) -> float:
        """Mean over the labelled pixels of the epoch so far; 0 where all are void."""
        return self.epoch_loss / self.epoch_weight if self.epoch_weight else 0.0

    def end_epoch(self, row: dict, best: float | None) -> None:
        """One more epoch is done, with this row of EPOCH_COLUMNS."""
        self.history.append(row)
        self.best, self.epoch = best, self.epoch + 1
        self.batch, self.epoch_loss, self.epoch_weight = 0, 0.0, 0.0

    def is_out_of_patience(self, patience: int | None) -> bool:
        """Whether the last `patience` validations have not been better than one before; never for None.

        Validations from before an extension do not count.
        """
        rows = [row for row in self.history if row["val_miou"] is not None]
        if patience is None or not rows:
            return False
        best = max(rows, key=lambda row: row["val_miou"])["epoch"]  # of equal ones the first
        return sum(row["epoch"] > max(best, self.extended_at) for row in rows) >= patience

    @classmethod
    def restore(cls, path: str | Path, progress: dict, fingerprint: str) -> "TrainState":
        """The state in a checkpoint.

        Args:
            path: the checkpoint, for messages.
            progress: its `progress`.
            fingerprint: of the data at hand.

        Raises:
            CheckpointError: it holds no such state.
            DataError: the data are not those that the run began with.
        """
        try:
            state = cls(**progress)
        except TypeError as error:
            raise CheckpointError(
                f"{path}: it does not say where training stood ({error}); start a new run with --init-from {path}"
            ) from error
        if "epoch_weight" not in progress:  # older files summed losses without weights: the epoch's mean begins anew
            state.epoch_loss = 0.0
        if state.fingerprint != fingerprint:
            raise DataError(
                f"{path}: the classes or the lists of the splits are not those that this run began with; "
                f"leave out --data or give the same data, or start a new run with --init-from {path}"
            )
        return state
