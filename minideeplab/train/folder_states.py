"""What the folder of a run holds after whatever happened: a run that goes on, or one that may be started over."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from minideeplab.errors import CheckpointError, DamagedError, UsageError
from minideeplab.files.lock import FolderHeld, require_not_held
from minideeplab.files.records import read_json
from minideeplab.train.step_rows import StepRows
from minideeplab.weights import Checkpoint

LAST, PREVIOUS, BEST, DIVERGED = "last.npz", "last.prev.npz", "best.npz", "diverged.npz"
# what a run writes before it has learnt anything
STARTED = {"args.json", "data.json", "log.txt", "metrics.csv", "metrics.jsonl", "samples", ".pictures-due", ".lock"}
STARTED |= {"config.toml", "lr_finder.png"}  # the latter of a search before the run


class Found(NamedTuple):
    """The checkpoint that a run goes on from.

    Attributes:
        checkpoint: its content.
        path: its file.
        damaged: files that are newer, or may be, and cannot be read, each with the cause.
        steps_lost: steps that were done after it, and are to be done again; counted only where a file is damaged.
    """

    checkpoint: Checkpoint
    path: Path
    damaged: dict[Path, str]
    steps_lost: int = 0

    def notes(self) -> list[str]:
        """What there is to say of it."""
        if self.path.name == LAST:
            return []
        missing = [] if any(path.name == LAST for path in self.damaged) else [f"there is no {LAST}"]
        causes = [f"{path.name} is damaged ({cause})" for path, cause in self.damaged.items()] + missing
        step = self.checkpoint.progress["step"]
        again = f", {self.steps_lost} steps are done again" if self.steps_lost else ""
        return [f"warning: {', '.join(causes)}; the run goes on from {self.path.name}, after step {step}{again}"]


def newest_checkpoint(folder: str | Path, asks: bool = True) -> Found:
    """last.npz; where that is damaged or missing the newer one of last.prev.npz and best.npz.

    Args:
        asks: whether to ask if a process trains in the folder. To ask is to take the lock for a moment.

    Raises:
        UsageError: a process trains in the folder.
        CheckpointError: there is none that a run can go on from; the message says why, and what to do.
    """
    folder = Path(folder)
    if asks:
        _require_not_held(folder)
    found, damaged = {}, {}
    for name in (LAST, PREVIOUS, BEST):
        path = folder / name
        if not os.path.lexists(path):
            continue
        try:
            checkpoint = Checkpoint.load(path)
        except DamagedError as error:
            cause = str(error).removeprefix(f"{path}: ")
            damaged[path] = cause.rpartition("; ")[0] or cause
            continue
        if name == LAST and not checkpoint.args:
            raise CheckpointError(f"{path}: it holds no training arguments; start a new run with --init-from {path}")
        if name == LAST:
            return Found(checkpoint, path, {})
        if checkpoint.args and type(checkpoint.progress.get("step")) is int:
            found[path] = checkpoint
    if not found:
        raise CheckpointError(_why_nothing(folder, damaged))
    path = max(found, key=lambda path: found[path].progress["step"])
    with contextlib.suppress(OSError):
        lost = max(0, StepRows(folder / "metrics.jsonl").last_step() - found[path].progress["step"])
    return Found(found[path], path, damaged, lost)


def require_free(folder: str | Path) -> None:
    """Asks whether a run may begin in a folder, which need not be there.

    Raises:
        UsageError: the folder is held by a process, or `require_nothing_saved` objects.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: a file of this name exists; give another --out")
    _require_not_held(folder)
    require_nothing_saved(folder)


def require_nothing_saved(folder: Path) -> None:
    """A run that was stopped before it saved anything, or whose checkpoints are all damaged, may be started over.

    Raises:
        UsageError: there is a run that goes on, or anything but a run.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if any(_is_usable(folder / name) for name in (LAST, PREVIOUS, BEST) if name in names):
        raise UsageError(
            f"--out {folder}: there is a run in this folder; add --resume to continue it, or give another --out"
        )
    others = {name for name in names - STARTED if not name.endswith(".tmp")}
    if others and not _is_run(folder):
        raise UsageError(f"--out {folder}: the folder is not empty ({min(others)}); give another --out")


def set_aside(damaged: list[Path]) -> None:
    """Renames files that cannot be read, X.npz to X.damaged.npz, so that no good one takes their place."""
    for path in damaged:
        os.replace(path, path.with_name(f"{path.stem}.damaged{path.suffix}"))


def clear_for_start(folder: Path) -> None:
    """Takes away what an earlier start left, where `require_nothing_saved` has nothing against a new one."""
    set_aside([path for name in (LAST, PREVIOUS, BEST) if (path := folder / name).exists()])
    for name in (DIVERGED, ".pictures-due"):
        (folder / name).unlink(missing_ok=True)


def _require_not_held(folder: Path) -> None:
    try:
        require_not_held(folder)
    except FolderHeld as error:
        raise held(folder, error) from error
    except OSError:
        pass  # whoever writes there will be told


def held(folder: Path, error: FolderHeld) -> UsageError:
    """The error of a folder that another process holds."""
    return UsageError(f"--out {folder}: {error}, trains in this folder; wait until it has ended, or give another --out")


def _why_nothing(folder: Path, damaged: dict[Path, str]) -> str:
    """Why a run cannot go on, and what to do."""
    again = "start it again without --resume, by the command that it began with"
    causes = "; ".join(f"{path.name}: {cause}" for path, cause in damaged.items())
    if damaged:
        why = f"no checkpoint of this run can be read ({causes}); copy one from elsewhere, or {again}"
    elif (folder / DIVERGED).exists():
        why = f"this run diverged before it saved anything; {again} but a lower --lr"
    elif _is_run(folder):
        why = f"this run was stopped before it saved anything; {again}; {folder / 'args.json'} has its arguments"
    elif folder.is_dir():
        why = "no such file; the folder of a run holds args.json and last.npz, and this one does not"
    else:
        why = "no such file; give the folder that the run has printed when it began: --out RUN"
    return f"{folder / LAST}: {why}"


def _is_usable(path: Path) -> bool:
    """Whether a checkpoint is there for some purpose; one of a newer version is, too."""
    try:
        Checkpoint.load(path)
    except DamagedError:
        return False
    except CheckpointError:
        return True
    return True


def _is_run(folder: Path) -> bool:
    return isinstance((read_json(folder / "args.json") or {}).get("arguments"), dict)
