"""Class lists: the names of the labels, their colours if the list has them, and what stands in for a missing list."""

import collections
import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minideeplab.data.colours import find_colours, set_palette
from minideeplab.data.images import read_image
from minideeplab.data.lists import is_file, read_lines
from minideeplab.data.masks import mask_palette, read_mask
from minideeplab.data.palettes import IGNORE_INDEX, voc_colour_map
from minideeplab.errors import DataError

CLASS_FILES = ("class_names.txt", "classes.txt", "labelmap.txt")
VOID_NAME = "__ignore__"  # of labelme: no class, its pixels are void
BACKGROUND_NAMES = ("_background_", "background", "bg")
MAX_LINES, MAX_NAME = 1000, 500  # beyond them it is another file
MASKS_READ = 500  # of a set without a class list
COLOURED_READ, LISTED_COLOURS = 20, 40

_COLOUR = re.compile(r"(.*?)[\s,;:]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")
_NUMBERED = re.compile(r"(\d{1,3})\s*[\s:=,;]\s*(.+)")


class ClassList(NamedTuple):
    """What a file says of the classes.

    Attributes:
        path: of the file.
        names: name of each label, 0 first.
        colours: (C, 3) uint8 RGB; None if the file has none.
        void: the colour of void pixels, if the file says it.
    """

    path: Path
    names: tuple[str, ...]
    colours: np.ndarray | None = None
    void: np.ndarray | None = None

    def palette(self) -> np.ndarray:
        """(256, 3) uint8: its colours, and VOC's for what it says nothing of."""
        palette = voc_colour_map()
        if self.colours is not None:
            palette[: len(self.colours)] = self.colours
        if self.void is not None:
            palette[IGNORE_INDEX] = self.void
        return palette


def find_class_list(root: str | Path, files: tuple[str, ...] = CLASS_FILES) -> ClassList | None:
    """The first of these files that is in the folder, read; None if none is there; errors as of `read_class_list`."""
    found = [path for name in files if is_file(path := Path(root) / name)]
    return read_class_list(found[0]) if found else None


def read_class_list(path: Path) -> ClassList:
    """Names, one a line, in the order of the labels: `name`, `name r g b`, `0 name`, or CVAT's `name:r,g,b::`.

    The name `__ignore__` is no class: labelme lists it first and stores its pixels as void. Its colour is that of void.

    Raises:
        DataError: fewer than 2 or more than 255 names, or a name that is there twice.
    """
    lines = [line for line in read_lines(path) if line]
    longest = max(map(len, lines), default=0)
    if len(lines) > MAX_LINES or longest > MAX_NAME:
        raise DataError(
            f"{path}: {len(lines)} lines, the longest of {longest} characters, which is no class list; "
            "write 2 to 255 names, one per line"
        )
    if path.name == "labelmap.txt":
        lines = [" ".join(line.split(":")[:2]) for line in lines if not line.startswith("#")]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered) and [int(match[1]) for match in numbered] == list(range(len(lines))):
        lines = [match[2] for match in numbered]
    coloured = [_COLOUR.fullmatch(line) for line in lines]
    colours = void = None
    if lines and all(match and match[1] and max(map(int, match.groups()[1:])) <= 255 for match in coloured):
        lines = [match[1] for match in coloured]
        table = np.array([match.groups()[1:] for match in coloured], np.uint8)
        kept = np.array([name != VOID_NAME for name in lines])
        colours, void = table[kept], None if kept.all() else table[~kept][0]
    names = tuple(name for name in lines if name != VOID_NAME)
    if len(names) == 1:
        raise DataError(
            f"{path}: 1 class name, {names[0]!r}; add background as the first line: label 0 is what is nothing else"
        )
    if not 2 <= len(names) <= 255:
        raise DataError(f"{path}: {len(names)} class names; write 2 to 255 names, one per line")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: the name {repeated!r} is there twice; give each class its own name")
    return ClassList(path, names, colours, void)


def palette_of(root: Path, listed: ClassList | None, masks: Iterable[Path]) -> np.ndarray:
    """(256, 3) uint8: the one table of colours of a data set.

    It is colors.txt in its folder, or else the colours of the class list, or the palette of its masks, or VOC's.

    Raises:
        DataError: colors.txt cannot be used.
    """
    if listed and listed.colours is not None and find_colours(root) in (None, listed.path):
        return listed.palette()
    return set_palette(root, masks, listed.names if listed else None)


def colour_file(root: Path) -> Path | None:
    """The file in the folder of a data set that says the colours of its labels; None if none does."""
    if (path := find_colours(root)) is not None:
        return path
    listed = find_class_list(root)
    return listed.path if listed and listed.colours is not None else None


@functools.lru_cache(maxsize=8)
def found_classes(root: Path, masks: tuple[Path, ...]) -> tuple[tuple[str, ...], str]:
    """Names for the labels that the masks hold, and a sentence about them; of many masks some hundred are read.

    Raises:
        DataError: labels with large gaps, which are no numbers of classes; or masks in colours that VOC does not use.
    """
    looked_at = masks[:: -(-len(masks) // MASKS_READ)]
    values: set[int] = set()
    for path in looked_at:
        try:
            values |= set(np.flatnonzero(np.bincount(read_mask(path).ravel(), minlength=256)).tolist())
        except DataError as error:  # a bad file is for `check` to report
            if colours := _colours(looked_at[:COLOURED_READ], path):
                raise DataError(
                    f"{root}: no class list, and the masks are painted in colours. Write {root / 'classes.txt'} with a "
                    f"line `name r g b` for each class, that of label 0 first. The colours found, the most frequent "
                    f"first: {colours}"
                ) from error
    values -= {IGNORE_INDEX}
    count = max(2, *(value + 1 for value in values), 0)
    shown = ", ".join(map(str, sorted(values)[:20])) + (", ..." if len(values) > 20 else "")
    advice = f"write the names to {root / 'classes.txt'}, one a line, that of label 0 first"
    if count > 20 and len(values) < count / 2:
        raise DataError(
            f"{root}: no class list, and the masks hold the values {shown}, which are no numbers of classes; {advice}, "
            "and say with --label-map FILE which value is which class"
        )
    names = tuple(f"class {label}" for label in range(count))
    return names, f"{root}: no class list; the masks hold the labels {shown}, so there are {count} classes; {advice}"


def _colours(masks: tuple[Path, ...], first: Path) -> str:
    """The colours of masks as "0 0 0 (83 %), ...", if `first` has colours and no palette, and they are not too many."""
    counts: collections.Counter = collections.Counter()
    for path in dict.fromkeys((first, *masks)):
        try:
            if mask_palette(path) is not None:
                continue
            rgb = read_image(path).reshape(-1, 3).astype(np.int64)
        except DataError:
            continue
        if path == first and (rgb == rgb[:, :1]).all():
            return ""  # grey
        codes, pixels = np.unique(rgb @ (65536, 256, 1), return_counts=True)
        counts.update(dict(zip(codes.tolist(), pixels.tolist(), strict=True)))
    if not counts or len(counts) > LISTED_COLOURS:
        return ""
    shares = [(code, 100 * count / counts.total()) for code, count in counts.most_common()]
    return ", ".join(f"{code >> 16} {code >> 8 & 255} {code & 255} ({share:.1f} %)" for code, share in shares)
