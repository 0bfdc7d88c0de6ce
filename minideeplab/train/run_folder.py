"""The folder of one training run: fixed file names, each file whole at any moment."""

import argparse
import csv
import hashlib
import importlib.metadata
import io
import itertools
import json
import platform
from pathlib import Path

from tqdm import tqdm

from minideeplab.cli import command_line, create_folder
from minideeplab.errors import UsageError
from minideeplab.evaluation.metrics import ConfusionMatrix
from minideeplab.files.whole import write_text

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
# what a run writes before it has learnt anything
STARTED = {"args.json", "config.toml", "log.txt", "metrics.csv", "metrics.jsonl", "samples", ".pictures-due"}
STARTED |= {"lr_finder.png"}  # of a search before the run


class RunFolder:
    """Paths and writers of OUT/.

    metrics.jsonl grows by one line per step and may run ahead of last.npz; `rewind` cuts it back on resume.
    All other files are written anew, from what the checkpoint holds.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.last = self.path / "last.npz"
        self.best = self.path / "best.npz"
        self.diverged = self.path / "diverged.npz"
        self.samples = self.path / "samples"
        self._due = self.path / ".pictures-due"
        self._steps = None

    @classmethod
    def create(cls, out: str | None, default_name: str) -> "RunFolder":
        """A new folder: `out`, or runs/DEFAULT_NAME, with -2, -3, ... where that exists.

        Raises:
            UsageError: `out` is not empty, or not a folder.
        """
        if out is None:
            path, number = Path("runs") / default_name, 1
            while path.exists():
                number += 1
                path = Path("runs") / f"{default_name}-{number}"
        else:
            path = Path(out)
            cls.require_free(path)
        folder = cls(path)
        create_folder("--out", folder.samples)
        return folder

    @staticmethod
    def require_free(path: Path) -> None:
        """A run that was stopped before it saved anything does not count.

        Raises:
            UsageError: `path` holds a run, or anything else.
        """
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {path}: a file of this name exists; give another --out")
        found = {entry.name for entry in path.iterdir()} if path.exists() else set()
        if "last.npz" in found:
            raise UsageError(
                f"--out {path}: there is a run in this folder; add --resume to continue it, or give another --out"
            )
        if found - STARTED:
            raise UsageError(f"--out {path}: the folder is not empty ({sorted(found)[0]}); give another --out")

    def log(self, text: str = "") -> None:
        """Prints a line, clear of the progress bar, and keeps it in log.txt."""
        tqdm.write(text)
        with open(self.path / "log.txt", "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def write_args(self, arguments: dict, threads: int, dataset, fingerprint: str, model) -> None:
        """args.json: all that it takes to repeat the run."""
        content = {
            "arguments": arguments,
            "seed": arguments["seed"],
            "threads": threads,
            "data": {
                "name": dataset.name,
                "root": str(dataset.root),
                "classes": list(dataset.class_names),
                "fingerprint": fingerprint,
            },
            "model": model.config,
            "parameters": sum(parameter.data.size for parameter in model.parameters()),
            "versions": _versions(),
        }
        write_text(self.path / "args.json", json.dumps(content, indent=2) + "\n")

    def write_config(self, text: str) -> None:
        """config.toml: the options of the run, for `--config`."""
        write_text(self.path / "config.toml", text)

    def add_step(self, row: dict) -> None:
        """Appends one line to metrics.jsonl."""
        if self._steps is None:
            self._steps = open(self.path / "metrics.jsonl", "a", encoding="utf-8")
        self._steps.write(json.dumps(row) + "\n")
        self._steps.flush()

    def write_epochs(self, rows: list[dict]) -> None:
        """metrics.csv: one row per epoch; empty fields where an epoch was not validated."""
        text = io.StringIO()
        writer = csv.DictWriter(text, EPOCH_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({column: _rounded(row[column]) for column in EPOCH_COLUMNS} for row in rows)
        write_text(self.path / "metrics.csv", text.getvalue())

    def rewind(self, step: int, epochs: list[dict]) -> None:
        """Cuts the metrics back to what a checkpoint knows; later steps will write theirs again."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        whole = itertools.takewhile(_is_whole, lines[:step])  # step k is on line k; the last may be cut short
        write_text(path, "".join(f"{line}\n" for line in whole))
        self.write_epochs(epochs)

    def step_rows(self) -> list[dict]:
        """The rows of metrics.jsonl so far."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]

    def write_per_class(self, confusion: ConfusionMatrix, class_names: tuple[str, ...]) -> None:
        """per_class.csv: class, iou, accuracy, truth_share; empty where a class has no pixels."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", "iou", "accuracy", "truth_share"])
        columns = (confusion.iou(), confusion.class_accuracy(), confusion.truth_share())
        for name, *values in zip(class_names, *columns, strict=True):
            writer.writerow([name, *("" if value != value else _rounded(float(value)) for value in values)])
        write_text(self.path / "per_class.csv", text.getvalue())

    def mark_pictures_due(self) -> None:
        """Notes that checkpoints are about to be newer than the pictures."""
        self._due.touch()

    def pictures_due(self) -> bool:
        """Whether the run was stopped between writing its checkpoints and drawing the pictures."""
        return self._due.exists() and self.best.exists()

    def pictures_are_drawn(self) -> None:
        self._due.unlink(missing_ok=True)

    def next_commands(self, args: argparse.Namespace) -> str:
        """The commands that use what the run wrote."""
        data = ["--data", args.data, "--dataset", args.dataset, "--split", args.val_split]
        data += ["--limit", args.limit] if args.limit else []
        evaluate = command_line("evaluate", "--checkpoint", self.best, *data)
        predict = command_line("predict", "--checkpoint", self.best)
        return f"next:\n  {evaluate}\n  {predict} IMAGE"

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def fingerprint(*datasets) -> str:
    """A hash of splits, classes and ids: does a run go on with the data that it began with?

    The files themselves may change: whoever repairs a bad one wants to resume.
    """
    digest = hashlib.sha256()
    for dataset in datasets:
        digest.update(repr((dataset.split, dataset.class_names, dataset.ids)).encode())
    return digest.hexdigest()[:16]


def _versions() -> dict[str, str]:
    packages = ("numpy", "numba", "scipy", "pillow", "matplotlib")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def _rounded(value):
    return f"{value:.6g}" if isinstance(value, float) else value
