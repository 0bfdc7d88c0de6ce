"""Label maps: which label a value in the masks means, said by the user; and which label is void."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.lists import read_lines
from minideeplab.data.palettes import IGNORE_INDEX, VOID_NAMES
from minideeplab.errors import DataError
from minideeplab.files.json_text import parse_json_object
from minideeplab.files.refusal import Refusal

BINARY = "binary"  # by name: two classes that a painting program stored as 0 and 255
REST = "*"
_LINE = re.compile(r"""(\*|\d{1,3})\s*(?:->|=>|[\s,;:=])\s*(\S.*)""")

LabelMap = Mapping[int | str, int | str]


def read_label_map(source: str | Path) -> dict[int | str, int | str]:
    """{stored value or "*": label or name of a class}, of a file or a name.

    Args:
        source: "binary"; the path of a file of lines `stored label` or `stored -> name`, or of a JSON object; or such
            an object as text.

    Raises:
        DataError: no such file, or a line that is none of these.
    """
    if source == BINARY:
        return {0: 0, 255: 1}
    text = str(source)
    if text.lstrip().startswith("{"):
        return _of_json("the label map", text)
    lines = read_lines(source)
    if "".join(lines).startswith("{"):
        return _of_json(source, "\n".join(lines))
    items = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise DataError(
                f"{source}, line {number}: {line[:80]!r}; write `stored label` or `stored -> name`, such as 255 1"
            )
        items.append((match[1], match[2], f"{source}, line {number}"))
    return _checked(source, items)


def label_map_text(source: str | Path) -> str:
    """A label map as text that `read_label_map` takes: a run keeps it, whatever becomes of the file; errors as there.

    The word "binary" stays as it is.
    """
    if source == BINARY:
        return BINARY
    return json.dumps({str(stored): label for stored, label in read_label_map(source).items()})


def relabelled(
    dataset: SegmentationDataset, label_map: LabelMap | str | Path | None, ignore_index: int | None
) -> SegmentationDataset:
    """A data set that reads its masks by another map, or with another void.

    Args:
        dataset: as its layout opens it.
        label_map: stored value -> label or name, in place of the layout's own map; "*" is any other value. Or what
            `read_label_map` takes. None: as the layout has it. A colour of an RGB mask counts as the value of its
            class; where the map says nothing of that, the colour means its class.
        ignore_index: the label of void, 0 to 255; what was void before still is. -1 is 255, for so 8 bits store -1.
            The classes keep their numbers. None: as the layout has it.

    Raises:
        DataError: a label that is no class, two classes needed for "binary", a name that is no class.
        ValueError: `ignore_index` out of range, or a class of a layout whose masks are renumbered as they are read.
    """
    if label_map is None and ignore_index is None:
        return dataset
    void = dataset.ignore_index if ignore_index is None else ignore_index
    if not -1 <= void <= 255:
        raise ValueError(f"ignore_index must lie in -1..255, got {void}")
    void = IGNORE_INDEX if void == -1 else void
    if label_map is not None:
        return _with_map(dataset, _resolved(dataset, label_map, void), void)
    if dataset.label_map is not None and void < dataset.num_classes:
        before = ", ".join(str(value) for value, label in dataset.label_map.items() if label == dataset.ignore_index)
        raise ValueError(
            f"ignore_index {void}: the masks of {dataset.name} are renumbered as they are read, and {void} is then "
            f"{dataset.class_names[void]!r}; void are the stored values {before} already. Leave it out, or give a "
            "label map"
        )
    own = _own_map(dataset)
    new = {value: void if label == dataset.ignore_index else label for value, label in own.items()} | {void: void}
    return _with_map(dataset, new, void)


def _own_map(dataset) -> dict[int, int]:
    """{stored value: label}, as the layout has it."""
    if dataset.label_map is not None:
        return dict(dataset.label_map)
    return {label: label for label in (*range(dataset.num_classes), dataset.ignore_index)}


def _with_map(dataset, new, void) -> SegmentationDataset:
    """The data set with another map and void, for values and for colours."""
    rows = {label: label for label in range(dataset.num_classes)} | {dataset.ignore_index: void}
    rows |= {label: new[value] for value, label in _own_map(dataset).items() if value in new}
    palette = dataset.palette
    if void >= dataset.num_classes:  # a class keeps its colour
        palette = palette.copy()
        palette[void] = palette[dataset.ignore_index]
    return dataclasses.replace(dataset, ignore_index=void, label_map=new, palette=palette, colour_map=rows)


def _resolved(dataset, label_map, void) -> dict[int, int]:
    """{stored value: label} with names and "*" replaced."""
    binary = isinstance(label_map, str) and label_map == BINARY
    if binary and dataset.num_classes != 2:
        raise DataError(
            f"{dataset.root}: the label map 'binary' is for two classes, and this set has {dataset.num_classes}; write "
            "the two names to class_names.txt, or give a label map of your own"
        )
    items = label_map if isinstance(label_map, Mapping) else read_label_map(label_map)
    numbers = {name: label for label, name in enumerate(dataset.class_names)}
    for name in VOID_NAMES:
        numbers.setdefault(name, void)
    new = {}
    for stored, wanted in items.items():
        label = numbers.get(wanted, wanted)
        label = void if label == IGNORE_INDEX else label
        if not isinstance(label, int) or not (0 <= label < dataset.num_classes or label == void):
            raise DataError(
                f"{dataset.root}: the label map turns {stored} into {wanted!r}, which is none of the "
                f"{dataset.num_classes} classes ({', '.join(dataset.class_names[:20])}) nor 'void'; correct the map, "
                "or the class list"
            )
        new[stored] = label
    if REST in new:
        rest = new.pop(REST)
        return {value: new.get(value, rest) for value in range(256)}
    new.setdefault(void, void)
    return new


def _of_json(source, text):
    try:
        content = parse_json_object(text)
    except Refusal as error:
        raise DataError(f"{source}: not readable as JSON ({error}); write lines `stored label`") from error
    items = []
    for stored, label in content.items():
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise DataError(f"{source}: the label of {stored!r} is a {type(label).__name__}; write a number or a name")
        items.append((stored, str(label), str(source)))
    return _checked(source, items)


def _checked(source, items):
    """[(stored, label, where)] as text -> {stored: label}."""
    found: dict[int | str, int | str] = {}
    for stored, label, where in items:
        stored, label = stored.strip(), label.strip().strip("\"'")
        if stored != REST and not (re.fullmatch("[0-9]{1,3}", stored) and int(stored) <= 255):
            raise DataError(f"{where}: {stored[:20]!r} is no value of a mask; write 0 to 255, or * for the rest")
        key = REST if stored == REST else int(stored)
        if key in found:
            raise DataError(f"{where}: {key} is there already; remove one")
        found[key] = int(label) if re.fullmatch("[0-9]{1,3}", label) else label
    if not found:
        raise DataError(f"{source}: an empty label map; write lines `stored label`, such as 255 1")
    return found
