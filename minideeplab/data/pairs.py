"""A data set whose images and masks are known file by file, and how files in two folders are matched."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.images import IMAGE_SUFFIXES
from minideeplab.errors import DataError

# Others than PNG are found, so that read_mask can say why it refuses them.
MASK_SUFFIXES = (
    ".png",
    *(suffix for suffix in IMAGE_SUFFIXES if suffix != ".png"),
)
MASK_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_L", "-mask", "-label")
LISTED_NAMES = 5


@dataclass(frozen=True, eq=False)
class PairedFiles(SegmentationDataset):
    """A split whose files are listed.

    Attributes:
        files: id -> (file of the image, file of the mask), of all splits.
    """

    files: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)

    def image_path(self, i: int) -> Path:
        return self._files(i)[0]

    def mask_path(self, i: int) -> Path:
        return self._files(i)[1]

    def _files(self, i):
        name = self.ids[i]
        if name not in self.files:
            raise DataError(
                f"{self.root}: split {self.split!r} lists {name!r}, but there is no such image with a mask; "
                "add the files, or remove the line from the split file"
            )
        return self.files[name]


def files_under(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """{path within the folder without suffix, with /: file}, sorted; of two files the earlier suffix is taken.

    Names that begin with a dot are left out, as are files and folders whose name is not text.
    """
    found: dict[str, Path] = {}
    been = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in been:  # a link to a folder above
            folders.clear()
            continue
        been.add(real)
        folders[:] = sorted(name for name in folders if _is_usable(name))
        inside = os.path.relpath(place, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes and _is_usable(name):
                old = found.get(prefix + stem)
                if old is None or _rank(suffix, suffixes) < _rank(old.suffix, suffixes):
                    found[prefix + stem] = Path(place, name)
    return dict(sorted(found.items()))


def match(images: Path, masks: Path) -> tuple[dict[str, tuple[Path, Path]], tuple[str, ...]]:
    """Each image with its mask: the same name, or with an ending such as _mask; in sub-folders of the same name.

    Returns:
        {id: (image, mask)}, and sentences about what has no partner.

    Raises:
        DataError: no image has a mask.
    """
    found, targets = files_under(images, IMAGE_SUFFIXES), files_under(masks, MASK_SUFFIXES)
    files = {}
    for name, image in found.items():
        mask = next((targets[name + ending] for ending in MASK_ENDINGS if name + ending in targets), None)
        if mask:
            files[name] = image, mask
    if not files:
        shown = [", ".join(list(each)[:3]) or "none" for each in (found, targets)]
        raise DataError(
            f"{images}: no image has a mask of the same name in {masks.name} (images: {shown[0]}; masks: {shown[1]}); "
            f"call the mask of a.jpg a.png or a_mask.png, or give a list of `image mask` lines as --data"
        )
    used = {mask for _, mask in files.values()}
    alone = {
        f"{images}: {{}} without a mask": [name for name in found if name not in files],
        f"{masks}: {{}} without an image": [name for name, mask in targets.items() if mask not in used],
    }
    notes = tuple(f"{text.format(listed(names))}; left out" for text, names in alone.items() if names)
    return files, notes


def listed(names: Sequence[str]) -> str:
    """ "3 files (a, b, c)", and of many names the first."""
    more = ", ..." if len(names) > LISTED_NAMES else ""
    return f"{len(names)} file{'s' * (len(names) > 1)} ({', '.join(names[:LISTED_NAMES])}{more})"


def _rank(suffix, suffixes):
    return suffixes.index(suffix.lower())


def _is_usable(name):
    return not name.startswith(".") and name.isprintable()
