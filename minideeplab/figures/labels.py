"""Pictures of label maps: samples with truth and error, comparisons, overlays."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageDraw, ImageFont

from minideeplab.data import IGNORE_INDEX

RIGHT, WRONG, VOID = (60, 150, 90), (205, 50, 50), (224, 224, 224)


OTHER, STILL_WRONG = (235, 150, 50), (246, 206, 206)


PAPER, INK, GREY = (255, 255, 255), (30, 30, 30), (150, 150, 150)


def save_sample(
    path: Path,
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    class_names: tuple[str, ...],
    palette: np.ndarray,
) -> None:
    """One row of image | truth | prediction | error, with the classes named below.

    Args:
        path: file to write.
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) uint8 labels; 255 is void, light grey in the error picture; right is green, wrong is red.
        prediction: (H, W) uint8 labels.
        class_names: C names.
        palette: (256, 3) uint8.
    """
    error = np.where((truth == prediction)[..., None], np.uint8(RIGHT), np.uint8(WRONG))
    error[truth == IGNORE_INDEX] = VOID
    labels = {"truth": truth, "prediction": prediction}
    verdict = [("right", RIGHT), ("wrong", WRONG)]
    _save_strip(path, image, labels, class_names, palette, {"error": error}, verdict)


def save_comparison(
    path: Path, image: np.ndarray, labels: dict[str, np.ndarray], class_names: tuple[str, ...], palette: np.ndarray
) -> None:
    """One row of the image and label maps, each under its title, with the classes named below.

    Args:
        path: file to write.
        image: (H, W, 3) uint8 RGB.
        labels: title -> (H, W) uint8 labels; 255 is void.
        class_names: C names; palette: (256, 3) uint8.
    """
    _save_strip(path, image, labels, class_names, palette, {}, [])


def save_refinements(path: Path, rows: list, class_names: tuple[str, ...], palette: np.ndarray, title: str) -> None:
    """A page with a row for each image: image | truth | before | after | what changed.

    In the last column pixels that became right are green, those that became wrong red, those that went from one wrong
    label to another orange; of those that stayed the wrong ones are pale red, the right ones white.

    Args:
        path: file to write.
        rows: (image (H, W, 3) uint8, truth, before, after (H, W) labels, note under the row), all of one size or not.
        class_names: C names; palette: (256, 3) uint8; title: above the page.
    """
    colours = palette.copy()
    colours[IGNORE_INDEX] = VOID
    ratio = sum(image.shape[0] / image.shape[1] for image, *_ in rows)
    columns = ("image", "truth", "before", "after", "what changed")
    figure = Figure(figsize=(15, 3.0 * ratio + 0.32 * len(rows) + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes_row, (image, truth, before, after, note) in zip(grid, rows, strict=True):
        known, moved = truth != IGNORE_INDEX, before != after
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
    entries = [(class_names[label], palette[label] / 255) for label in present if label != IGNORE_INDEX]
    verdicts = {
        "void": VOID,
        "now right": RIGHT,
        "now wrong": WRONG,
        "another wrong label": OTHER,
        "still wrong": STILL_WRONG,
    }
    entries += [(name, np.array(colour) / 255) for name, colour in verdicts.items()]
    handles = [Patch(color=colour, label=name) for name, colour in entries]
    columns = -(-len(handles) // -(-len(handles) // 9))  # as even rows as can be
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def _save_strip(path, image, labels, class_names, palette, pictures, more_entries):
    """image | label maps | pictures (H, W, 3), under their titles; a legend of the classes present and more entries."""
    colours = palette.copy()
    colours[IGNORE_INDEX] = VOID
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
    entries = [(class_names[label], tuple(palette[label].tolist())) for label in present if label != IGNORE_INDEX]
    _with_legend(strip, [*entries, ("void", VOID), *more_entries], font).save(path)


def save_overlay(
    path: Path,
    image: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    palette: np.ndarray,
    alpha: float = 0.5,
) -> None:
    """The image tinted with the class colours, and a legend of the classes present with their share.

    Args:
        path: file to write.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8.
        class_names: C names.
        palette: (256, 3) uint8.
        alpha: weight of the colours, 0..1. A class called "background" is left as it is.
    """
    blend = ((1 - alpha) * image + alpha * palette[labels]).round().astype(np.uint8)
    if class_names[0] == "background":
        blend[labels == 0] = image[labels == 0]
    width, height = _readable_size(image.shape[1], image.shape[0], least=320)
    picture = _scaled(blend, (width, height), smooth=False)
    present, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    entries = [
        (f"{class_names[label]} {100 * count / labels.size:.1f} %", tuple(palette[label].tolist()))
        for label, count in zip(present[order], counts[order], strict=True)
    ]
    _with_legend(picture, entries, _font(height, width)).save(path)


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
