"""Training from Python: `minideeplab.fit(...)` is `python -m minideeplab.train ...`, and returns the run."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import kernels
from minideeplab import cli
from minideeplab.autograd.precision import precision, precision_in_use
from minideeplab.cli.config_file import arguments_of
from minideeplab.cli.signals import heard
from minideeplab.distributed import failing_together, world
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.evaluation.epochs import best_row
from minideeplab.train.command import start
from minideeplab.train.options import train_parser
from minideeplab.weights import Checkpoint


class Run:
    """A run, finished or not: what lies in its folder.

    Args:
        folder: of the run, such as "runs/voc".
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @property
    def checkpoint(self) -> Path:
        """best.npz, which `minideeplab.evaluate` and `minideeplab.predict` take; last.npz before any validation."""
        best, last = self.folder / "best.npz", self.folder / "last.npz"
        return best if best.exists() else last

    def model(self):
        """The network with the weights of `checkpoint`, in evaluation mode; CheckpointError if there are none."""
        return Checkpoint.load(self.checkpoint).build_model(self.checkpoint).eval()

    @property
    def history(self) -> list[dict]:
        """A row of metrics.csv for each epoch, as numbers; None where an epoch was not validated."""
        return Checkpoint.load(self.folder / "last.npz").progress["history"]

    @property
    def steps(self) -> list[dict]:
        """A row for each step: `step`, `epoch`, `loss`, `lr`, `seconds`."""
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def best(self) -> dict:
        """The row of `history` with the highest mean IoU over the classes that occur: `val_classes_present` of them.

        Raises:
            CheckpointError: no epoch was validated yet.
        """
        if (row := best_row(self.history)) is None:
            raise CheckpointError(f"{self.folder}: no epoch was validated yet; continue with resume=True")
        return row

    @property
    def figures(self) -> dict[str, Path]:
        """The pictures by name: "curves", "confusion", and "samples/ID"."""
        pictures = sorted(self.folder.glob("*.png")) + sorted(self.folder.glob("samples/*.png"))
        return {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in pictures}

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: the curves."""
        curves = self.figures.get("curves")
        return curves.read_bytes() if curves else None


def fit(data: str | Path | None = None, model: str | None = None, *, progress: bool = True, **options):
    """Trains a network as `python -m minideeplab.train` does, with the same results.

        run = minideeplab.fit("photographs", epochs=60, lr=0.05, out="runs/mine")
        minideeplab.predict(run.checkpoint, "holiday.jpg")

    Args:
        data: folder of the data set, the synthetic set if not given; model: name of a network, "deeplabv3plus" if not.
        progress: show a bar and the lines of the log.
        options: those of the command with _ for -, such as crop_size=193, scale_range=(0.5, 1.5), mirror=False,
            resume=True; `python -m minideeplab.train --help` lists them. In the place of a file label_map takes a
            mapping {255: 1, 2: "car"}, class_weights a mapping {"car": 2.5} or a number for each class.

    Within `minideeplab.precision("bf16")` it is the default of `precision`. In a script that mpiexec starts, all ranks
    call it, and train together.

    Returns:
        The `Run`. With find_lr=True or dry_run=True the `RateSearch` or the `DryRun`: then nothing is trained.

    Raises:
        MiniDeepLabError: a UsageError, DataError, CheckpointError or DivergedError, where the command ends with an
            exit code.
        KeyboardInterrupt: the run was stopped, by Ctrl-C, SIGTERM or SIGHUP, which the main thread hears; it is saved,
            and fit(resume=True, out=...) continues it.
    """
    config = options.pop("config", None)
    on_cpu, is_new = options.get("device", "cpu") == "cpu", config is None and not options.get("resume")
    if precision_in_use() == "bf16" and on_cpu and is_new:
        options.setdefault("precision", "bf16")
    arguments = [] if config is None else [f"--config={config}"]
    arguments += arguments_of(train_parser(), {"data": data, "model": model} | _without_objects(options), "fit")
    threads = kernels.num_threads()
    with contextlib.ExitStack() as stack:
        if not progress:
            stack.enter_context(cli.hidden_progress())
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(failing_together(world()))
        stack.enter_context(cli.silent_but_first(world()))
        stack.callback(kernels.set_num_threads, threads)
        stack.enter_context(precision(precision_in_use()))
        stack.enter_context(heard())
        found, code = start(arguments)
        if code == 0:
            cli.check_interrupt()  # a signal that was lost, as while kernels compile
    if code > 128:  # by a signal
        raise KeyboardInterrupt
    return Run(found) if isinstance(found, Path) else found


def _without_objects(options: dict) -> dict:
    """Options of which those that the command reads from files are JSON, where they are given as objects."""
    kinds = {"label_map": Mapping, "class_weights": (Mapping, Sequence, np.ndarray)}
    objects = {
        name: value
        for name, kind in kinds.items()
        if isinstance(value := options.get(name), kind) and not isinstance(value, str)
    }
    return options | {name: _json(name, value) for name, value in objects.items()}


def _json(name: str, value) -> str:
    if isinstance(value, Mapping):
        value = {str(key): each for key, each in value.items()}
    try:
        return json.dumps(value, default=lambda each: each.tolist())  # of NumPy
    except (AttributeError, ValueError) as error:
        raise UsageError(f"fit: {name} must hold numbers and names, got {value!r}") from error
