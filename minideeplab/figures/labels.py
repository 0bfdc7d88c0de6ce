"""Pictures of label maps: samples with truth and error, comparisons, overlays.

`classes` is whatever knows the labels, a data set or a checkpoint: its `class_names`, its `palette` (256, 3) uint8, and
its `ignore_index`, the label of void pixels, which are light grey.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minideeplab.figures.canvas import add_legend, drawing, save_picture

RIGHT, WRONG, VOID = (60, 150, 90), (205, 50, 50), (224, 224, 224)
OTHER, STILL_WRONG = (235, 150, 50), (246, 206, 206)
PAPER, INK, GREY = (255, 255, 255), (30, 30, 30), (150, 150, 150)


def save_sample(path: Path, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, classes) -> None:
    """One row of image | truth | prediction | error, with the classes named below.

    Args:
        path: file to write.
        image: (H, W, 3) uint8 RGB.
        truth, prediction: (H, W) uint8 labels; in the error picture right is green and wrong is red.
        classes: see the module.
    """
    error = np.where((truth == prediction)[..., None], np.uint8(RIGHT), np.uint8(WRONG))
    error[truth == classes.ignore_index] = VOID
    labels = {"truth": truth, "prediction": prediction}
    verdict = [("right", RIGHT), ("wrong", WRONG)]
    _save_strip(path, image, labels, classes, {"error": error}, verdict)


def save_comparison(path: Path, image: np.ndarray, labels: dict[str, np.ndarray], classes) -> None:
    """One row of the image and label maps, each under its title, with the classes named below.

    Args:
        path: file to write.
        image: (H, W, 3) uint8 RGB.
        labels: title -> (H, W) uint8 labels.
        classes: see the module.
    """
    _save_strip(path, image, labels, classes, {}, [])


def save_refinements(path: Path, rows: list, classes, title: str) -> None:
    """A page with a row for each image: image | truth | before | after | what changed.

    In the last column pixels that became right are green, those that became wrong red, those that went from one wrong
    label to another orange; of those that stayed the wrong ones are pale red, the right ones white.

    Args:
        path: file to write.
        rows: (image (H, W, 3) uint8, truth, before, after (H, W) labels, note under the row), all of one size or not.
        classes: see the module; title: above the page.
    """
    colours, void = colours_of(classes), classes.ignore_index
    ratio = sum(image.shape[0] / image.shape[1] for image, *_ in rows)
    columns = ("image", "truth", "before", "after", "what changed")
    with drawing(path, (15, 3.0 * ratio + 0.32 * len(rows) + 1.1)) as figure:
        figure.suptitle(title)
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for axes_row, (image, truth, before, after, note) in zip(grid, rows, strict=True):
            known, moved = truth != void, before != after
            changed = np.where(known[..., None], np.uint8(PAPER), np.uint8(VOID))
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
        entries = [(classes.class_names[label], colours[label] / 255) for label in present if label != void]
        verdicts = {
            "void": VOID,
            "now right": RIGHT,
            "now wrong": WRONG,
            "another wrong label": OTHER,
            "still wrong": STILL_WRONG,
        }
        entries += [(name, np.array(colour) / 255) for name, colour in verdicts.items()]
        columns = -(-len(entries) // -(-len(entries) // 9))  # as even rows as can be
        add_legend(figure, entries, columns, fontsize=9)


def colours_of(classes) -> np.ndarray:
    """(256, 3) uint8: the palette, void light grey."""
    colours = classes.palette.copy()
    colours[classes.ignore_index] = VOID
    return colours


def _save_strip(path, image, labels, classes, pictures, more_entries):
    """image | label maps | pictures (H, W, 3), under their titles; a legend of the classes present and more entries."""
    colours = colours_of(classes)
    panels = {"image": image} | {title: colours[each] for title, each in labels.items()} | pictures
    width, height = _readable_size(image.shape[1], image.shape[0], least=200)
    font = _font(height, width)
    line = font.size * 3 // 2
    gap = max(4, font.size // 3)
    strip = Image.new("RGB", (len(panels) * (width + gap) - gap, line + height), PAPER)
    draw = ImageDraw.Draw(strip)
    for i, (title, panel) in enumerate(panels.items()):
        left = i * (width + gap)
        draw.text((left + 2, line // 2), title, INK, font, anchor="lm")
        strip.paste(_scaled(panel, (width, height), smooth=i == 0), (left, line))
    present = np.unique(np.concatenate([np.unique(each) for each in labels.values()]))
    shown = [label for label in present if label != classes.ignore_index]
    entries = [(classes.class_names[label], tuple(colours[label].tolist())) for label in shown]
    save_picture(path, _with_legend(strip, [*entries, ("void", VOID), *more_entries], font))


def save_overlay(path: Path, image: np.ndarray, labels: np.ndarray, classes, alpha: float = 0.5) -> None:
    """The image tinted with the class colours, and a legend of the classes present with their share.

    Args:
        path: file to write.
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
    present, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    entries = [
        (f"{classes.class_names[label]} {100 * count / labels.size:.1f} %", tuple(classes.palette[label].tolist()))
        for label, count in zip(present[order], counts[order], strict=True)
    ]
    save_picture(path, _with_legend(picture, entries, _font(height, width)))


def _readable_size(width: int, height: int, least: int) -> tuple[int, int]:
    """(width, height) scaled by a whole number until the longer side has `least` pixels."""
    factor = -(-least // max(width, height))
    return width * factor, height * factor


def _font(height: int, width: int) -> ImageFont.ImageFont:
    """A font that stays readable when a viewer fits the whole picture on the screen."""
    return ImageFont.load_default(max(13, max(height, width) // 45))


def _scaled(panel: np.ndarray, size: tuple[int, int], smooth: bool) -> Image.Image:
    return Image.fromarray(panel).resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)


def _with_legend(picture: Image.Image, entries: list[tuple[str, tuple]], font) -> Image.Image:
    """Adds rows of swatch and name below a picture, as many as the names need."""
    swatch, line, gap = font.size, font.size * 8 // 5, font.size // 2
    widths = [swatch + gap + round(font.getlength(name)) + 2 * gap for name, _ in entries]
    canvas_width = max(picture.width, max(widths) + gap)
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
        draw.text((x + swatch + gap, middle), name, INK, font, anchor="lm")
    return canvas
