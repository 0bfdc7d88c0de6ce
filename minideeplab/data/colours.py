"""The colours of a data set: one table for all of its masks, and where masks contradict it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from minideeplab.data.masks import stored_palette, stored_values
from minideeplab.data.palettes import IGNORE_INDEX, VOID_NAMES, voc_colour_map
from minideeplab.errors import DataError

CVAT_FILE = "labelmap.txt"
COLOUR_FILES = ("colors.txt", "colours.txt", CVAT_FILE)
MAX_BYTES, MAX_LINE = 1_000_000, 600
LISTED = 10
_CVAT = re.compile(r"(?P<name>[^:]+):(?P<colour>[^:]*):[^:]*:[^:]*")
_HEX = re.compile(r"#([0-9a-fA-F]{6})(?=[\s,;]|$)")
Colour = tuple[int, int, int]


def find_colours(root: str | Path) -> Path | None:
    """The table of colours in the root of a data set; None if there is none, or a labelmap.txt that is not CVAT's."""
    for path in (Path(root) / name for name in COLOUR_FILES):
        if path.is_file() and (path.name != CVAT_FILE or any(_CVAT.fullmatch(line.strip()) for line in _lines(path))):
            return path
    return None


def read_colour_lines(path: str | Path) -> list[tuple[str, Colour]]:
    """The names and colours of a table, in its order.

    Lines are `r g b name` or `name r g b`, with spaces or commas, or with `#rrggbb` for r g b; or `name:r,g,b::`, as in
    CVAT's labelmap.txt. Empty lines, and lines that begin with # and are no colour, are left out.

    Raises:
        DataError: not a text of such lines, a name or a colour occurs twice, or there are none.
    """
    path, found = Path(path), []
    for number, line in enumerate(_lines(path), start=1):
        line = line.strip()
        if line and not is_comment(line):
            entry = colour_of_line(f"{path}, line {number}", line)
            if entry is None:
                raise DataError(
                    f"{path}, line {number}: {line[:80]!r} is not 'r g b name', with r, g and b from 0 to 255"
                )
            found.append(entry)
    if not found:
        raise DataError(f"{path}: no colours; write one 'r g b name' a line, or remove the file")
    for what, column in (("name", 0), ("colour", 1)):
        seen = set()
        for entry in found:
            if entry[column] in seen:
                raise DataError(f"{path}: the {what} {entry[column]!r} is there twice; give each class its own {what}")
            seen.add(entry[column])
    return found


def is_comment(line: str) -> bool:
    """Whether a line begins with #, and not with a colour."""
    return line.startswith("#") and not _HEX.match(line)


def void_among(path: Path, names: Iterable[str], class_names: Sequence[str] = ()) -> str | None:
    """The name by which a table of colours calls void: none of these classes; DataError if there are two."""
    void = [name for name in names if name.lower() in VOID_NAMES and name not in class_names]
    if len(void) > 1:
        raise DataError(f"{path}: {' and '.join(void)} are both void, which has one colour; remove all but one of them")
    return void[0] if void else None


def read_colours(
    root: str | Path, class_names: Sequence[str] | None = None, ignore_index: int = IGNORE_INDEX
) -> np.ndarray | None:
    """The table of colours of a data set: colors.txt, colours.txt or CVAT's labelmap.txt in its root.

    Args:
        root: folder of the data set.
        class_names: name of each label; the lines are found by these. None: line k is the colour of label k.
        ignore_index: the label of void; its line is called void, ignore or unlabelled.

    Returns:
        (256, 3) uint8, the colour of each label; None without such a file.

    Raises:
        DataError: see `read_colour_lines`; or names that are not those of the classes.
    """
    path = find_colours(root)
    if path is None:
        return None
    colours = dict(read_colour_lines(path))
    void = void_among(path, colours, class_names or ())
    names = tuple(class_names) if class_names is not None else tuple(name for name in colours if name != void)
    if missing := [name for name in names if name not in colours]:
        raise DataError(
            f"{path}: no colour of class {missing[0]!r}; write a line for each class: {', '.join(names[:20])}"
        )
    if strange := [name for name in colours if name not in (*names, void)]:
        raise DataError(
            f"{path}: {strange[0]!r} is none of the classes ({', '.join(names[:20])}); "
            "remove its line, add it to the class names, or call it void"
        )
    if len(names) > 255:
        raise DataError(f"{path}: {len(names)} colours; a data set has up to 255 classes")
    palette = voc_colour_map()
    palette[: len(names)] = [colours[name] for name in names]
    if void:
        palette[ignore_index] = colours[void]
    return palette


def set_palette(
    root: str | Path, masks: Iterable[Path], class_names: Sequence[str] | None = None, ignore_index: int = IGNORE_INDEX
) -> np.ndarray:
    """The one table of colours of a data set: its file, else the palette of its masks, else VOC's colours.

    Args:
        root: folder of the data set.
        masks: its mask files, whatever the split; the first ten that are asked for tell.
        class_names, ignore_index: as of `read_colours`.

    Raises:
        DataError: the file cannot be used.
    """
    if (palette := read_colours(root, class_names, ignore_index)) is not None:
        return palette
    for path, _ in zip(masks, range(10), strict=False):
        try:
            stored = stored_palette(path)
        except DataError:  # which `check` then reports
            continue
        if stored is not None and not _is_grey(stored):
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(stored)] = stored
            return palette
    return voc_colour_map()


class PaletteAgreement:
    """Finds masks whose palettes contradict each other, or the table of the data set: red is 1 here, and 2 there.

    Only the values that a mask holds count, so that a palette may say anything of labels that do not occur; grey
    palettes say nothing. An `add` reads the header of a file; masks are decoded once more only if palettes differ.

    Args:
        dataset: with class_names, palette, ignore_index, label_map and colour_map; one object serves several splits
            of it.
        table: the file that its palette is from; None where that is a palette of its masks, or of nobody.
    """

    def __init__(self, dataset, table: Path | None = None):
        self._names, self._void = dataset.class_names, dataset.ignore_index
        self._labels = dataset.label_map or {label: label for label in (*range(len(self._names)), self._void)}
        self._table = table
        self._labels_of: dict[Colour, set[int]] = {}
        if self._table is not None:
            rows = dataset.colour_map or {label: label for label in (*range(len(self._names)), self._void)}
            for row in sorted(rows, reverse=True):  # of equal colours a class wins over void
                # A label map mends wrong numbers, of classes whose colours are right; or it merges classes.
                self._labels_of[_colour(dataset.palette[row])] = {row, rows[row]}
        self._files: dict[bytes, list[Path]] = {}

    def add(self, path: str | Path) -> None:
        """Takes note of the palette of a mask; files that are no masks are left to `read_mask`."""
        try:
            palette = stored_palette(path)
        except DataError:
            return
        if palette is not None and not _is_grey(palette):
            used = palette[[value for value in sorted(self._labels) if value < len(palette)]]
            self._files.setdefault(used.tobytes(), []).append(Path(path))

    def problem(self) -> str | None:
        """What contradicts what, with files, and what to do; None if all agree."""
        if len(self._files) < 2 and not self._labels_of:
            return None
        uses = self._uses()
        wrong = [value for value in sorted(uses) if self._contradicts(value, uses)]
        if not wrong:
            return None
        lines = ["the colours of the masks contradict each other, so that one label has several meanings:"]
        for value in wrong[:LISTED]:
            found = [f"{colour} in {_shown(files)}" for colour, files in uses[value].items()]
            found += [
                f"{c} in {self._table.name}" for c, labels in self._labels_of.items() if self._labels[value] in labels
            ]
            lines.append(f"  {self._name(value)}: {'; '.join(found)}")
        if len(wrong) > LISTED:
            lines.append(f"  ... and {len(wrong) - LISTED} more labels")
        lines.append(
            "  export all masks with one palette; or, if the colours are right and the numbers are not, write the file "
            "colors.txt, 'r g b name' a line, and save each mask as RGB: Image.open(f).convert('RGB').save(f)"
        )
        return "\n".join(lines)

    def _uses(self):
        """{stored value: {colour: the files in which this value occurs with this colour}}."""
        uses: dict[int, dict[Colour, list[Path]]] = {}
        for path in (path for files in self._files.values() for path in files):
            palette = stored_palette(path)
            for value in np.unique(stored_values(path)).tolist():
                if value in self._labels and value < len(palette):
                    uses.setdefault(value, {}).setdefault(_colour(palette[value]), []).append(path)
        return uses

    def _contradicts(self, value, uses):
        label = self._labels[value]
        if any(label not in self._labels_of.get(colour, {label}) for colour in uses[value]):
            return True
        if label != self._void:
            return len(uses[value]) > 1
        # Void may be white here and black there, as long as neither is the colour of a class.
        return any(uses[value].keys() & uses[other].keys() for other in uses if self._labels[other] != self._void)

    def _name(self, value):
        label = self._labels[value]
        stored = f"value {value}, " * (value != label)
        return f"{stored}label {label} ({'void' if label == self._void else self._names[label]})"


def colour_of_line(where: str, line: str) -> tuple[str, Colour] | None:
    """(name, (r, g, b)) of a line of `read_colour_lines`; None if it has no colour.

    Args:
        where: the file, and the line if need be, for messages.

    Raises:
        DataError: two colours, or no name.
    """
    if match := _CVAT.fullmatch(line):
        name, parts = match["name"].strip(), [part.strip() for part in match["colour"].split(",")]
    elif match := _HEX.search(line):
        parts = [str(int(match[1][k : k + 2], 16)) for k in (0, 2, 4)]
        name = " ".join(re.split(r"[\s,;]+", (line[: match.start()] + " " + line[match.end() :]).strip(" ,;\t")))
    else:
        words = re.split(r"[\s,;]+", line.strip(" ,;\t"))
        first, last = (len(three) == 3 and all(map(_is_number, three)) for three in (words[:3], words[-3:]))
        if first and last and len(words) > 3:
            raise DataError(
                f"{where}: {line[:80]!r} has two colours; write the name in letters, or the colour as #rrggbb"
            )
        parts, name = (words[:3], " ".join(words[3:])) if first else (words[-3:], " ".join(words[:-3]))
    if len(parts) != 3 or not all(map(_is_number, parts)):
        return None
    if not name:
        raise DataError(f"{where}: {line[:80]!r} names no class; write 'r g b name'")
    return name, tuple(map(int, parts))


def _is_number(word):
    return word.isascii() and word.isdecimal() and len(word) <= 3 and int(word) <= 255


def _lines(path):
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: more than {MAX_BYTES:,} bytes; a table of colours has one line for each class")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as UTF-8 text ({error}); save it as plain text") from error
    if (longest := max(map(len, lines), default=0)) > MAX_LINE:
        raise DataError(
            f"{path}: a line of {longest} characters; a table of colours has up to {MAX_LINE} for each class"
        )
    return lines


def _is_grey(palette):
    """Whether a palette is a ramp of greys, which programs write when nobody has chosen colours."""
    return bool((palette == palette[:, :1]).all()) and len(palette) > 2


def _colour(row):
    return tuple(row.tolist())


def _shown(files):
    names = ", ".join(path.name for path in files[:3])
    return names if len(files) <= 3 else f"{len(files)} masks ({names}, ...)"
