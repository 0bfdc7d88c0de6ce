"""Names and colours of classes, for weight files that do not hold them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minideeplab.data import CAMVID_CLASSES, VOC_CLASSES, voc_colour_map
from minideeplab.errors import UsageError

# Source: cityscapesscripts/helpers/labels.py, in the order of the trainIds.
CITYSCAPES = (
    ("road", (128, 64, 128)), ("sidewalk", (244, 35, 232)), ("building", (70, 70, 70)), ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)), ("pole", (153, 153, 153)), ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)), ("vegetation", (107, 142, 35)), ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)), ("person", (220, 20, 60)), ("rider", (255, 0, 0)), ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)), ("bus", (0, 60, 100)), ("train", (0, 80, 100)), ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)  # fmt: skip
KNOWN = {
    "voc": VOC_CLASSES,
    "cityscapes": tuple(name for name, _ in CITYSCAPES),
    "camvid": CAMVID_CLASSES,
    "ade20k": tuple(f"class {value}" for value in range(1, 151)),  # as masks store them
}
LARGEST_FILE = 100_000  # bytes
GUESSED = {21: "voc", 19: "cityscapes"}  # what published weights of so many classes are for


def named_classes(given: str | Path | Sequence[str], num_classes: int) -> tuple[list[str], np.ndarray]:
    """The names and the palette (256, 3) uint8 that were asked for.

    Args:
        given: a name of `KNOWN`, a text file with a name a line in the order of the labels, or the names.

    Raises:
        UsageError: no such list, or it is for another number of classes.
    """
    if isinstance(given, str) and given in KNOWN:
        names = KNOWN[given]
    elif isinstance(given, (str, Path)):
        names = _names_in(Path(given))
    else:
        names = tuple(given)
    if len(names) != num_classes:
        shown = given if isinstance(given, (str, Path)) else ", ".join(names)
        raise UsageError(f"--class-names {shown}: {len(names)} names, but the network has {num_classes} classes")
    return list(names), palette_of(given if isinstance(given, str) else "")


def guessed_classes(num_classes: int) -> tuple[list[str], np.ndarray, str]:
    """Names, palette, and a sentence about where they are from, of weights that say nothing of their classes."""
    if num_classes in GUESSED:
        guess = GUESSED[num_classes]
        why = f"the file names no classes; {num_classes} are taken for those of {guess} (--class-names gives others)"
        return list(KNOWN[guess]), palette_of(guess), why
    why = (
        f"the file names no classes; they are called 'class 0' to 'class {num_classes - 1}' (--class-names names them)"
    )
    return [f"class {label}" for label in range(num_classes)], palette_of(""), why


def palette_of(name: str) -> np.ndarray:
    """(256, 3) uint8: the colours of Cityscapes by that name, else VOC's."""
    palette = voc_colour_map()
    if name == "cityscapes":
        palette[: len(CITYSCAPES)] = np.array([colour for _, colour in CITYSCAPES], np.uint8)
    return palette


def _names_in(path: Path) -> tuple[str, ...]:
    want = f"give a text file with a name a line, or one of {', '.join(KNOWN)}"
    if not path.is_file():
        raise UsageError(f"--class-names {path}: no such file; {want}")
    if path.stat().st_size > LARGEST_FILE:
        raise UsageError(f"--class-names {path}: {path.stat().st_size} bytes are no list of names; {want}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--class-names {path}: not readable as text ({error}); {want}") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"--class-names {path}: the name {repeated!r} is there twice; give each class its own")
    return names
