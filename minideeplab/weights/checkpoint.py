"""The project's own checkpoint: an uncompressed .npz, written in full or not at all, read without trust.

Members of the archive: `meta` (JSON as uint8), `palette` (256, 3) uint8, `model/NAME` for each parameter and
buffer, `optim/NAME` for each slot of the optimiser, and where `model` is an average over steps `trained/NAME` for what
training goes on with. Nothing in it is ever unpickled.
"""

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from minideeplab import models
from minideeplab.data import IMAGE_MEAN, IMAGE_STD
from minideeplab.errors import CheckpointError, DamagedError
from minideeplab.files.arrays import read_npz
from minideeplab.files.json_text import parse_json
from minideeplab.files.refusal import Refusal, shown
from minideeplab.files.whole import written_whole
from minideeplab.nn.allocation import limited_to
from minideeplab.nn.comparison import differences
from minideeplab.weights import formats

FORMAT_VERSION = 1
_MEMBER = 400  # bytes that an archive needs for a member, beside the array
_REDO = "copy the file again, or use another checkpoint of the run (--init-from best.npz)"


class _Kind(NamedTuple):
    """What a value of `meta` must be: a test, and its words in an error."""

    holds: Callable[[object], bool]
    words: str


def _is_dict(value) -> bool:
    return isinstance(value, dict)


def _is_names(value) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_label(value) -> bool:
    return type(value) is int and 0 <= value <= 255


def _is_colour(value) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(each) in (int, float) for each in value)


# What `meta` must hold, beside the format version.
_META_TYPES = {
    "model": _Kind(_is_dict, "dict"),
    "class_names": _Kind(_is_names, "list of names"),
    "ignore_index": _Kind(_is_label, "a label, 0 to 255,"),
    "mean": _Kind(_is_colour, "list of 3 numbers"),
    "std": _Kind(_is_colour, "list of 3 numbers"),
    "progress": _Kind(_is_dict, "dict"),
    "args": _Kind(_is_dict, "dict"),
}


@dataclass
class Checkpoint:
    """A trained model with all that is needed to use it, and to go on training it.

    Attributes:
        model: configuration; `models.build(**model)` makes the network.
        state: parameters and buffers by name, as of `model.state_dict()`.
        class_names: one name for each class.
        palette: (256, 3) uint8, the colour of each label in masks.
        ignore_index: the void label.
        optimiser: slots of the optimiser by name; empty in a file that is for inference only.
        progress: where training stands (JSON-able).
        args: the arguments of the training command (JSON-able).
        trained: where `state` is an average over training steps, the parameters and buffers that training goes on with;
            else empty.
    """

    model: dict
    state: dict[str, np.ndarray]
    class_names: list[str]
    palette: np.ndarray
    ignore_index: int = 255
    optimiser: dict[str, np.ndarray] = field(default_factory=dict)
    progress: dict = field(default_factory=dict)
    args: dict = field(default_factory=dict)
    trained: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Writes the file atomically: whatever happens meanwhile, `path` is the old file or the new one.

        Raises:
            OSError: the disk is full, the folder is not writable, and the like; the old file is untouched.
        """
        meta = {
            "format_version": FORMAT_VERSION,
            "model": self.model,
            "class_names": list(self.class_names),
            "ignore_index": self.ignore_index,
            "mean": np.asarray(IMAGE_MEAN, float).tolist(),
            "std": np.asarray(IMAGE_STD, float).tolist(),
            "progress": self.progress,
            "args": self.args,
        }
        members = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), "palette": self.palette}
        members |= {f"model/{name}": array for name, array in self.state.items()}
        members |= {f"optim/{name}": array for name, array in self.optimiser.items()}
        members |= {f"trained/{name}": array for name, array in self.trained.items()}
        need = sum(array.nbytes + _MEMBER for array in members.values())
        with written_whole(path, need) as file:
            np.savez(file, **members)

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Reads and checks a file; a damaged or hostile one costs neither memory nor code execution.

        Raises:
            CheckpointError: not found, not such a file, damaged, of an unknown version, or not finite.
        """
        path = Path(path)
        arrays = _read_archive(path)
        meta = _read_meta(path, arrays)
        palette = arrays.get("palette")
        if palette is None or palette.shape != (256, 3) or palette.dtype != np.uint8:
            raise DamagedError(f"{path}: 'palette' must be a (256, 3) uint8 array; {_REDO}")
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DamagedError(
                    f"{path}: '{name}' holds values that are not finite, the training had diverged; "
                    f"use an earlier checkpoint of the run, or train again with a tenth of the learning rate"
                )
        return cls(
            model=meta["model"],
            state=_with_prefix(arrays, "model/"),
            class_names=meta["class_names"],
            palette=palette,
            ignore_index=meta["ignore_index"],
            optimiser=_with_prefix(arrays, "optim/"),
            progress=meta["progress"],
            args=meta["args"],
            trained=_with_prefix(arrays, "trained/"),
        )

    def configuration(self) -> dict:
        """`model`, with what older files leave unsaid in words."""
        return models.older_configuration(self.model)

    def build_model(self, path: str | Path):
        """Builds the network and fills in the weights.

        Args:
            path: the file that this came from, for messages.

        Returns:
            The model, in evaluation mode.

        Raises:
            CheckpointError: the configuration names no known model, or one that is larger than the arrays (found
                before memory is taken), or the arrays do not fit it.
        """
        try:
            with limited_to(array.size for array in self.state.values()):
                model = models.unfilled(**self.configuration())
        except Exception as error:  # constructors raise nearly anything on options that a file has made up
            reason = f"{type(error).__name__}: {error}"[:300]
            raise CheckpointError(
                f"{path}: no model can be built from its configuration ({reason}); {_REDO}"
            ) from error
        fit_state(path, model, self.state)
        model.eval()
        return model

    def check_classes(self, path: str | Path, dataset) -> None:
        """As the function `check_classes`, for the classes of this checkpoint."""
        check_classes(path, self.class_names, dataset)


def check_classes(path: str | Path, trained: list[str], dataset) -> None:
    """Raise CheckpointError unless the data set has the classes of training: count, names and order."""
    names = list(dataset.class_names)
    if len(trained) != len(names):
        raise CheckpointError(
            f"{path}: trained on {len(trained)} classes ({', '.join(trained)}), "
            f"the data set {dataset.root} has {len(names)} ({', '.join(names)}); evaluate it on data of its own "
            "classes"
        )
    for label, (there, here) in enumerate(zip(trained, names, strict=True)):
        if there != here:
            raise CheckpointError(
                f"{path}: trained with label {label} as '{there}', which is '{here}' in the data set "
                f"{dataset.root}; evaluate it on data of its own classes"
            )


def fit_state(path: str | Path, model, state: dict[str, np.ndarray]) -> None:
    """Loads a state into a model.

    Raises:
        CheckpointError: an array is missing, unknown or of another shape; the message has them as a table.
    """
    expected = {name: t.shape for name, t in (*model.named_parameters(), *model.named_buffers())}
    wrong = differences(expected, {name: array.shape for name, array in state.items()})
    if wrong:
        configuration = str(model.config)[:2000]
        raise CheckpointError(
            f"{path}: {len(wrong)} arrays do not fit the model {configuration}: {wrong.counts()}\n{wrong.table()}\n"
            f"give a file of this very network, or the options that its network has"
        )
    for name, array in state.items():
        _check_values(path, name, array)
    model.load_state_dict(state)


def _check_values(path, name: str, array: np.ndarray) -> None:
    """float64 may be too large for the network's float32; and of a negative variance there is no root."""
    variance = name.endswith("running_var")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32, copy=False)
    if not np.isfinite(values).all() or (variance and (values < 0).any()):
        raise CheckpointError(
            f"{path}: '{name}' holds numbers from {array.min():g} to {array.max():g}, which are no "
            f"{'variances' if variance else 'weights'}; {_REDO}"
        )


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file, after checks on the sizes that it declares."""
    if os.path.isdir(path):  # unlike Path.is_dir never an error: a name may be too long
        raise CheckpointError(f"{path}: a folder; give a file in it, such as {path / 'best.npz'}")
    if not os.path.isfile(path):
        last = path.with_name("last.npz")
        if path.name == "best.npz" and os.path.isfile(last):
            raise CheckpointError(f"{path}: no such file; a run writes it at its first validation; {last} is there")
        raise CheckpointError(f"{path}: no such file; a training run writes RUN/last.npz and RUN/best.npz")
    try:
        with path.open("rb") as file:
            found = formats.format_of(file, wanted="RUN/best.npz or RUN/last.npz of a training run")
            if found == formats.NPZ and _has_meta(file):
                return read_npz(file, max_bytes=path.stat().st_size)
    except Refusal as error:
        raise DamagedError(f"{path}: {error}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes do not fit into memory; free some first") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); {_REDO}") from error
    raise CheckpointError(
        f"{path}: {formats.TITLES[found]}, not a checkpoint of this project; train from its weights with "
        f"`python -m minideeplab.train --init-from {path}`, or load them with minideeplab.weights.load_pretrained"
    )


def _has_meta(file: BinaryIO) -> bool:
    with zipfile.ZipFile(file) as archive:
        return "meta.npy" in archive.namelist()


def _read_meta(path: Path, arrays: dict[str, np.ndarray]) -> dict:
    try:
        meta = parse_json(arrays["meta"].tobytes())
    except Refusal as error:
        raise DamagedError(f"{path}: 'meta' is {error}; {_REDO}") from error
    version = meta.get("format_version") if isinstance(meta, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {shown(version)}, this program reads version {FORMAT_VERSION}; "
            f"use the version of minideeplab that wrote it"
        )
    for key, kind in _META_TYPES.items():
        if not kind.holds(meta.get(key)):
            raise DamagedError(f"{path}: 'meta' has no valid '{key}' ({kind.words} expected); {_REDO}")
    classes = meta["model"].get("num_classes")
    if type(classes) is not int or classes != len(meta["class_names"]):
        raise DamagedError(f"{path}: {len(meta['class_names'])} class names for {shown(classes)} classes; {_REDO}")
    for key, ours in (("mean", IMAGE_MEAN), ("std", IMAGE_STD)):
        if not np.array_equal(meta[key], np.asarray(ours, float)):
            raise CheckpointError(
                f"{path}: trained on images normalised with {key} {str(meta[key])[:80]}, this version uses "
                f"{list(ours)}; use the version of minideeplab that wrote it"
            )
    return meta


def _with_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
