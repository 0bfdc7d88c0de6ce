"""Pictures of label maps: samples with truth and error, comparisons, overlays.

`classes` is whatever knows the labels, a data set or a checkpoint: its `class_names`, its `palette` (256, 3) uint8, and
its `ignore_index`, the label of void pixels, which are light grey, or what `colours_of` takes where a class is.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from minideeplab.evaluation.metrics import ConfusionMatrix, image_text
from minideeplab.figures.canvas import add_legend, drawing, save_picture
from minideeplab.figures.colours import (
    GREY,
    INK,
    OTHER,
    PAPER,
    RIGHT,
    STILL_WRONG,
    WRONG,
    colours_of,
    verdict,
    void_colour,
)
from minideeplab.figures.fonts import drawable, drawable_names, sized_font

SHEET = 1600  # pixels that the panels of a picture may fill, side by side and one above the other
WIDEST_GAP = 8  # pixels between two panels


def save_sample(path: Path, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, classes, title="") -> None:
    """Image | truth | prediction | error, in one row or two, with the classes named below.

    Args:
        path: file to write.
        image: (H, W, 3) uint8 RGB.
        truth, prediction: (H, W) uint8 labels; in the error picture right is blue and wrong is orange.
        classes: see the module; title: above the picture, such as `image_score`.
    """
    save_comparison(path, image, {"prediction": prediction}, classes, truth, title)


def save_comparison(
    path: Path, image: np.ndarray, labels: dict[str, np.ndarray], classes, truth: np.ndarray | None = None, title=""
) -> None:
    """The image and label maps, each under its title, with the classes named below; with the truth the errors of each.

    Panels stand in one row, or one above the other where they are larger so: at most 1600 pixels each way.

    Args:
        path: file to write.
        image: (H, W, 3) uint8 RGB.
        labels: title -> (H, W) uint8 labels.
        classes: see the module.
        truth: (H, W) uint8 labels, if the maps are predictions that can be right or wrong.
        title: above the picture.
    """
    colours, panels, shown = colours_of(classes), {"image": image}, dict(labels)
    if truth is not None:
        panels["truth"] = colours[truth]
        shown["truth"] = truth
    for name, each in labels.items():
        panels[name] = colours[each]
        if truth is not None:
            panels["error" if len(labels) == 1 else f"error, {name}"] = verdict(truth, each, classes)
    present = np.unique(np.concatenate([np.unique(each) for each in shown.values()]))
    names = drawable_names(classes.class_names)
    entries = [(names[label], tuple(colours[label].tolist())) for label in present if label != classes.ignore_index]
    entries.append(("void", void_colour(classes)))
    if truth is not None:
        entries += [("right", RIGHT), ("wrong", WRONG)]
    save_picture(path, _with_legend(_sheet_of(panels, title, in_pairs=truth is not None), entries))


def image_score(truth: np.ndarray, labels: np.ndarray, classes) -> str:
    """The scores of one image in words, such as "mIoU 63.2 over 4 classes, 91.0 % of pixels right".

    The mean IoU is taken over the classes in the truth or the prediction of this image: the mean over images of this
    number is not that of the data set.
    """
    confusion = ConfusionMatrix(len(classes.class_names), classes.ignore_index)
    confusion.update(truth[None], labels[None])
    return score_text(confusion)


def score_text(confusion: ConfusionMatrix) -> str:
    """The scores of a confusion matrix of one image in words; one without labelled pixels has none."""
    return image_text(confusion.mean_iou(), confusion.classes_present(), confusion.pixel_accuracy())


def save_refinements(path: Path, rows: list, classes, title: str) -> None:
    """A page with a row for each image: image | truth | before | after | what changed.

    In the last column pixels that became right are blue, those that became wrong orange, those that went from one wrong
    label to another dark grey; of those that stayed the wrong ones are pale orange, the right ones white.

    Args:
        path: file to write.
        rows: (image (H, W, 3) uint8, truth, before, after (H, W) labels, note under the row), all of one size or not.
        classes: see the module; title: above the page.
    """
    colours, void = colours_of(classes), classes.ignore_index
    names, void_is = drawable_names(classes.class_names), void_colour(classes)
    ratio = sum(image.shape[0] / image.shape[1] for image, *_ in rows)
    columns = ("image", "truth", "before", "after", "what changed")
    with drawing(path, (14.5, 2.9 * ratio + 0.32 * len(rows) + 1.1), texts=names) as figure:
        figure.suptitle(title)
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for axes_row, (image, truth, before, after, note) in zip(grid, rows, strict=True):
            known, moved = truth != void, before != after
            changed = np.where(known[..., None], np.uint8(PAPER), np.uint8(void_is))
            changed[known & (before != truth)] = STILL_WRONG
            changed[moved & known] = OTHER
            changed[moved & (after == truth)] = RIGHT
            changed[moved & (before == truth)] = WRONG
            panels = (image, colours[truth], colours[before], colours[after], changed)
            for axes, panel in zip(axes_row, panels, strict=True):
                axes.imshow(panel, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            axes_row[0].set_xlabel(note, loc="left", fontsize=9)
        for axes, name in zip(grid[0], columns, strict=True):
            axes.set_title(name, fontsize=10)
        present = np.unique(np.concatenate([np.unique(labels) for row in rows for labels in row[1:4]]))
        entries = [(names[label], colours[label] / 255) for label in present if label != void]
        verdicts = {
            "void": void_is,
            "now right": RIGHT,
            "now wrong": WRONG,
            "another wrong label": OTHER,
            "still wrong": STILL_WRONG,
        }
        entries += [(name, np.array(colour) / 255) for name, colour in verdicts.items()]
        columns = -(-len(entries) // -(-len(entries) // 9))  # as even rows as can be
        add_legend(figure, entries, columns, fontsize=9)


def save_overlay(path: Path, image: np.ndarray, labels: np.ndarray, classes, alpha: float = 0.5) -> None:
    """Writes `overlay_picture` as PNG."""
    save_picture(path, overlay_picture(image, labels, classes, alpha))


def overlay_picture(image: np.ndarray, labels: np.ndarray, classes, alpha: float = 0.5) -> Image.Image:
    """The image tinted with the class colours, and a legend of the classes present with their share.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8.
        classes: see the module.
        alpha: weight of the colours, 0..1. A class called "background" is left as it is.
    """
    blend = ((1 - alpha) * image + alpha * classes.palette[labels]).round().astype(np.uint8)
    if classes.class_names[0] == "background":
        blend[labels == 0] = image[labels == 0]
    width, height = _readable_size(image.shape[1], image.shape[0], least=320)
    picture = _scaled(blend, (width, height), smooth=False)
    names = drawable_names(classes.class_names)
    present, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    entries = [
        (f"{names[label]} {100 * count / labels.size:.1f} %", tuple(classes.palette[label].tolist()))
        for label, count in zip(present[order], counts[order], strict=True)
    ]
    return _with_legend(picture, entries)


def _sheet_of(panels: dict[str, np.ndarray], title: str, in_pairs: bool) -> Image.Image:
    """Panels (H, W, 3) of one size, each under its name, and the title above all; pairs stand above each other."""
    height, width = next(iter(panels.values())).shape[:2]
    size = _readable_size(width, height, least=200)
    rows, scale = _arrangement(len(panels), size)
    width, height = (max(1, round(scale * side)) for side in size)
    columns = -(-len(panels) // rows)
    size = _font_size(columns * width)
    line, gap = size * 3 // 2, min(max(4, size // 3), WIDEST_GAP)
    above = line if title else 0
    sheet = Image.new("RGB", (columns * (width + gap) - gap, above + rows * (line + height + gap) - gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        _write(draw, (2, above // 2), title, size, sheet.width - 2)
    for i, (name, panel) in enumerate(panels.items()):
        column, row = divmod(i, rows) if in_pairs else divmod(i, columns)[::-1]
        left, top = column * (width + gap), above + row * (line + height + gap)
        _write(draw, (left + 2, top + line // 2), name, size, width - 2)
        sheet.paste(_scaled(panel, (width, height), smooth=name == "image"), (left, top + line))
    return sheet


def _arrangement(count: int, size: tuple[int, int]) -> tuple[int, float]:
    """(rows, factor on the size) at which panels of this (width, height) are largest, with the fewest rows."""
    best = (1, 0.0)
    for rows in (1, 2, count):
        if count % rows == 0:
            columns = count // rows
            scale = min(1.0, (SHEET - WIDEST_GAP * columns) / columns / size[0], SHEET / rows / size[1])
            best = (rows, scale) if scale > 1.05 * best[1] else best
    return best


def _readable_size(width: int, height: int, least: int) -> tuple[int, int]:
    """(width, height) scaled by a whole number until the longer side has `least` pixels."""
    factor = -(-least // max(width, height))
    return width * factor, height * factor


def _font_size(width: int) -> int:
    """Pixels at which text stays readable when a viewer fits a picture of this width on the screen."""
    return max(13, width // 80)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, room: int) -> None:
    """Text from `place` on, its middle at this height; cut where there is no more room."""
    text = drawable(text)
    font = sized_font(text, size)
    if font.getlength(text) > room:
        while text and font.getlength(text + "...") > room:
            text = text[:-1]
        text += "..."
    draw.text(place, text, INK, font, anchor="lm")


def _scaled(panel: np.ndarray, size: tuple[int, int], smooth: bool) -> Image.Image:
    return Image.fromarray(panel).resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)


def _with_legend(picture: Image.Image, entries: list[tuple[str, tuple]]) -> Image.Image:
    """Adds rows of swatch and name below a picture, as many as the names need."""
    size = _font_size(picture.width)
    swatch, line, gap = size, size * 8 // 5, size // 2
    widths = [swatch + gap + round(sized_font(name, size).getlength(name)) + 2 * gap for name, _ in entries]
    canvas_width = max(picture.width, min(max(widths) + gap, SHEET))
    places, x, row = [], gap, 0
    for width in widths:
        if x > gap and x + width > canvas_width:
            x, row = gap, row + 1
        places.append((x, row))
        x += width
    canvas = Image.new("RGB", (canvas_width, picture.height + (row + 1) * line + gap), PAPER)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for (name, colour), (x, row) in zip(entries, places, strict=True):
        middle = picture.height + gap // 2 + row * line + line // 2
        draw.rectangle((x, middle - swatch // 2, x + swatch, middle + swatch // 2), colour, GREY)
        _write(draw, (x + swatch + gap, middle), name, size, canvas_width - x - swatch - gap)
    return canvas
