"""A trained network, whatever holds it: a checkpoint of a run, published weights, a run, or a network in memory."""

import dataclasses
import os
import shlex
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minideeplab import models
from minideeplab.data import IGNORE_INDEX
from minideeplab.data.label_maps import relabelled
from minideeplab.errors import CheckpointError, DataError, UsageError
from minideeplab.files.arrays import damage_refused
from minideeplab.files.refusal import Refusal
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Module
from minideeplab.weights import pretrained
from minideeplab.weights.checkpoint import Checkpoint, check_classes
from minideeplab.weights.class_names import guessed_classes, named_classes

_LONGEST = 200  # characters of a label map that a sentence repeats


@dataclass
class Trained:
    """A network and what its classes are called.

    Attributes:
        path: the file, for messages.
        model: in evaluation mode.
        class_names: one name for each class; palette: (256, 3) uint8, their colours; ignore_index: the void label.
        note: a sentence about names that neither the file nor the user gave; empty if one of them did.
        args: the arguments of the training command; empty where nobody knows them.
    """

    path: str | Path
    model: object
    class_names: list[str]
    palette: np.ndarray
    ignore_index: int = IGNORE_INDEX
    note: str = ""
    args: dict = field(default_factory=dict)

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

    def differences(self, dataset) -> list[str]:
        """Sentences about masks that are read otherwise than in training: with another void, or by another label map.

        Void of training that is no class, and was not asked for there, is the matter of each data set alone.
        """
        found, was = [], self.ignore_index
        is_class = was < len(self.class_names)
        if was != dataset.ignore_index and (is_class or self.args.get("ignore_index") is not None):
            learnt = f", so class {self.class_names[was]!r} was not learnt" if is_class else ""
            found.append(
                f"{self.path}: void was label {was} in training{learnt}, and is {dataset.ignore_index} here; add "
                f"--ignore-index {was} to score as validation did"
            )
        stored = self.args.get("label_map")
        # A file that a checkpoint names is not read: runs keep the map itself.
        if isinstance(stored, str) and (stored == "binary" or stored.startswith("{")):
            try:
                same = relabelled(dataset, stored, None).label_map == dataset.label_map
            except DataError:  # a map for another set
                same = False
            if not same:
                short = len(stored) <= _LONGEST and stored.isprintable()
                option = shlex.quote(stored) if short else "FILE with the `label_map` of the run's args.json"
                found.append(
                    f"{self.path}: in training a label map said what the values in the masks mean, here they are read "
                    f"otherwise; add --label-map {option}, unless these masks were converted"
                )
        return found


def load_trained(
    source, class_names: str | Path | Sequence[str] | None = None, output_stride: int | None = None,
    classifiers: bool = False,
) -> Trained:  # fmt: skip
    """A network, ready to be used.

    Args:
        source: best.npz or last.npz of a run, or published weights that `load_pretrained` takes (.pth, .safetensors,
            .npz); a `Trained`; a network in memory; or what has a `checkpoint`, the file: a run of `minideeplab.fit`.
        class_names: names instead of those in the file: "voc", "cityscapes", "camvid", "ade20k", a text file with a
            name a line, or a sequence. Where neither says them, they follow from their number: 21 of VOC, 19 of
            Cityscapes, else "class 0" and so on; `note` tells.
        output_stride: at which the network runs, see `models.at_output_stride`; None: at that of training.
        classifiers: whether published weights may be those of a network that classifies whole images.

    Raises:
        CheckpointError: the file cannot be read, or is no trained network for segmentation.
        UsageError: names for another number of classes, an output stride that the network cannot have.
        TypeError: something else than a source.
    """
    trained = _of(source, classifiers)
    if class_names is not None:
        trained.class_names, trained.palette = named_classes(class_names, len(trained.class_names))
        trained.note = ""
    if output_stride is not None:
        try:
            trained.model = models.at_output_stride(trained.model, output_stride)
        except ValueError as error:
            raise UsageError(f"--output-stride {output_stride}: {error}") from error
    return trained


def _of(source, classifiers: bool) -> Trained:
    """What was given, as a `Trained` that may be changed."""
    if isinstance(source, Trained):
        return dataclasses.replace(source)
    if isinstance(source, Module):
        classes = getattr(source, "config", {}).get("num_classes")
        if classes is None:
            raise TypeError(
                f"{type(source).__name__} does not say its number of classes; give Trained(name, network, class_names, "
                "palette) of minideeplab.weights"
            )
        names, palette, note = guessed_classes(classes)
        return Trained("the network", source, names, palette, note=note)
    path = source if isinstance(source, (str, Path)) else getattr(source, "checkpoint", None)
    if not isinstance(path, (str, Path)):
        raise TypeError(f"expected a file, a run, a Trained or a network, got {type(source).__name__}")
    if _is_checkpoint(path):
        checkpoint = Checkpoint.load(path)
        model, void = checkpoint.build_model(path), checkpoint.ignore_index
        return Trained(path, model, checkpoint.class_names, checkpoint.palette, void, args=checkpoint.args)
    published = pretrained.load(path)
    model = published.model
    segments = isinstance(model, Segmenter) and getattr(model, "dense", True)
    if published.fresh or not (segments or classifiers):
        kind = model.config["name"]
        option = f"--backbone {kind} " if kind in models.BACKBONES else ""
        raise CheckpointError(
            f"{path}: weights of {kind}, which classifies whole images; give a network for segmentation, or train one "
            f"from it with `python -m minideeplab.train --data DATA {option}--init-from {path}`"
        )
    names, palette, note = guessed_classes(model.config["num_classes"])
    return Trained(path, model, names, palette, note=note)


def _is_checkpoint(path) -> bool:
    """Whether `Checkpoint.load` is the one to read it, or to say what is wrong: also for folders and missing files."""
    if not os.path.isfile(path):
        return True
    try:
        with damage_refused(), zipfile.ZipFile(path) as archive:
            return "meta.npy" in archive.namelist() and "palette.npy" in archive.namelist()
    except (OSError, Refusal):
        return str(path).lower().endswith(".npz")
