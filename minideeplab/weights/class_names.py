"""Names and colours of classes, for weight files that do not hold them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minideeplab.data import CAMVID_CLASSES, VOC_CLASSES, voc_colour_map
from minideeplab.data.ade20k import ade20k_colour_map, numbered_classes
from minideeplab.data.cityscapes import CITYSCAPES_CLASSES, cityscapes_colour_map
from minideeplab.data.classes import read_class_list
from minideeplab.errors import DataError, UsageError

KNOWN = {
    "voc": (VOC_CLASSES, voc_colour_map),
    "cityscapes": (CITYSCAPES_CLASSES, cityscapes_colour_map),
    "camvid": (CAMVID_CLASSES, voc_colour_map),
    "ade20k": (numbered_classes(), ade20k_colour_map),
}
GUESSED = {21: "voc", 19: "cityscapes"}  # what published weights of so many classes are for


def named_classes(given: str | Path | Sequence[str], num_classes: int) -> tuple[list[str], np.ndarray]:
    """The names and the palette (256, 3) uint8 that were asked for.

    Args:
        given: a name of `KNOWN`, a class list as `read_class_list` takes it, or the names.

    Raises:
        UsageError: no such list, or it is for another number of classes.
    """
    if isinstance(given, str) and given in KNOWN:
        names, colour_map = KNOWN[given]
        palette = colour_map()
    elif isinstance(given, (str, Path)):
        try:
            listed = read_class_list(Path(given))
        except DataError as error:
            known = ", ".join(KNOWN)
            raise UsageError(f"--class-names {error}; give a file with a name a line, or one of {known}") from error
        names, palette = listed.names, listed.palette()
    else:
        names, palette = tuple(given), voc_colour_map()
    if len(names) != num_classes:
        shown = given if isinstance(given, (str, Path)) else ", ".join(names)
        raise UsageError(f"--class-names {shown}: {len(names)} names, but the network has {num_classes} classes")
    return list(names), palette


def guessed_classes(num_classes: int) -> tuple[list[str], np.ndarray, str]:
    """Names, palette, and a sentence about where they are from, of weights that say nothing of their classes."""
    if num_classes in GUESSED:
        guess = GUESSED[num_classes]
        names, colour_map = KNOWN[guess]
        why = f"the file names no classes; {num_classes} are taken for those of {guess} (--class-names gives others)"
        return list(names), colour_map(), why
    why = (
        f"the file names no classes; they are called 'class 0' to 'class {num_classes - 1}' (--class-names names them)"
    )
    return [f"class {label}" for label in range(num_classes)], voc_colour_map(), why
