"""The folder of one training run: fixed file names, each file whole at any moment."""

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from minideeplab.cli import command_line, create_folder, data_options
from minideeplab.errors import UsageError
from minideeplab.evaluation.metrics import ConfusionMatrix
from minideeplab.files.growing import GrowingFile
from minideeplab.files.lock import FolderHeld, FolderLock
from minideeplab.files.tables import write_csv
from minideeplab.files.whole import remove_abandoned, write_text
from minideeplab.train import folder_states
from minideeplab.train.arguments import run_config
from minideeplab.train.equality import write_data
from minideeplab.train.step_rows import StepRows
from minideeplab.weights import Checkpoint

# Columns of metrics.csv, in order. The last two are wall-clock: two equal runs agree in all the others.
EPOCH_COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "val_miou",
    "val_classes_present",
    "val_pixel_accuracy",
    "val_largest_prediction",
    "best_miou",
    "images_per_second",
    "seconds",
)


class RunFolder:
    """Paths and writers of OUT/, which one process at a time holds: `with` a folder ends with its release.

    metrics.jsonl grows by one line per step and may run ahead of last.npz; `rewind` cuts it back on resume.
    All other files are written anew, from what the checkpoint holds. The checkpoints are what counts: one that cannot
    be written is an OSError. Reports and records that cannot be written are a warning, once for each file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.last = self.path / folder_states.LAST
        self.previous = self.path / folder_states.PREVIOUS
        self.best = self.path / folder_states.BEST
        self.diverged = self.path / folder_states.DIVERGED
        self.samples = self.path / "samples"
        self._due = self.path / ".pictures-due"
        self._steps = StepRows(self.path / "metrics.jsonl")
        self._log = GrowingFile(self.path / "log.txt")
        self._lock = None
        self._not_written: set[str] = set()  # names of files that a warning was given for

    @classmethod
    def create(cls, out: str | None, default_name: str) -> "RunFolder":
        """A folder for a new run, held: `out`, or runs/DEFAULT_NAME, with -2, -3, ... where that exists.

        Raises:
            UsageError: `out` is not free (see `folder_states.require_free`), or cannot be written.
        """
        if out is None:
            create_folder("--out", "runs")
            folder = cls(_new_folder(Path("runs") / default_name))
        else:
            folder_states.require_free(out)
            folder = cls(create_folder("--out", out))
        folder.hold()
        try:
            folder_states.require_nothing_saved(folder.path)  # another process may have been here before the lock
            folder_states.clear_for_start(folder.path)
            folder.samples.mkdir(exist_ok=True)
        except BaseException:
            folder.close()
            raise
        return folder

    def hold(self) -> "RunFolder":
        """Keeps other processes out, and clears what killed ones left half written.

        Raises:
            UsageError: another process holds the folder, or no file can be written there.
        """
        try:
            self._lock = FolderLock(self.path)
        except FolderHeld as error:
            raise folder_states.held(self.path, error) from error
        except OSError as error:
            why = f"no file can be written in this folder ({error.strerror})"
            raise UsageError(f"--out {self.path}: {why}; change that, or give another") from error
        if not self._lock.works:
            self.log("warning: this file system has no locks; let no other process train in this folder")
        for folder in (self.path, self.samples):
            remove_abandoned(folder, before=time.time())
        return self

    def close(self) -> None:
        """Closes the files and lets the folder go."""
        self._steps.close()
        self._log.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Writes last.npz, and keeps the one before as last.prev.npz where the file system has hard links.

        Raises:
            OSError: it cannot be written; the old files are there.
        """
        link = self.path / ".last.prev.npz"
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
            os.link(self.last, link)
            os.replace(link, self.previous)  # which leaves the link where both are the same file already
            link.unlink(missing_ok=True)
        checkpoint.save(self.last)

    def drop_previous(self) -> None:
        """Removes last.prev.npz, which a finished run has no use for."""
        with contextlib.suppress(OSError):
            self.previous.unlink(missing_ok=True)

    def log(self, text: str = "") -> None:
        """Prints a line, clear of the progress bar, and keeps it in log.txt; a warning is one line there."""
        if text.startswith("warning: "):
            text = " ".join(text.splitlines())
        with contextlib.suppress(OSError):  # a full disk under `> file`
            self.say(text)
        try:
            self._log.add(text)
        except OSError as error:
            self._warn(self._log.path, error)

    def say(self, text: str) -> None:
        """Prints a line, clear of the progress bar."""
        tqdm.write(text)

    def _report(self, path: Path, write: Callable[[], None]) -> None:
        """Writes a report; that it cannot be written is worth a warning, and no more."""
        try:
            write()
        except OSError as error:
            self._warn(path, error)

    def _warn(self, path: Path, error: OSError) -> None:
        if path.name in self._not_written:
            return
        self._not_written.add(path.name)
        text = f"warning: {path} cannot be written ({error.strerror or error}); training goes on without it"
        if path == self._log.path:
            print(text, file=sys.stderr)
        else:
            self.log(text)

    def write_start(self, args, threads: int, ranks: int, train_set, val_set, fingerprint: str, model) -> None:
        """args.json, data.json and config.toml: all that it takes to repeat the run, or to go on with it.

        Raises:
            OSError: one of them cannot be written.
        """
        content = {
            "arguments": vars(args),
            "seed": args.seed,
            "ranks": ranks,
            "threads": threads,
            "data": {
                "name": train_set.name,
                "root": str(train_set.root),
                "classes": list(train_set.class_names),
                "fingerprint": fingerprint,
            },
            "model": model.config,
            "parameters": sum(parameter.data.size for parameter in model.parameters()),
            "versions": versions(),
        }
        write_text(self.path / "args.json", json.dumps(content, indent=2) + "\n")
        write_data(self.path / "data.json", train_set, val_set)
        write_text(self.path / "config.toml", run_config(args))

    def add_step(self, row: dict) -> None:
        """Appends one line to metrics.jsonl."""
        self._report(self._steps.path, lambda: self._steps.add(row))

    def write_epochs(self, rows: list[dict]) -> None:
        """metrics.csv: one row per epoch; empty fields where an epoch was not validated."""
        cells = [[_rounded(row.get(column)) for column in EPOCH_COLUMNS] for row in rows]
        self._write_table("metrics.csv", [EPOCH_COLUMNS, *cells])

    def rewind(self, step: int, epochs: list[dict]) -> None:
        """Cuts the metrics back to what a checkpoint knows; later steps will write theirs again."""
        self._report(self._steps.path, lambda: self._steps.cut(step))
        self.write_epochs(epochs)

    def step_rows(self) -> list[dict]:
        """The rows of metrics.jsonl so far; what was damaged is left out."""
        return self._steps.read()

    def write_per_class(self, confusion: ConfusionMatrix, class_names: tuple[str, ...]) -> None:
        """per_class.csv: class, iou, accuracy, truth_share; empty where a class has no pixels."""
        rows: list[list] = [["class", "iou", "accuracy", "truth_share"]]
        columns = (confusion.iou(), confusion.class_accuracy(), confusion.truth_share())
        for name, *values in zip(class_names, *columns, strict=True):
            rows.append([name, *(None if value != value else _rounded(float(value)) for value in values)])
        self._write_table("per_class.csv", rows)

    def _write_table(self, name: str, rows: list) -> None:
        self._report(self.path / name, lambda: write_csv(self.path / name, rows))

    def mark_pictures_due(self) -> None:
        """Notes that checkpoints are about to be newer than the pictures."""
        self._report(self._due, self._due.touch)

    def pictures_due(self) -> bool:
        """Whether the run was stopped between writing its checkpoints and drawing the pictures."""
        return self._due.exists() and self.best.exists()

    def pictures_are_drawn(self) -> None:
        """Takes back `mark_pictures_due`."""
        self._report(self._due, lambda: self._due.unlink(missing_ok=True))

    def next_commands(self, args: argparse.Namespace) -> str:
        """The commands that use what the run wrote."""
        weights = self.best if self.best.exists() else self.last
        evaluate = command_line("evaluate", "--checkpoint", weights, *data_options(args), "--split", args.val_split)
        predict = command_line("predict", "--checkpoint", weights)
        return f"next:\n  {evaluate}\n  {predict} IMAGE"


def _new_folder(wanted: Path) -> Path:
    """Makes a folder that was not there, however many processes ask for one at the same moment."""
    path, number = wanted, 1
    while True:
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1
            path = wanted.with_name(f"{wanted.name}-{number}")


def fingerprint(*datasets) -> str:
    """A hash of splits, classes and ids: does a run go on with the data that it began with?

    The files themselves may change: whoever repairs a bad one wants to resume.
    """
    digest = hashlib.sha256()
    for dataset in datasets:
        digest.update(repr((dataset.split, dataset.class_names, dataset.ids)).encode())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of Python, and of the packages that numbers and pictures depend on."""
    packages = ("numpy", "numba", "scipy", "pillow", "matplotlib")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def _rounded(value):
    return f"{value:.6g}" if isinstance(value, float) else value
