"""CamVid: in the folders that SegNet ships, or in VOC's.

ROOT/train/ID.png   ROOT/trainannot/ID.png   ROOT/train.txt of lines /SegNet/CamVid/train/ID.png /SegNet/...;
and likewise val and test. The masks are grey, 0 to 10, and 11 is void.
"""

from pathlib import Path

import numpy as np

from minideeplab.data import voc
from minideeplab.data.classes import ClassList, find_class_list
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.lists import is_file, is_pair_list, pairs_by_id, tail_of
from minideeplab.data.pairs import PairedFiles, match
from minideeplab.data.palettes import CAMVID_CLASSES, IGNORE_INDEX, voc_colour_map
from minideeplab.data.splits import require_split

CAMVID_VOID = 11  # in the masks that SegNet ships
# Source: colours of Brostow et al., Semantic object classes in video, 2009, for SegNet's 11 classes
CAMVID_COLOURS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
SPLITS = ("train", "val", "test")


def open_camvid(data: str | Path, split: str | None) -> SegmentationDataset:
    """The 11 classes of CamVid, or those of class_names.txt; of 11 classes label 11 is void as 255 is."""
    root = _segnet_root(data)
    if root is None:
        root = voc.find_root(data)
        classes = find_class_list(root)
        names = classes.names if classes else CAMVID_CLASSES
        return voc.open_folder("camvid", root, split, names, classes, _label_map(names))
    names = classes.names if (classes := find_class_list(root)) else CAMVID_CLASSES
    palette = voc_colour_map()
    palette[: len(CAMVID_COLOURS)] = np.array(CAMVID_COLOURS, np.uint8)
    split = split or "all"
    require_split(root, split, splits(data))
    files, notes = _segnet_files(root, split)
    return PairedFiles(
        "camvid", root, split, tuple(files), names, palette, label_map=_label_map(names), notes=notes, files=files
    )


def splits(data: str | Path) -> tuple[str, ...]:
    """The names of the splits."""
    root = _segnet_root(data)
    if root is None:
        return voc.splits(data)
    return tuple(split for split in SPLITS if (root / split).is_dir() and (root / f"{split}annot").is_dir())


def why_camvid(data: str | Path) -> str | None:
    """Whether SegNet's folders are there, or VOC's with CamVid's classes or in a folder that is called CamVid."""
    if _segnet_root(data):
        return "SegNet's folders train/ and trainannot/ are there"
    root = voc.find_folder(data)
    classes: ClassList | None = find_class_list(root) if root else None
    if classes and classes.names == CAMVID_CLASSES:
        return f"{voc.IMAGES}/ is there, and {classes.path.name} lists CamVid's classes"
    if root and classes is None and "camvid" in root.resolve().name.lower():
        return f"{voc.IMAGES}/ is there, the folder is called {root.resolve().name}, and it has no class list"
    return None


def _segnet_root(data) -> Path | None:
    candidates = (Path(data), Path(data, "CamVid"))
    return next((root for root in candidates if all((root / f"train{end}").is_dir() for end in ("", "annot"))), None)


def _segnet_files(root, split):
    """{id: (image, mask)} of a split: as its list has them, or all in the two folders; and notes."""
    path = root / f"{split}.txt"
    if is_file(path) and is_pair_list(path):
        return pairs_by_id(path, lambda listed: tail_of(root, listed), lambda image: image.stem), ()
    return match(root / split, root / f"{split}annot")


def _label_map(names):
    if len(names) != len(CAMVID_CLASSES):
        return None
    return {label: label for label in range(len(names))} | {CAMVID_VOID: IGNORE_INDEX, IGNORE_INDEX: IGNORE_INDEX}
