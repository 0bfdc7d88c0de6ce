"""Small trained networks that notebooks share: `tutorials/weights/NAME.npz`, made by `tutorials/train_networks.py`."""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from minideeplab import models
from minideeplab.data import SHAPE_CLASSES
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.teach.images import palette
from minideeplab.teach.lesson import tutorials
from minideeplab.weights import Trained


def trained(name: str) -> Trained:
    """A network that was trained on the synthetic set; `.model` is in evaluation mode, for `Predictor`.

    Args:
        name: of a file in tutorials/weights, such as "v3plus".

    Raises:
        UsageError: no such file; the message says which there are, and how they are made.
        CheckpointError: a damaged file.
    """
    folder = tutorials() / "weights"
    path = folder / f"{name}.npz"
    again = "`git checkout tutorials/weights` brings it back"
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in folder.glob("*.npz"))) or "none"
        raise UsageError(f"{path} is missing; there are: {have}. {again}")
    try:
        with np.load(path, allow_pickle=False) as file:
            config = json.loads(str(file["config"]))
            state = {key: file[key].astype(np.float32) for key in file.files if key != "config"}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} is damaged; {again}") from error
    model = models.build(**config)
    model.load_state_dict(state)
    return Trained(path, model.eval(), list(SHAPE_CLASSES), palette())


def save_small(path: Path, model) -> None:
    """Writes a network in half precision: float16 keeps three digits of a weight, which is enough to look at it."""
    state = {key: value.astype(np.float16) for key, value in model.state_dict().items()}
    np.savez(path, config=json.dumps(model.config), **state)
