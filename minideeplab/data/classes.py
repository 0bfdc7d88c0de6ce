"""Class lists: the names of the labels, their colours if the list has them, and what stands in for a missing list."""

import collections
import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minideeplab.data.colours import Colour, colour_of_line, find_colours, is_comment, set_palette, void_among
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
    """Names, one a line, in the order of the labels: `name`, `0 name`, or with colours, see `read_colour_lines`.

    The name `__ignore__` is no class: labelme lists it first and stores its pixels as void. In a list with colours a
    line called void, or otherwise as VOID_NAMES, is the colour of void. Lines that begin with # and are no colour are
    left out.

    Raises:
        DataError: fewer than 2 or more than 255 names, or a name that is there twice; colours of some lines only.
    """
    lines = [line for line in read_lines(path) if line and not is_comment(line)]
    longest = max(map(len, lines), default=0)
    if len(lines) > MAX_LINES or longest > MAX_NAME:
        raise DataError(
            f"{path}: {len(lines)} lines, the longest of {longest} characters, which is no class list; "
            "write 2 to 255 names, one per line"
        )
    if path.name == "labelmap.txt":
        lines = [_of_cvat(line) for line in lines]
    entries = _entries(path, lines)
    coloured = any(colour is not None for _, colour in entries)
    void = void_among(path, (name for name, _ in entries)) if coloured else VOID_NAME
    table = [colour for name, colour in entries if name != void]
    names = tuple(name for name, _ in entries if name != void)
    if len(names) == 1:
        raise DataError(
            f"{path}: 1 class name, {names[0]!r}; add background as the first line: label 0 is what is nothing else"
        )
    if not 2 <= len(names) <= 255:
        raise DataError(f"{path}: {len(names)} class names; write 2 to 255 names, one per line")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: the name {repeated!r} is there twice; give each class its own name")
    if not coloured:
        return ClassList(path, names)
    void_colour = None if void is None else np.array(dict(entries)[void], np.uint8)
    return ClassList(path, names, np.array(table, np.uint8), void_colour)


def _of_cvat(line: str) -> str:
    """A line of labelmap.txt: the name alone where CVAT, or somebody else, gives no colour."""
    name, *fields = line.split(":")
    if len(fields) == 3 and fields[0].strip():
        return line
    return " ".join((name, *fields[:1])).strip()


def _entries(path: Path, lines: list[str]) -> list[tuple[str, Colour | None]]:
    """(name, colour) of each line; all have colours, or none has. Numbers before the names are left out."""
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    are_numbered = all(numbered) and [int(match[1]) for match in numbered] == list(range(len(lines)))
    without = [match[2] for match in numbered] if are_numbered else lines
    for names in (without, lines):  # 0 0 0 ground, 1 1 1 road: these are no numbers of labels
        found = [colour_of_line(str(path), line) for line in names]
        if all(found):
            return found
        if any(found):
            odd, other = names[found.index(None)], next(line for line in names if colour_of_line(str(path), line))
            raise DataError(
                f"{path}: {odd[:80]!r} has no colour, and {other[:80]!r} has one; write `name r g b` in each line, "
                "with r, g and b from 0 to 255, or names alone"
            )
    return [(line, None) for line in without]


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
