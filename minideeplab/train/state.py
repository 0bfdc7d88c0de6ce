"""Where a training run stands."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints

from minideeplab.errors import CheckpointError, DataError
from minideeplab.evaluation.epochs import best_row, validated
from minideeplab.files.refusal import shown


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
        best = best_row(self.history)
        if patience is None or best is None:
            return False
        return sum(row["epoch"] > max(best["epoch"], self.extended_at) for row in validated(self.history)) >= patience

    @classmethod
    def restore(
        cls, path: str | Path, progress: dict, fingerprint: str, changes: Callable[[], str] = lambda: ""
    ) -> "TrainState":
        """The state in a checkpoint.

        Args:
            path: the checkpoint, for messages.
            progress: its `progress`.
            fingerprint: of the data at hand.
            changes: what became other than in the data that the run began with, in words; asked where it did.

        Raises:
            CheckpointError: it holds no such state.
            DataError: the data are not those that the run began with.
        """
        try:
            _check_types(progress)
            state = cls(**progress)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: it does not say where training stood ({error}); start a new run with --init-from {path}"
            ) from error
        if "epoch_weight" not in progress:  # older files summed losses without weights: the epoch's mean begins anew
            state.epoch_loss = 0.0
        if state.fingerprint != fingerprint:
            what = changes()
            raise DataError(
                f"{path}: the classes or the lists of the splits are not those that this run began with"
                f"{f' ({what})' if what else ''}; "
                f"leave out --data or give the same data, or start a new run with --init-from {path}"
            )
        return state

    def require_within(self, path: str | Path, steps: int, epochs: int, batches: int) -> None:
        """Raises CheckpointError where the state, of the file `path`, lies beyond the end of the run.

        Args:
            steps, epochs: of the whole run; batches: of one epoch.
        """
        limits = {"step": steps, "epoch": epochs, "batch": batches}
        for name, limit in limits.items():
            if (value := getattr(self, name)) > limit:
                raise CheckpointError(
                    f"{path}: it says that training stood at {name} {shown(value)}, this run has {limit}; "
                    f"start a new run with --init-from {path}"
                )


def _check_types(progress: dict) -> None:
    """Raises ValueError for a field that a file has made up, or lacks; unknown ones are left to the constructor."""
    kinds = get_type_hints(TrainState)
    if missing := [name for name in ("step", "epoch", "batch", "history", "fingerprint") if name not in progress]:
        raise ValueError(f"'{missing[0]}' is missing")
    for name, value in progress.items():
        if name in kinds and not _fits(value, kinds[name]):
            raise ValueError(f"'{name}' is {shown(value)}")
    history, best = progress["history"], progress.get("best")
    if len(history) != progress["epoch"]:
        raise ValueError(f"{len(history)} rows of history after {progress['epoch']} epochs")
    for number, row in enumerate(history, 1):
        if wrong := _wrong_in(row):
            raise ValueError(f"row {number} of the history has {wrong}")
    if best is not None and best not in [row["val_miou"] for row in history]:
        raise ValueError(f"'best' is {best}, which no epoch has reached")


def _fits(value, kind) -> bool:
    """Whether JSON's value is of an annotated type; counts are not negative, and numbers are finite."""
    if isinstance(kind, UnionType):
        return any(_fits(value, each) for each in get_args(kind))
    if kind is int:
        return type(value) is int and 0 <= value < 2**53
    if kind is float:
        return type(value) in (int, float) and abs(value) < math.inf
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(each, *get_args(kind)) for each in value)
    return isinstance(value, get_origin(kind) or kind)


def _wrong_in(row: dict) -> str | None:
    """What does not belong into a row of history, in words."""
    always, validated = ("epoch", "step", "train_loss"), ("val_miou", "val_pixel_accuracy", "val_classes_present")
    needed = always + (validated if row.get("val_miou") is not None else ())
    row.setdefault("val_miou", None)
    for name in needed:
        if not _fits(row.get(name), float):
            return f"{shown(row.get(name))} as '{name}'"
    return next((f"{shown(v)} as '{k}'" for k, v in row.items() if not _fits(v, float | str | None)), None)
