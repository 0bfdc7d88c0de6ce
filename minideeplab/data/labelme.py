"""labelme's JSON files beside photographs: their shapes are drawn when a mask is asked for.

ROOT/a.jpg, ROOT/a.json; sub-folders belong to the id. The class list is ROOT/classes.txt or labels.txt; without one the
labels of all shapes, sorted. What no shape covers is `_background_`, label 0; `__ignore__` is void. Shapes are drawn in
their order, as labelme's own converter does: a later one covers an earlier.
"""

import base64
import functools
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from minideeplab.data.classes import BACKGROUND_NAMES, CLASS_FILES, VOID_NAME, find_class_list, palette_of
from minideeplab.data.decoder import MAX_PIXELS
from minideeplab.data.images import IMAGE_SUFFIXES, image_size
from minideeplab.data.lists import is_file
from minideeplab.data.pairs import PairedFiles, files_under, listed
from minideeplab.data.palettes import IGNORE_INDEX
from minideeplab.data.splits import find_splits, ids_of
from minideeplab.errors import DataError
from minideeplab.files.refusal import shown

MAX_BYTES = 50_000_000  # of a JSON file, which may hold its image, too
MAX_SHAPES, MAX_POINTS = 10_000, 500_000
MAX_COORDINATE = 1e6
MAX_LABEL = 200  # characters
# kinds of shapes, and how many points each has
KINDS = {
    "polygon": range(3, MAX_POINTS), "rectangle": (2, 4), "circle": (2,), "linestrip": range(2, MAX_POINTS),
    "line": range(2, MAX_POINTS), "point": range(MAX_POINTS), "points": range(MAX_POINTS), "mask": (2,),
}  # fmt: skip
LINE_WIDTH = 10  # pixels, as labelme's converter draws lines
FILES = (CLASS_FILES[0], "classes.txt", "labels.txt")
LOOKED_AT = 20  # JSON files that decide whether a folder is labelme's


class Shape(NamedTuple):
    """One shape of a file: its label, its kind, its points (x, y) in pixels, and the pixels of a 'mask'."""

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]
    pixels: bytes = b""


class BadShape(DataError):
    """A file of labelme in which one shape is at fault."""


class Drawing(NamedTuple):
    """What a JSON file says.

    Attributes:
        shapes: in the order in which they are drawn.
        image: the name of the image, as it stands there.
        size: (height, width) of the image that was drawn on; None if the file does not say.
        points: number of shapes that are single points, which cover nothing.
    """

    shapes: tuple[Shape, ...]
    image: str
    size: tuple[int, int] | None
    points: int


@dataclass(frozen=True, eq=False)
class LabelmeFolder(PairedFiles):
    """A split of a folder of photographs and JSON files; the file of a mask is the JSON file."""

    def mask(self, i: int) -> np.ndarray:
        path = self.mask_path(i)
        mask = draw(path, read_json(path), image_size(self.image_path(i)), self.class_names)
        if self.label_map is None:
            return mask
        label_map = {IGNORE_INDEX: self.ignore_index, **self.label_map}
        labels = np.zeros(256, np.uint8)
        labels[list(label_map)] = list(label_map.values())
        if (absent := np.setdiff1d(mask, list(label_map))).size:
            raise DataError(f"{path}: label {absent[0]} of the class list is not in the label map; add a line for it")
        return labels[mask]


def why_labelme(data: str | Path) -> str | None:
    """Whether the folder holds JSON files with shapes."""
    root = Path(data)
    if not root.is_dir():
        return None
    candidates = sorted((*root.glob("*.json"), *root.glob("*/*.json")))[:LOOKED_AT]
    found = next((path for path in candidates if _is_drawing(path)), None)
    return f"{found.relative_to(root).as_posix()} holds shapes of labelme" if found else None


def splits(data: str | Path) -> tuple[str, ...]:
    """The names of the splits; none if the set has none."""
    everything = open_labelme(data, None)
    return tuple(find_splits(everything.root, everything.ids).parts)


def open_labelme(data: str | Path, split: str | None) -> LabelmeFolder:
    """One split, or every photograph that has a JSON file."""
    root = Path(data)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; the layout is a.jpg and a.json of labelme side by side")
    files, notes = _find_files(root)
    ids = tuple(files) if split is None else ids_of(find_splits(root, tuple(files)), split, tuple(files))
    names, more = _class_names(root, tuple(path for _, path in files.values()))
    classes = find_class_list(root, FILES)
    colours = classes if classes and classes.names == names else None
    return LabelmeFolder(
        root.resolve().name, root, split or "all", ids, names, palette_of(root, colours, ()),
        notes=(*notes, *more), files=files,
    )  # fmt: skip


def read_json(path: Path) -> Drawing:
    """What a JSON file of labelme says; the image in it is passed over.

    Raises:
        DataError: not readable, not of labelme, too large, or a shape that cannot be drawn.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; label the image, or remove it from the split")
        state = path.stat()
        if state.st_size > MAX_BYTES:
            raise DataError(
                f"{path}: {state.st_size} bytes, more than the {MAX_BYTES:,} of any drawing; save it without the image "
                "(labelme --nodata)"
            )
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); check the path") from error
    return _parsed(path, state.st_mtime_ns, state.st_size)


def draw(path: Path, drawing: Drawing, size: tuple[int, int], class_names: tuple[str, ...]) -> np.ndarray:
    """(H, W) uint8 labels: the shapes of a file on label 0; 255 is void.

    Args:
        path: of the JSON file, for messages.
        drawing: of `read_json`.
        size: (height, width) of the image as it is shown, turned as EXIF says.

    Raises:
        DataError: a label that is no class, or a drawing that was made on an image of another size.
    """
    if drawing.size and drawing.size != size:
        turned = " and turned by a quarter" if drawing.size == size[::-1] else ""
        raise DataError(
            f"{path}: drawn on an image of {drawing.size[0]} rows and {drawing.size[1]} columns, and the image beside "
            f"it has {size[0]} rows and {size[1]} columns: it was changed{turned} after it was labelled; put the image "
            "that was labelled there"
        )
    numbers = {name: label for label, name in enumerate(class_names)} | {VOID_NAME: IGNORE_INDEX}
    for name in BACKGROUND_NAMES:
        numbers.setdefault(name, 0)
    canvas = Image.new("L", size[::-1])
    pen = ImageDraw.Draw(canvas)
    for shape in drawing.shapes:
        if shape.label not in numbers:
            raise DataError(
                f"{path}: a shape is labelled {shape.label!r}, which is none of the classes "
                f"({', '.join(class_names[:20])}); correct it, or add the name to the class list"
            )
        _draw_shape(canvas, pen, shape, numbers[shape.label])
    return np.array(canvas)


def _draw_shape(canvas, pen, shape, label) -> None:
    kind, points = shape.kind, shape.points
    if kind == "polygon":
        pen.polygon(points, fill=label, outline=label)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points[0], points[len(points) // 2]
        pen.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=label, outline=label)
    elif kind == "circle":
        (x, y), (edge_x, edge_y) = points
        _draw_disc(canvas, x, y, math.hypot(edge_x - x, edge_y - y), label)
    elif kind == "mask":
        (x, y), _ = points
        with Image.open(io.BytesIO(shape.pixels)) as pixels:
            canvas.paste(label, (round(x), round(y)), pixels.convert("L").point(lambda value: 255 * (value > 0)))
    else:
        pen.line(points, fill=label, width=LINE_WIDTH)


def _draw_disc(canvas, x, y, radius, label) -> None:
    """Pixels within a radius, found within the canvas alone: a huge circle costs no more than the image."""
    box = [math.floor(max(0, x - radius)), math.floor(max(0, y - radius))]
    box += [math.ceil(min(canvas.width, x + radius + 1)), math.ceil(min(canvas.height, y + radius + 1))]
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    columns, rows = np.arange(box[0], box[2]), np.arange(box[1], box[3])[:, None]
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    canvas.paste(label, tuple(box), Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)))


@functools.lru_cache(maxsize=2000)
def _parsed(path, changed, size) -> Drawing:
    """`changed` and `size` are those of the file: with others it is read again."""
    try:
        data = path.read_bytes()
        # Memory follows these, and they are not in the text of an image; a list of numbers has no brackets, but commas.
        if data.count(b"[") + data.count(b"{") + data.count(b",") / 4 > MAX_POINTS:
            raise DataError(f"{path}: more than {MAX_POINTS:,} points, which no drawing has; is it damaged?")
        content = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)[:200]
        raise DataError(f"{path}: not readable as JSON ({reason}); save it again in labelme") from error
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise DataError(f"{path}: JSON, but not of labelme: it has no list of shapes; label the image in labelme")
    if len(shapes) > MAX_SHAPES:
        raise DataError(f"{path}: {len(shapes)} shapes, more than the {MAX_SHAPES:,} of any drawing; is it damaged?")
    read = [_shape(path, number, shape) for number, shape in enumerate(shapes, start=1)]
    image = content.get("imagePath")
    height, width = content.get("imageHeight"), content.get("imageWidth")
    says = all(type(side) is int and 0 < side <= MAX_COORDINATE for side in (height, width))
    return Drawing(
        tuple(shape for shape in read if shape.kind != "point"),
        image if isinstance(image, str) else "",
        (height, width) if says else None,
        sum(shape.kind == "point" for shape in read),
    )


def _shape(path, number, shape) -> Shape:
    where = f"{path}: shape {number}"
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(label, str) or not label.strip() or not label.isprintable() or len(label) > MAX_LABEL:
        raise BadShape(f"{where} has no label that could be a name; label it, or delete it in labelme")
    label, kind = label.strip(), shape.get("shape_type") or "polygon"
    where += f" ({label!r})"
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadShape(
            f"{where} is of the kind {shown(kind)}, which is none of {', '.join(KINDS)}; draw it again as a polygon"
        )
    points = shape.get("points")
    if not isinstance(points, list) or not all(_is_point(point) for point in points):
        raise BadShape(f"{where} has points that are not two numbers each, up to {MAX_COORDINATE:g}; draw it again")
    if kind == "polygon" and len(points) in (1, 2):  # a click too few, which covers nothing
        kind = "point"
    if len(points) not in KINDS[kind]:
        raise BadShape(f"{where} is a {kind} of {len(points)} points, and needs {min(KINDS[kind])}; draw it again")
    pixels = _pixels(where, shape, points) if kind == "mask" else b""
    return Shape(label, "point" if kind == "points" else kind, tuple((float(x), float(y)) for x, y in points), pixels)


def _is_point(point) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(type(value) in (int, float) and abs(value) <= MAX_COORDINATE for value in point)  # a NaN is not below
    )


def _pixels(where, shape, points) -> bytes:
    """The PNG file within a shape of kind 'mask', checked: it has one channel, and the size of its box."""
    try:
        data = base64.b64decode(shape.get("mask") or "", validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            (x0, y0), (x1, y1) = points
            if max(abs(image.width - abs(x1 - x0)), abs(image.height - abs(y1 - y0))) > 2:
                raise ValueError(f"{image.width} x {image.height} pixels do not fit its box")
            if image.width * image.height > MAX_PIXELS:
                raise ValueError("too many pixels")
            image.load()
    except Exception as error:  # of base64, and of a decoder on broken bytes
        raise BadShape(f"{where} has a mask that cannot be read ({error}); draw it again") from error
    return data


def _is_drawing(path) -> bool:
    try:
        read_json(path)
    except BadShape:
        return True
    except DataError:
        return False
    return True


def _find_files(root):
    """{id: (image, JSON file)}, and sentences about what is left out."""
    images, drawings = files_under(root, IMAGE_SUFFIXES), files_under(root, (".json",))
    by_stem = {image.stem: image for image in images.values()}
    files, others, points = {}, [], 0
    for name, path in drawings.items():
        try:
            drawing = read_json(path)
        except DataError as error:
            if name not in images and not isinstance(error, BadShape):
                others.append(path.name)  # some other JSON file
                continue
            drawing = None  # `check` says what is wrong with it
        points += drawing.points if drawing else 0
        named = _image_of(root, path, drawing.image) if drawing else None
        image = images.get(name) or named or by_stem.get(path.stem)
        files[name] = image or path.with_suffix(IMAGE_SUFFIXES[0]), path
    if not files:
        raise DataError(f"{root}: no JSON file of labelme with shapes; the layout is a.jpg and a.json side by side")
    used = {image for image, _ in files.values()}
    alone = [name for name, image in images.items() if image not in used]
    notes = []
    if alone:
        notes.append(f"{root}: {listed(alone)} without a JSON file; left out")
    if others:
        notes.append(f"{root}: {listed(others)} not of labelme; left out")
    if points:
        notes.append(f"{root}: {points} shapes are points, which cover no pixels; left out")
    return files, tuple(notes)


def _image_of(root, path, name) -> Path | None:
    """The image that a JSON file names: within the data set, relative to the file, or beside it."""
    parts = PureWindowsPath(name).parts
    if not parts or not name.isprintable():
        return None
    for image in (path.parent.joinpath(*parts), path.with_name(parts[-1])):
        if is_file(image) and image.resolve().is_relative_to(root.resolve()):
            return image
    return None


def _class_names(root, paths) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the labels, and sentences about them."""
    classes = find_class_list(root, FILES)
    if classes:
        if classes.names[0].lower() in BACKGROUND_NAMES:
            return classes.names, ()
        rest = tuple(name for name in classes.names if name.lower() not in BACKGROUND_NAMES)
        note = f"{classes.path}: background is not the first name; what no shape covers gets label 0, '_background_'"
        return ("_background_", *rest), (note,)
    found: set[str] = set()
    for path in paths:
        try:
            found |= {shape.label for shape in read_json(path).shapes}
        except DataError:
            continue
    found = {name for name in found if name != VOID_NAME and name.lower() not in BACKGROUND_NAMES}
    if not 1 <= len(found) <= 254:
        raise DataError(f"{root}: {len(found)} different labels in the JSON files; label some shapes (up to 254 names)")
    names = ("_background_", *sorted(found))
    note = f"{root}: no class list; the classes are those of the shapes: {', '.join(names)} (a classes.txt fixes them)"
    return names, (note,)
