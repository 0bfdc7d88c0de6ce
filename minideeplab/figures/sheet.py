"""Pictures of a data set: a sheet of its samples, and what share each class has.

`classes` is whatever knows the labels: its `class_names`, its `palette` (256, 3) uint8, and its `ignore_index`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from minideeplab.figures.canvas import drawing, save_picture
from minideeplab.figures.fonts import drawable, drawable_names, sized_font
from minideeplab.figures.labels import GREY, INK, PAPER
from minideeplab.figures.training import DARK_BLUE, LIGHT_BLUE

WIDTH, LEAST_WIDTH, MARGIN, GAP, SEAM, LINE = 1600, 600, 16, 14, 2, 20  # pixels, of a sheet
PAIRS_PER_ROW, WIDEST_PANEL, TALLEST = 3, 380, 1.3  # a panel is at most so many times as high as wide
TINT = 0.5  # weight of the colours
STRIPES, DARK, LIGHT = 8, (110, 110, 110), (238, 238, 238)  # of void: their distance in pixels, and colours
NOTHING = "never occurs"


class Shares(NamedTuple):
    """Counts of one split: `pixels` and `images` of each class (K,), `masks` in all, `void_share` of all pixels."""

    pixels: np.ndarray
    images: np.ndarray
    masks: int
    void_share: float


def save_contact_sheet(path: str | Path, names: Sequence[str], read: Callable, classes, title: str = "") -> None:
    """Pairs of an image and the image tinted with its labels; the classes that are seen are named below.

    Each region has a line of its colour around it. Void is striped in grey; a class 0 called "background" has no tint.

    Args:
        path: file to write, at most 1600 pixels wide.
        names: above the pairs.
        read: k -> (image (H, W, 3) uint8, mask (H, W) uint8) of name k, called once for each.
        classes: see the module; title: above all.
    """
    columns = max(1, min(PAIRS_PER_ROW, len(names)))
    panel = min(WIDEST_PANEL, ((WIDTH - 2 * MARGIN + GAP) // columns - GAP - SEAM) // 2)
    pair = 2 * panel + SEAM
    rows, seen = [], set()
    for k, name in enumerate(names):
        image, mask = read(k)
        seen |= set(np.unique(mask).tolist())
        if k % columns == 0:
            rows.append([])
        rows[-1].append((drawable(name, f"sample {k + 1}"), *_panels(image, mask, classes, panel)))
    width = max(2 * MARGIN + columns * (pair + GAP) - GAP, LEAST_WIDTH)
    heights = [max(image.height for _, image, _ in row) for row in rows]
    legend = _Legend(seen, classes, width - 2 * MARGIN)
    top = MARGIN + (2 * LINE if title else 0)
    sheet = Image.new("RGB", (width, top + sum(heights) + len(rows) * (LINE + GAP) + legend.height + MARGIN), PAPER)
    if title:
        _write(sheet, (MARGIN, MARGIN + LINE // 2), drawable(title, "samples"), 17, width - 2 * MARGIN)
    for row, height in zip(rows, heights, strict=True):
        for k, (name, image, tint) in enumerate(row):
            left = MARGIN + k * (pair + GAP)
            _write(sheet, (left, top + LINE // 2), name, 13, pair)
            sheet.paste(image, (left, top + LINE))
            sheet.paste(tint, (left + image.width + SEAM, top + LINE))
        top += LINE + height + GAP
    legend.draw(sheet, MARGIN, top)
    save_picture(path, sheet)


def save_class_shares(path: str | Path, splits: Mapping[str, Shares], classes) -> None:
    """Bars for each class: its share of the labelled pixels, and of the images; one bar for each split, side by side.

    The axis of pixels is logarithmic where the largest class has over 50 times the pixels of the smallest.

    Args:
        path: file to write; splits: name -> its counts, at most 4; classes: see the module.
    """
    splits = {drawable(name, f"split {k + 1}"): splits[name] for k, name in enumerate(splits)}
    labels = [label for label in range(len(classes.class_names)) if label != classes.ignore_index]
    place, thick = np.arange(len(labels)), 0.8 / len(splits)
    shares = {
        name: (
            100 * each.pixels[labels] / max(1, each.pixels[labels].sum()),
            100 * each.images[labels] / max(1, each.masks),
        )
        for name, each in splits.items()
    }
    occurring = np.concatenate([pixels[pixels > 0] for pixels, _ in shares.values()])
    uneven = occurring.size > 0 and occurring.max() > 50 * occurring.min()
    row, font = (0.15, 7) if len(labels) > 60 else (0.26, 9)
    names = drawable_names(classes.class_names)
    with drawing(path, (11, 1.5 + row * len(labels) * max(1, len(splits) / 2)), texts=[*names, *splits]) as figure:
        void = ", ".join(f"{100 * each.void_share:.1f} % of '{name}'" for name, each in splits.items())
        figure.suptitle(f"classes; void: {void}", fontsize=11)
        axes_pair = figure.subplots(1, 2, sharey=True)
        for column, (axes, what) in enumerate(zip(axes_pair, ("labelled pixels", "images"), strict=True)):
            for k, (name, values) in enumerate(shares.items()):
                height = place + (k - (len(splits) - 1) / 2) * thick
                colour = (DARK_BLUE, LIGHT_BLUE, "#d98b3a", "#8a8a8a")[k % 4]
                axes.barh(height, values[column], thick, color=colour, label=name)
            if column == 0 and uneven:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter("{x:g}")
                axes.set_xlim(occurring.min() / 3, 100)
            else:
                axes.set_xlim(0, max(1e-9, max(values[column].max() for values in shares.values())) * 1.05)
            scale = ", logarithmic" if column == 0 and uneven else ""
            if column == 0:
                _name_absent(axes, [values[0] for values in shares.values()], thick, font - 2)
            axes.set_xlabel(f"% of the {what}{scale}", fontsize=9)
            axes.grid(axis="x", alpha=0.25)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="y", length=0, pad=14)
        first = axes_pair[0]
        first.set_ylim(len(labels) - 0.5, -0.5)
        first.set_yticks(place, [names[label] for label in labels], fontsize=font)
        colours = classes.palette[labels] / 255
        transform = first.get_yaxis_transform()
        first.scatter(
            np.full(len(labels), -0.02), place, 40, colours, marker="s",
            edgecolors="#808080", linewidths=0.5, transform=transform, clip_on=False,
        )  # fmt: skip
        if len(splits) > 1:
            where = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(splits)}
            axes_pair[1].legend(frameon=False, fontsize=9, **where)


def _name_absent(axes, values: Sequence[np.ndarray], thick: float, fontsize: float) -> None:
    """Writes in the place of each missing bar that the class never occurs; once for a class that no split has."""
    missing = np.stack([each == 0 for each in values])
    heights = np.flatnonzero(missing.all(axis=0)).tolist()
    heights += [label + (k - (len(values) - 1) / 2) * thick for k, label in np.argwhere(missing & ~missing.all(axis=0))]
    text = {"fontsize": fontsize, "color": "#a03020", "va": "center"}
    for height in heights:
        axes.annotate(NOTHING, (axes.get_xlim()[0], height), (3, 0), textcoords="offset points", **text)


def tinted(image: np.ndarray, mask: np.ndarray, classes) -> np.ndarray:
    """(H, W, 3) uint8: the image in the colours of its labels, their borders drawn, void striped.

    Args:
        image: (H, W, 3) uint8; mask: (H, W) uint8; classes: see the module.
    """
    colours, void = classes.palette[mask], mask == classes.ignore_index
    blend = ((1 - TINT) * image + TINT * colours).round().astype(np.uint8)
    if _has_background(classes):
        blend[mask == 0] = image[mask == 0]
    border = _borders(mask) & ~void
    blend[border] = colours[border]
    rows, columns = np.indices(mask.shape)
    stripes = (rows + columns) % STRIPES < STRIPES // 3
    blend[void] = (0.35 * image[void] + 0.65 * np.array(LIGHT)).astype(np.uint8)
    blend[void & stripes] = DARK
    return blend


def _has_background(classes) -> bool:
    return classes.class_names[0].strip("_").lower() == "background"


def _borders(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels with a neighbour of another label."""
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    border = np.zeros(mask.shape, bool)
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border


def _panels(image: np.ndarray, mask: np.ndarray, classes, panel: int) -> tuple[Image.Image, Image.Image]:
    """The image and the tinted image, `panel` pixels wide, or narrower where that would be too high."""
    height, width = mask.shape
    factor = min(panel / width, TALLEST * panel / height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC if factor < 1 else Image.Resampling.NEAREST)
    labels = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    return small, Image.fromarray(tinted(np.asarray(small), np.asarray(labels), classes))


class _Legend:
    """Rows of swatch and name, as many as the names need; names that are too long are cut."""

    SIZE, SWATCH = 15, 16

    def __init__(self, labels: set[int], classes, width: int):
        void, names = classes.ignore_index, drawable_names(classes.class_names)
        self.entries, x, y = [], 0, 0  # (text, swatch, x, y)
        for label in [*sorted(labels - {void}), void]:
            swatch = np.full((self.SWATCH, self.SWATCH, 3), 255, np.uint8)
            if label == void:
                name = "void"
                swatch = tinted(swatch, np.full(swatch.shape[:2], void, np.uint8), classes)
            else:
                name = names[label]
                if label == 0 and _has_background(classes):
                    name += " (not tinted)"
                else:
                    swatch[:] = classes.palette[label]
            name = _cut(name, self.SIZE, width - 2 * self.SWATCH)
            needed = self.SWATCH + 8 + round(sized_font(name, self.SIZE).getlength(name)) + 24
            if x and x + needed > width:
                x, y = 0, y + LINE + 6
            self.entries.append((name, swatch, x, y))
            x += needed
        self.height = y + LINE + 6

    def draw(self, sheet: Image.Image, left: int, top: int) -> None:
        for text, swatch, x, y in self.entries:
            corner = (left + x, top + y + (LINE - self.SWATCH) // 2)
            sheet.paste(Image.fromarray(swatch), corner)
            edge = (*corner, corner[0] + self.SWATCH - 1, corner[1] + self.SWATCH - 1)
            ImageDraw.Draw(sheet).rectangle(edge, outline=GREY)
            _write(sheet, (corner[0] + self.SWATCH + 8, top + y + LINE // 2), text, self.SIZE, sheet.width)


def _write(sheet: Image.Image, place: tuple[int, int], text: str, size: int, room: int) -> None:
    """A line of text, its left middle at `place`, cut where it is longer than `room` pixels."""
    ImageDraw.Draw(sheet).text(place, _cut(text, size, room), INK, sized_font(text, size), anchor="lm")


def _cut(text: str, size: int, room: int) -> str:
    words, font = text[:500], sized_font(text, size)
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(words + "...") > room:
        words = words[:-1]
    return words + "..."
