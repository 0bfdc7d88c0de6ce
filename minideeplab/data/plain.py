"""Plain folders: ROOT/images/ID.jpg, ROOT/masks/ID.png and ROOT/classes.txt, by these names or similar ones.

Sub-folders belong to the id. Splits are files of ids, sub-folders called train and val, or ROOT/train/images; without
any of them a share of the images is held out, see `splits`.
"""

from pathlib import Path

from minideeplab.data.classes import find_class_list, found_classes, palette_of
from minideeplab.data.pairs import MASK_SUFFIXES, PairedFiles, files_under, match
from minideeplab.data.splits import ALIASES, USUAL, find_splits, ids_of
from minideeplab.errors import DataError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "segmentations")
LAYOUT = "images/ID.jpg, masks/ID.png and classes.txt"


def why_plain(data: str | Path) -> str | None:
    """Whether there is a folder of images, here or in a folder for training."""
    root = Path(data)
    if not root.is_dir():
        return None
    places = _places(root)
    if not places:
        return None
    images, masks = next(iter(places.values()))
    if not files_under(masks, MASK_SUFFIXES):  # such as JSON files
        return None
    return f"{images.relative_to(root).as_posix()}/ and {masks.relative_to(root).as_posix()}/ are there"


def splits(data: str | Path) -> tuple[str, ...]:
    """The names of the splits; none if the set has none."""
    everything = _everything(data)
    return tuple(find_splits(everything.root, everything.ids).parts)


def open_plain(data: str | Path, split: str | None) -> PairedFiles:
    """One split, or every image with a mask; the classes of the list, or without one those that the masks hold."""
    everything = _everything(data)
    root, ids, notes = everything.root, everything.ids, everything.notes
    if split is not None:
        ids = ids_of(find_splits(root, ids), split, ids)
    classes = find_class_list(root)
    masks = tuple(mask for _, mask in everything.files.values())
    if classes:
        names = classes.names
    else:
        names, note = found_classes(root, masks)
        notes = (*notes, note)
    return PairedFiles(
        root.resolve().name, root, split or "all", ids, names, palette_of(root, classes, masks),
        notes=notes, files=everything.files,
    )  # fmt: skip


def _everything(data) -> PairedFiles:
    """All images with a mask, without classes."""
    root = Path(data)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; the layout is {LAYOUT}")
    places = _places(root)
    if not places:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
        raise DataError(f"{root}: no folders of images and masks (found: {found}); the layout is {LAYOUT}")
    files, notes = {}, ()
    for place, (images, masks) in places.items():
        matched, more = match(images, masks)
        files |= {f"{place}/{name}" if place else name: pair for name, pair in matched.items()}
        notes += more
    return PairedFiles("", root, "all", tuple(files), (), None, notes=notes, files=files)


def _places(root: Path) -> dict[str, tuple[Path, Path]]:
    """{"": (images, masks)} of this folder; or the same of each split, if the folders of the splits hold them."""
    if pair := _pair(root):
        return {"": pair}
    folders = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    pairs = {ALIASES.get(name, name): _pair(path) for name, path in folders.items() if name in USUAL}
    return {split: pair for split, pair in pairs.items() if pair}


def _pair(root):
    folders = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    images = next((folders[name] for name in IMAGE_FOLDERS if name in folders), None)
    masks = next((folders[name] for name in MASK_FOLDERS if name in folders), None)
    return (images, masks) if images and masks else None
