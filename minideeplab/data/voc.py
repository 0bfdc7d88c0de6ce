"""The folder layout of PASCAL VOC, which other sets and labelling tools share.

ROOT/JPEGImages/ID.jpg   ROOT/SegmentationClass/ID.png   ROOT/ImageSets/Segmentation/SPLIT.txt
and, for sets other than VOC itself, ROOT/class_names.txt with one name per line, in the order of the labels.
"""

from pathlib import Path, PureWindowsPath

from minideeplab.errors import DataError

IMAGES, MASKS, SPLITS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
MASK_SUFFIXES = (".png", ".PNG", ".jpg", ".jpeg")  # JPEG: found, so that read_mask can say why it is refused


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
    candidates = (data, data / "VOC2012", data / "VOCdevkit" / "VOC2012")
    root = next((folder for folder in candidates if (folder / IMAGES).is_dir()), None)
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


def find_file(folder, name, suffixes):
    """The file NAME + suffix that exists in a folder; DataError if there is none."""
    for suffix in suffixes:
        path = Path(folder) / f"{name}{suffix}"
        if path.is_file():
            return path
    hint = "; ids are written without suffix" if Path(name).suffix in suffixes else ""
    raise DataError(
        f"{Path(folder) / name}{suffixes[0]}: no such file (nor with another suffix); "
        f"add the file, or remove {name!r} from the split file{hint}"
    )


def _lines(path):
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as UTF-8 text ({error}); save it as plain text") from error
