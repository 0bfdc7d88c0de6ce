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
        epoch_loss: sum of their losses.
        best: highest validation mean IoU, None before the first.
        history: one row of EPOCH_COLUMNS per epoch.
        seconds: wall-clock time spent.
        fingerprint: of the data.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    epoch_loss: float = 0.0
    best: float | None = None
    history: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    fingerprint: str = ""

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
        if state.fingerprint != fingerprint:
            raise DataError(
                f"{path}: the classes or the lists of the splits are not those that this run began with; "
                f"restore them, or start a new run with --init-from {path}"
            )
        return state
