"""Image files in folders, whatever the case of their suffixes; a folder of 10,000 files is listed once."""

import collections
import functools
import os
import time
from collections.abc import Sequence
from pathlib import Path

from minideeplab.data.images import IMAGE_SUFFIXES
from minideeplab.errors import DataError
from minideeplab.files.refusal import shown

LONGEST_NAME = 255


def find_images(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """The image files in a folder, sorted, and the files whose suffix is none of IMAGE_SUFFIXES.

    Folders in it, and names that begin with a dot, are in neither list.
    """
    images, skipped = [], []
    for path in sorted(Path(folder).iterdir()):
        if path.is_file() and not path.name.startswith("."):
            (images if path.suffix.lower() in IMAGE_SUFFIXES else skipped).append(path)
    return images, skipped


def skipped_note(folder: str | Path, skipped: Sequence[Path]) -> str | None:
    """One sentence about the second list of `find_images`; None if it is empty."""
    if not skipped:
        return None
    kinds = collections.Counter(path.suffix.lower() or "no suffix" for path in skipped)
    shown = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))
    return f"{folder}: files that are not read as images: {shown} (suffixes of images: {', '.join(IMAGE_SUFFIXES)})"


def find_file(folder: str | Path, name: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> Path:
    """The file of a folder that is called NAME and a suffix in any case, of several the one whose suffix comes first.

    Args:
        folder: where to look.
        name: without suffix, as in a split file; it may lead into folders of this one.
        suffixes: in small letters.

    Raises:
        DataError: there is no such file.

    Cost: a look-up; the folder is listed at the first call, and again after files came or went.
    """
    if any(len(part.encode(errors="replace")) > LONGEST_NAME for part in name.split("/")):
        raise DataError(
            f"{folder}: the id {shown(name)} is longer than the name of a file can be ({LONGEST_NAME} bytes); "
            "write one id a line into the split file"
        )
    wanted = Path(folder) / f"{name}{suffixes[0]}"
    found = _files_of(wanted.parent).get(wanted.name.removesuffix(suffixes[0]), {})
    for suffix in suffixes:
        if suffix in found and (file := wanted.with_name(found[suffix])).is_file():
            return file
    others = [file for suffix, file in found.items() if suffix not in suffixes]
    there = f"; there is {', '.join(others)}, but what is read are {', '.join(suffixes)}" if others else ""
    hint = "; ids are written without suffix" if Path(name).suffix.lower() in suffixes else ""
    raise DataError(
        f"{wanted}: no such file (nor with another suffix){there}; "
        f"add the file, or remove {name!r} from the split file{hint}"
    )


def twins(path: Path) -> list[Path]:
    """Other images in the folder of an image that have its name but for the suffix: im.bmp beside im.jpg."""
    found = _files_of(path.parent).get(path.stem, {})
    return [path.with_name(file) for suffix, file in found.items() if suffix in IMAGE_SUFFIXES and file != path.name]


def _files_of(folder):
    """{name without suffix: {suffix in small letters: file name}}."""
    try:
        changed = folder.stat().st_mtime_ns
        # Within one tick of its clock a file system gives two changes the same time: a young listing is not kept.
        young = 0 <= time.time_ns() - changed < 2 * 10**9
        return _list(folder) if young else _listing(folder, changed)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return {}


@functools.lru_cache(maxsize=1000)
def _listing(folder, changed):
    """`changed` is the time stamp of the folder: with a new one the folder is listed again."""
    return _list(folder)


def _list(folder):
    files = collections.defaultdict(dict)
    for name in sorted(os.listdir(folder)):  # of a.JPG and a.jpg the latter stays
        stem, suffix = os.path.splitext(name)
        files[stem][suffix.lower()] = name
    return dict(files)
