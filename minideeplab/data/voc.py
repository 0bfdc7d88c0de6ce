"""The folder layout of PASCAL VOC, which other sets and labelling tools share.

ROOT/JPEGImages/ID.jpg   ROOT/SegmentationClass/ID.png   ROOT/ImageSets/Segmentation/SPLIT.txt
and, for sets other than VOC itself, a class list. Masks also lie in SegmentationClassAug (the set `trainaug` with the
masks of SBD) and SegmentationClassPNG (labelme2voc); CVAT writes labelmap.txt for the class list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minideeplab.data.classes import ClassList, find_class_list, palette_of
from minideeplab.data.colours import set_palette
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.folders import find_file
from minideeplab.data.images import IMAGE_SUFFIXES
from minideeplab.data.lists import is_pair_list, pairs_by_id, read_ids, tail_of
from minideeplab.data.pairs import MASK_SUFFIXES, files_under, listed
from minideeplab.data.palettes import VOC_CLASSES
from minideeplab.data.splits import VAL_SHARE
from minideeplab.errors import DataError

IMAGES, MASKS, SPLITS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
AUGMENTED = "SegmentationClassAug"  # VOC's masks and those of SBD
MASK_FOLDERS = ("SegmentationClassPNG", MASKS, AUGMENTED)  # where the first is, the second holds .npy files


@dataclass(frozen=True, eq=False)
class VocFolder(SegmentationDataset):
    """A split of a data set in VOC's folders.

    Attributes:
        masks: names of the folders of masks, that to look in first first.
        pairs: id -> (image, mask), of a split file that lists both.
    """

    masks: tuple[str, ...] = (MASKS,)
    pairs: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)

    def image_path(self, i: int) -> Path:
        name = self.ids[i]
        return self.pairs[name][0] if name in self.pairs else find_file(self.root / IMAGES, name)

    def mask_path(self, i: int) -> Path:
        name = self.ids[i]
        return self.pairs[name][1] if name in self.pairs else find_mask(self.root, self.masks, name)


def open_voc(data: str | Path, split: str | None) -> VocFolder:
    """The 21 classes of VOC, whatever class_names.txt says."""
    root = find_root(data)
    return open_folder("voc", root, split, VOC_CLASSES, set_palette(root, (), VOC_CLASSES))


def open_named(data: str | Path, split: str | None, name: str | None = None) -> VocFolder:
    """The classes that a list names, in the colours of the set; `name` of the set: that of its folder.

    Raises:
        DataError: there is no class list.
    """
    root = find_root(data)
    classes = find_class_list(root)
    if classes is None:
        raise DataError(f"{root / 'class_names.txt'}: no such file; write the names of the classes, one a line")
    return open_folder(name or root.resolve().name, root, split, classes.names, classes)


def open_folder(
    name: str,
    root: Path,
    split: str | None,
    class_names: tuple[str, ...],
    colours: np.ndarray | ClassList | None,
    label_map: Mapping[int, int] | None = None,
) -> VocFolder:
    """One split of a folder from `find_root`; every image that has a mask if `split` is None.

    Args:
        colours: the palette, or a class list, see `palette_of`.
    """
    masks, pairs, notes = mask_folders(root, split), {}, ()
    if split is None:
        ids, notes = _all_ids(root, masks)
    elif is_pair_list(path := split_file(root, split)):
        pairs = pairs_by_id(path, lambda listed: tail_of(root, listed), lambda image: image.stem)
        ids = tuple(pairs)
    else:
        others = ", ".join(each for each in split_names(root) if each != split) or "none"
        ids = tuple(_as_named(root, name) for name in read_ids(path, f", or take another: {others}"))
    if not isinstance(colours, np.ndarray):  # of the whole set, whatever the split
        files = (path for path in sorted((root / masks[0]).rglob("*")) if path.suffix.lower() in MASK_SUFFIXES)
        colours = palette_of(root, colours, files)
    return VocFolder(
        name, root, split or "all", ids, class_names, colours,
        label_map=label_map, masks=masks, pairs=pairs, notes=notes,
    )  # fmt: skip


def why_named(data: str | Path) -> str | None:
    """Whether there are VOC's folders and a list of other classes than VOC's."""
    root = find_folder(data)
    classes = find_class_list(root) if root else None
    if classes is None or classes.names == VOC_CLASSES:
        return None
    return f"{IMAGES}/ is there, and {classes.path.name} lists {len(classes.names)} classes"


def why_voc(data: str | Path) -> str | None:
    """Whether there are VOC's folders."""
    root = find_folder(data)
    if root is None:
        return None
    return f"{IMAGES}/ is there, " + ("with VOC's classes" if find_class_list(root) else "without a class list")


def find_root(data: str | Path) -> Path:
    """The folder that holds JPEGImages: `data` itself, or VOC2012 in it or in a VOCdevkit in it.

    Raises:
        DataError: there is no such folder, or there are no masks in it.
    """
    data = Path(data)
    if not data.exists():
        raise DataError(f"{data}: no such folder; give the folder that holds {IMAGES}, or the word 'synthetic'")
    if not data.is_dir():
        raise DataError(f"{data}: a file, not a folder; give the folder that holds {IMAGES}")
    root = find_folder(data)
    if root is None:
        raise DataError(
            f"{data}: no folder {IMAGES} here or in VOCdevkit/VOC2012; "
            f"the layout is {IMAGES}/ID.jpg, {MASKS}/ID.png, {SPLITS}/train.txt"
        )
    if not any((root / folder).is_dir() for folder in MASK_FOLDERS):
        raise DataError(f"{root / MASKS}: no such folder; the layout needs {IMAGES} and {MASKS}")
    return root


def find_folder(data: str | Path) -> Path | None:
    """The folder that holds JPEGImages, or None."""
    candidates = (Path(data), Path(data, "VOC2012"), Path(data, "VOCdevkit", "VOC2012"))
    return next((folder for folder in candidates if (folder / IMAGES).is_dir()), None)


def splits(data: str | Path) -> tuple[str, ...]:
    """The names of the splits of a folder in this layout."""
    return split_names(find_root(data))


def split_names(root: Path) -> tuple[str, ...]:
    """The names of the split files of a folder from `find_root`."""
    return tuple(sorted(file.stem for file in (root / SPLITS).glob("*.txt")))


def split_file(root: Path, split: str) -> Path:
    """The file of a split; DataError with the splits that there are, if it is missing."""
    names = split_names(root)
    path = root / SPLITS / f"{split}.txt"
    if split not in names:
        exist = f"the splits here are: {', '.join(names)}" if names else f"{path.parent} holds no .txt file at all"
        offer = ""
        if split == "val" and "train" in names:
            offer = f"; --val-share {VAL_SHARE} holds 20 % of train.txt out for it"
        raise DataError(f"{path}: no such split file; {exist}{offer}")
    return path


def mask_folders(root: Path, split: str | None) -> tuple[str, ...]:
    """The folders of masks that are there: for a split such as trainaug that with the masks of SBD first."""
    there = [name for name in MASK_FOLDERS if (root / name).is_dir()]
    if AUGMENTED in there and split is not None and "aug" in split:
        there.remove(AUGMENTED)
        there.insert(0, AUGMENTED)
    return tuple(there)


def find_mask(root: Path, folders: tuple[str, ...], name: str) -> Path:
    """The first mask of this name; the message about a missing one is that of the first folder."""
    errors = []
    for folder in folders:
        try:
            return find_file(root / folder, name, MASK_SUFFIXES)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def _as_named(root, name):
    r"""An id with a \ in it, which may belong to the name, as a/b if it was written on Windows."""
    if "\\" in name:
        try:
            find_file(root / IMAGES, name)
        except DataError:
            return name.replace("\\", "/")
    return name


def _all_ids(root, masks):
    """Images with a mask, and what to say of the others."""
    images = list(files_under(root / IMAGES, IMAGE_SUFFIXES))
    named = {name for folder in masks for name in files_under(root / folder, MASK_SUFFIXES)}
    ids = tuple(name for name in images if name in named)
    alone = [name for name in images if name not in named]
    if not ids:
        raise DataError(f"{root}: no image in {IMAGES} has a mask of the same name in {masks[0]}; add the masks")
    return ids, ((f"{root / IMAGES}: {listed(alone)} without a mask; left out",) if alone else ())
