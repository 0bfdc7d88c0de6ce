"""Pictures of scores: mean IoU near boundaries, and the images with the worst scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from minideeplab.figures.canvas import add_legend, drawing
from minideeplab.figures.colours import RIGHT, WRONG, colours_of, verdict, void_colour
from minideeplab.figures.fonts import drawable, drawable_names
from minideeplab.figures.training import DARK_BLUE

LINES = ((DARK_BLUE, "o-"), ("#d1731f", "s--"))


def save_trimap_curve(path: str | Path, curves: Mapping[str, Mapping[int, float]], title: str = "") -> None:
    """Mean IoU of the pixels near boundaries over the width of the band (DeepLab v1, figure 6; v3+, figure 5).

    Args:
        path: file to write.
        curves: name of a curve -> {width in pixels: mean IoU in 0..1}; two at most.
    """
    with drawing(path, (6, 4.2), texts=[title]) as figure:
        axes = figure.subplots()
        for (name, curve), (colour, style) in zip(curves.items(), LINES, strict=False):
            widths = sorted(curve)
            axes.plot(widths, [100 * curve[width] for width in widths], style, color=colour, label=name)
        axes.set(
            xlabel="width of the band around boundaries (pixels)",
            ylabel="mean IoU of the classes present (%)",
            title=drawable(title),
        )
        axes.set_xlim(left=0)
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(curves) > 1:
            axes.legend(frameon=False, loc="lower right")


def save_worst(path: str | Path, rows: Sequence[tuple], classes, title: str) -> None:
    """A page with a row for each image: image | truth | prediction | error.

    Args:
        path: file to write.
        rows: (image (H, W, 3) uint8, truth, prediction (H, W) labels, note above the row), of any sizes.
        classes: with `class_names`, `palette`, `ignore_index`; title: above the page.
    """
    colours, columns = colours_of(classes), ("image", "truth", "prediction", "error")
    heights = [min(1.2, image.shape[0] / image.shape[1]) for image, *_ in rows]
    texts = [title, *classes.class_names, *(note for *_, note in rows)]
    with drawing(path, (14, 3.4 * sum(heights) + 0.34 * len(rows) + 1.2), texts=texts) as figure:
        figure.suptitle(drawable(title))
        grid = figure.subplots(len(rows), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes_row, (image, truth, prediction, note) in zip(grid, rows, strict=True):
            panels = (image, colours[truth], colours[prediction], verdict(truth, prediction, classes))
            step = -(-max(image.shape[:2]) // 800)  # of large images a grid of pixels: the page stays a page
            for axes, panel in zip(axes_row, panels, strict=True):
                axes.imshow(panel[::step, ::step], interpolation="antialiased" if panel is image else "nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            axes_row[0].set_title(drawable(note), loc="left", fontsize=10)
        for axes, name in zip(grid[-1], columns, strict=True):
            axes.set_xlabel(name, fontsize=10)
        present = np.unique(np.concatenate([np.unique(labels) for row in rows for labels in row[1:3]]))
        names = drawable_names(classes.class_names)
        entries = [(names[label], colours[label] / 255) for label in present if label != classes.ignore_index]
        more = {"void": void_colour(classes), "right": RIGHT, "wrong": WRONG}
        entries += [(name, np.array(colour) / 255) for name, colour in more.items()]
        add_legend(figure, entries, min(9, len(entries)), fontsize=9)
