"""ADE20K in the form of SceneParse150: ROOT/images/training/ID.jpg and ROOT/annotations/training/ID.png.

The masks hold 1 to 150, and 0 where nothing is named: 0 is read as void, and k as label k - 1.

Source: github.com/CSAILVision/sceneparsing, README.
"""

from pathlib import Path

import numpy as np

from minideeplab.data.classes import find_class_list
from minideeplab.data.images import IMAGE_SUFFIXES
from minideeplab.data.lists import is_file, read_lines
from minideeplab.data.pairs import PairedFiles, match
from minideeplab.data.palettes import IGNORE_INDEX, voc_colour_map
from minideeplab.data.splits import require_split
from minideeplab.errors import DataError

ADE20K_COUNT = 150
IMAGES, MASKS = "images", "annotations"
FOLDERS = {"train": "training", "val": "validation"}
NAMES_FILE = "objectInfo150.txt"  # a table with a heading; the last column holds the names of a class


def ade20k_colour_map() -> np.ndarray:
    """(256, 3) uint8: VOC's colours of the values that the masks store."""
    palette = np.roll(voc_colour_map(), -1, axis=0)
    palette[IGNORE_INDEX] = voc_colour_map()[IGNORE_INDEX]
    return palette


def numbered_classes() -> tuple[str, ...]:
    """Names without a list of them: the numbers that the masks store."""
    return tuple(f"class {value}" for value in range(1, ADE20K_COUNT + 1))


def why_ade20k(data: str | Path) -> str | None:
    """Whether the folders of images and annotations have one for training each."""
    root = _find_root(data)
    if root is None or find_class_list(root):  # with a list of classes it is a set of somebody's own
        return None
    return f"{IMAGES}/training/ and {MASKS}/training/ are there, and no class list"


def splits(data: str | Path) -> tuple[str, ...]:
    """The splits that are there, by the names train and val."""
    root = _root(data)
    return tuple(split for split, folder in FOLDERS.items() if _has(root, folder))


def open_ade20k(data: str | Path, split: str | None) -> PairedFiles:
    """The 150 classes; training is another name of train, and validation of val."""
    root = _root(data)
    split = {folder: name for name, folder in FOLDERS.items()}.get(split, split or "train")
    require_split(root / IMAGES, split, splits(data))
    files, notes = match(root / IMAGES / FOLDERS[split], root / MASKS / FOLDERS[split])
    stored = {label: label + 1 for label in range(ADE20K_COUNT)}
    label_map = {value: label for label, value in stored.items()} | {0: IGNORE_INDEX, IGNORE_INDEX: IGNORE_INDEX}
    return PairedFiles(
        "ade20k", root, split, tuple(files), _class_names(root), ade20k_colour_map(),
        label_map=label_map, stored_labels=stored, files=files, notes=notes,
    )  # fmt: skip


def _class_names(root) -> tuple[str, ...]:
    """The first name of each class in objectInfo150.txt; without this file their numbers in the masks."""
    path = root / NAMES_FILE
    if not is_file(path):
        return numbered_classes()
    rows = [line.split("\t") for line in read_lines(path) if line]
    names = [row[-1].split(",")[0].strip() for row in rows if row[0].strip().isdigit()]
    if len(names) != ADE20K_COUNT or not all(names):
        raise DataError(f"{path}: {len(names)} classes, not {ADE20K_COUNT}; download the file again, or remove it")
    counts: dict[str, int] = {}
    for place, name in enumerate(names):  # two classes of the list share a first name
        counts[name] = counts.get(name, 0) + 1
        names[place] = name if counts[name] == 1 else f"{name} {counts[name]}"
    return tuple(names)


def _root(data) -> Path:
    root = _find_root(data)
    if root is None:
        raise DataError(
            f"{data}: no folders {IMAGES}/training and {MASKS}/training here; the layout is {IMAGES}/training/ID.jpg "
            f"and {MASKS}/training/ID.png, and the same with validation (suffixes: {', '.join(IMAGE_SUFFIXES)})"
        )
    return root


def _find_root(data) -> Path | None:
    candidates = (Path(data), Path(data, "ADEChallengeData2016"))
    return next((root for root in candidates if _has(root, "training")), None)


def _has(root, folder):
    return (root / IMAGES / folder).is_dir() and (root / MASKS / folder).is_dir()
