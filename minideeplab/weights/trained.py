"""A trained network from any file: a checkpoint of a run, or published weights."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minideeplab import models
from minideeplab.data import IGNORE_INDEX
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.files.arrays import damage_refused
from minideeplab.files.refusal import Refusal
from minideeplab.models.segmenter import Segmenter
from minideeplab.weights import pretrained
from minideeplab.weights.checkpoint import Checkpoint, check_classes
from minideeplab.weights.class_names import guessed_classes, named_classes


@dataclass
class Trained:
    """A network and what its classes are called.

    Attributes:
        path: the file, for messages.
        model: in evaluation mode.
        class_names: one name for each class; palette: (256, 3) uint8, their colours; ignore_index: the void label.
        note: a sentence about names that neither the file nor the user gave; empty if one of them did.
    """

    path: str | Path
    model: object
    class_names: list[str]
    palette: np.ndarray
    ignore_index: int = IGNORE_INDEX
    note: str = ""

    def take_classes(self, dataset) -> None:
        """Compares the classes with those of a data set; a file that names none takes the data set's names.

        Raises:
            CheckpointError: another number of classes, or other names.
        """
        if self.note and len(self.class_names) == dataset.num_classes:
            self.class_names, self.palette = list(dataset.class_names), dataset.palette
            count = dataset.num_classes
            self.note = f"the file names no classes; its {count} are taken for those of the data set, in this order"
        else:
            check_classes(self.path, self.class_names, dataset)


def load_trained(
    path: str | Path, class_names: str | Path | Sequence[str] | None = None, output_stride: int | None = None
) -> Trained:
    """The network in a file, ready to be used.

    Args:
        path: best.npz or last.npz of a run, or published weights that `load_pretrained` takes (.pth, .safetensors,
            .npz).
        class_names: names instead of those in the file: "voc", "cityscapes", "camvid", "ade20k", a text file with a
            name a line, or a sequence. Where neither says them, they follow from their number: 21 of VOC, 19 of
            Cityscapes, else "class 0" and so on; `note` tells.
        output_stride: at which the network runs, see `models.at_output_stride`; None: at that of training.

    Raises:
        CheckpointError: the file cannot be read, or is no trained network for segmentation.
        UsageError: names for another number of classes, an output stride that the network cannot have.
    """
    if _is_checkpoint(path):
        checkpoint = Checkpoint.load(path)
        model = checkpoint.build_model(path)
        trained = Trained(path, model, checkpoint.class_names, checkpoint.palette, checkpoint.ignore_index)
    else:
        source = pretrained.load(path)
        model = source.model
        if source.fresh or not isinstance(model, Segmenter) or not getattr(model, "dense", True):
            raise CheckpointError(
                f"{path}: weights of {model.config['name']}, which classifies whole images; give a network for "
                f"segmentation, or train one from it with `python -m minideeplab.train --init-from {path}`"
            )
        names, palette, note = guessed_classes(model.config["num_classes"])
        trained = Trained(path, model, names, palette, note=note)
    if class_names is not None:
        trained.class_names, trained.palette = named_classes(class_names, model.config["num_classes"])
        trained.note = ""
    if output_stride is not None:
        try:
            trained.model = models.at_output_stride(model, output_stride)
        except ValueError as error:
            raise UsageError(f"--output-stride {output_stride}: {error}") from error
    return trained


def _is_checkpoint(path) -> bool:
    """Whether `Checkpoint.load` is the one to read it, or to say what is wrong: also for folders and missing files."""
    if not os.path.isfile(path):
        return True
    try:
        with damage_refused(), zipfile.ZipFile(path) as archive:
            return "meta.npy" in archive.namelist() and "palette.npy" in archive.namelist()
    except (OSError, Refusal):
        return str(path).lower().endswith(".npz")
