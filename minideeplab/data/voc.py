"""The folder layout of PASCAL VOC, which other sets and labelling tools share.

ROOT/JPEGImages/ID.jpg   ROOT/SegmentationClass/ID.png   ROOT/ImageSets/Segmentation/SPLIT.txt
and, for sets other than VOC itself, ROOT/class_names.txt with one name per line, in the order of the labels.
"""

from pathlib import Path, PureWindowsPath

import numpy as np

from minideeplab.data.colours import set_palette
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.folders import find_file
from minideeplab.data.palettes import CAMVID_CLASSES, IGNORE_INDEX, VOC_CLASSES
from minideeplab.errors import DataError

IMAGES, MASKS, SPLITS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
MASK_SUFFIXES = (".png", ".jpg", ".jpeg")  # JPEG: found, so that read_mask can say why it is refused
CAMVID_VOID = 11  # in the masks that SegNet ships


class VocFolder(SegmentationDataset):
    """A split of a data set in VOC's folders."""

    def image_path(self, i: int) -> Path:
        return find_file(self.root / IMAGES, self.ids[i])

    def mask_path(self, i: int) -> Path:
        return find_file(self.root / MASKS, self.ids[i], MASK_SUFFIXES)


def open_voc(data: str | Path, split: str) -> VocFolder:
    """The 21 classes of VOC, whatever class_names.txt says."""
    root = find_root(data)
    return VocFolder("voc", root, split, read_split(root, split), VOC_CLASSES, set_palette(root, (), VOC_CLASSES))


def open_named(data: str | Path, split: str, name: str | None = None) -> VocFolder:
    """The classes that class_names.txt lists, in the colours of the set; `name` of the set: that of its folder.

    Raises:
        DataError: there is no class_names.txt.
    """
    root = find_root(data)
    ids, names = read_split(root, split), read_class_names(root)
    if names is None:
        raise DataError(f"{root / 'class_names.txt'}: no such file; write the names of the classes, one a line")
    return VocFolder(name or root.resolve().name, root, split, ids, names, _palette(root, names))


def open_camvid(data: str | Path, split: str) -> VocFolder:
    """The 11 classes of CamVid, or those of class_names.txt; of 11 classes label 11 is void as 255 is."""
    root = find_root(data)
    ids, names = read_split(root, split), read_class_names(root) or CAMVID_CLASSES
    label_map = None
    if len(names) == len(CAMVID_CLASSES):
        label_map = {label: label for label in range(len(names))}
        label_map |= {CAMVID_VOID: IGNORE_INDEX, IGNORE_INDEX: IGNORE_INDEX}
    return VocFolder("camvid", root, split, ids, names, _palette(root, names), label_map=label_map)


def is_camvid(data: str | Path) -> bool:
    """Whether class_names.txt lists CamVid's classes, or is missing in a folder that is called CamVid."""
    root = _root_of(data)
    if root is None:
        return False
    names = read_class_names(root)
    return names == CAMVID_CLASSES or (names is None and "camvid" in root.resolve().name.lower())


def is_named(data: str | Path) -> bool:
    """Whether class_names.txt lists other classes than VOC's."""
    root = _root_of(data)
    return root is not None and read_class_names(root) not in (None, VOC_CLASSES)


def find_root(data):
    """The folder that holds JPEGImages: `data` itself, or VOC2012 in it or in a VOCdevkit in it.

    Args:
        data: a path.

    Returns:
        pathlib.Path with all three folders of the layout.

    Raises:
        DataError: there is no such folder, or a part of the layout is missing.
    """
    data = Path(data)
    if not data.exists():
        raise DataError(f"{data}: no such folder; give the folder that holds {IMAGES}, or the word 'synthetic'")
    if not data.is_dir():
        raise DataError(f"{data}: a file, not a folder; give the folder that holds {IMAGES}")
    root = _root_of(data)
    if root is None:
        found = ", ".join(sorted(entry.name for entry in data.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{data}: no folder {IMAGES} here or in VOCdevkit/VOC2012 (found: {found}); "
            f"the layout is {IMAGES}/ID.jpg, {MASKS}/ID.png, {SPLITS}/train.txt"
        )
    for part in (MASKS, SPLITS):
        if not (root / part).is_dir():
            raise DataError(f"{root / part}: no such folder; the layout needs {IMAGES}, {MASKS} and {SPLITS}")
    return root


def read_split(root, split):
    """The ids that a split file lists, one per line.

    Args:
        root: a folder from `find_root`.
        split: the file's name without .txt, such as "train".

    Returns:
        tuple of str, in the order of the file.

    Raises:
        DataError: the file is missing, empty or not text, or an id is unsafe or repeated.
    """
    folder = Path(root) / SPLITS
    path = folder / f"{split}.txt"
    splits = sorted(file.stem for file in folder.glob("*.txt"))
    if split not in splits:
        exist = f"the splits here are: {', '.join(splits)}" if splits else f"{folder} holds no .txt file at all"
        raise DataError(f"{path}: no such split file; {exist}")
    ids, seen = [], {}
    for number, line in enumerate(_lines(path), start=1):
        name = line.strip()
        if not name:
            continue
        as_path = PureWindowsPath(name)  # splits at / and \ alike
        if as_path.anchor or ".." in as_path.parts:
            raise DataError(
                f"{path}, line {number}: id {name!r} leads out of the data folder; "
                "write the file's name without folder and extension"
            )
        if name in seen:
            raise DataError(f"{path}, line {number}: id {name!r} is on line {seen[name]} already; remove one")
        seen[name] = number
        ids.append(name)
    if not ids:
        others = ", ".join(name for name in splits if name != path.stem) or "none"
        raise DataError(f"{path}: the split is empty; write one id per line, or take another: {others}")
    return tuple(ids)


def read_class_names(root):
    """The names in ROOT/class_names.txt as a tuple, or None without that file; no background is added."""
    path = Path(root) / "class_names.txt"
    if not path.is_file():
        return None
    names = tuple(line.strip() for line in _lines(path) if line.strip())
    if not 2 <= len(names) <= 255:
        raise DataError(f"{path}: {len(names)} class names; write 2 to 255 names, one per line")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: the name {repeated!r} is there twice; give each class its own name")
    return names


def _root_of(data):
    """The folder that holds JPEGImages, or None."""
    candidates = (Path(data), Path(data, "VOC2012"), Path(data, "VOCdevkit", "VOC2012"))
    return next((folder for folder in candidates if (folder / IMAGES).is_dir()), None)


def _palette(root, names) -> np.ndarray:
    """The colours of the whole set, whatever the split."""
    masks = (path for path in sorted((root / MASKS).iterdir()) if path.suffix.lower() in MASK_SUFFIXES)
    return set_palette(root, masks, names)


def _lines(path):
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as UTF-8 text ({error}); save it as plain text") from error
