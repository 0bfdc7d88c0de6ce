"""Cityscapes: ROOT/leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png and ROOT/gtFine/SPLIT/CITY/ID_gtFine_labelIds.png.

The masks number 34 kinds of things, of which 19 are classes (trainIds) and the others void. Masks that hold trainIds
already, ID_gtFine_labelTrainIds.png, are read where those of labelIds are missing.

Source: cityscapesscripts/helpers/labels.py of the data set's authors: numbers, names and colours.
"""

from pathlib import Path

import numpy as np

from minideeplab.data.images import IMAGE_SUFFIXES
from minideeplab.data.pairs import PairedFiles, files_under, listed
from minideeplab.data.palettes import IGNORE_INDEX, voc_colour_map
from minideeplab.data.splits import require_split
from minideeplab.errors import DataError

# labelId, name, colour; in the order of the trainIds
CITYSCAPES = (
    (7, "road", (128, 64, 128)), (8, "sidewalk", (244, 35, 232)), (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)), (13, "fence", (190, 153, 153)), (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)), (20, "traffic sign", (220, 220, 0)), (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)), (23, "sky", (70, 130, 180)), (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)), (26, "car", (0, 0, 142)), (27, "truck", (0, 0, 70)), (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)), (32, "motorcycle", (0, 0, 230)), (33, "bicycle", (119, 11, 32)),
)  # fmt: skip
CITYSCAPES_CLASSES = tuple(name for _, name, _ in CITYSCAPES)
LABEL_IDS = {label: value for label, (value, _, _) in enumerate(CITYSCAPES)}  # trainId -> labelId
IMAGES, MASKS = "leftImg8bit", "gtFine"
IMAGE_ENDING, ENDINGS = "_leftImg8bit", ("_gtFine_labelIds", "_gtFine_labelTrainIds")
LAST_LABEL_ID = 33


def cityscapes_colour_map() -> np.ndarray:
    """(256, 3) uint8: the colours of the trainIds, those of VOC for all other labels."""
    palette = voc_colour_map()
    palette[: len(CITYSCAPES)] = np.array([colour for _, _, colour in CITYSCAPES], np.uint8)
    return palette


def why_cityscapes(data: str | Path) -> str | None:
    """Whether the two folders are there."""
    return f"{IMAGES}/ and {MASKS}/ are there" if _find_root(data) else None


def splits(data: str | Path) -> tuple[str, ...]:
    """The splits that have images and masks."""
    root = _root(data)
    return tuple(sorted(path.name for path in (root / IMAGES).iterdir() if (root / MASKS / path.name).is_dir()))


def open_cityscapes(data: str | Path, split: str | None) -> PairedFiles:
    """The 19 classes; ids are CITY/ID, and `stored_labels` tells the labelId of each class."""
    root, split = _root(data), split or "train"
    require_split(root / IMAGES, split, splits(data))
    images = files_under(root / IMAGES / split, IMAGE_SUFFIXES)
    masks = files_under(root / MASKS / split, (".png",))
    files, alone, kinds = {}, [], set()
    for name, image in images.items():
        key = name.removesuffix(IMAGE_ENDING)
        ending = next((ending for ending in ENDINGS if key + ending in masks), None)
        if ending is None:
            alone.append(key)
        else:
            files[key] = image, masks[key + ending]
            kinds.add(ending)
    if not files:
        raise DataError(
            f"{root / MASKS / split}: no mask ID{ENDINGS[0]}.png for any of the {len(images)} images in "
            f"{root / IMAGES / split}, which are called CITY/ID{IMAGE_ENDING}.png; unpack gtFine_trainvaltest there"
        )
    if len(kinds) > 1:
        raise DataError(
            f"{root / MASKS / split}: some images have a mask of labelIds, others of labelTrainIds only; "
            "make all of one kind"
        )
    if kinds == {ENDINGS[0]}:
        label_map = dict.fromkeys((*range(LAST_LABEL_ID + 1), IGNORE_INDEX), IGNORE_INDEX)  # licence plates: -1 is 255
        label_map |= {value: label for label, value in LABEL_IDS.items()}
    else:
        label_map = {label: label for label in (*LABEL_IDS, IGNORE_INDEX)}
    return PairedFiles(
        "cityscapes", root, split, tuple(files), CITYSCAPES_CLASSES, cityscapes_colour_map(),
        label_map=label_map, stored_labels=LABEL_IDS, files=files,
        notes=(f"{root / IMAGES / split}: {listed(alone)} without a mask; left out",) if alone else (),
    )  # fmt: skip


def _root(data) -> Path:
    root = _find_root(data)
    if root is None:
        raise DataError(
            f"{data}: no folders {IMAGES} and {MASKS} here; the layout is {IMAGES}/SPLIT/CITY/ID{IMAGE_ENDING}.png and "
            f"{MASKS}/SPLIT/CITY/ID{ENDINGS[0]}.png"
        )
    return root


def _find_root(data) -> Path | None:
    candidates = (Path(data), Path(data, "cityscapes"), Path(data, "Cityscapes"))
    return next((root for root in candidates if (root / IMAGES).is_dir() and (root / MASKS).is_dir()), None)
