"""Drawings of label maps: classes in their colours with their names, and small maps as squares with numbers."""

import numpy as np

from minideeplab.teach.images import classes
from minideeplab.teach.style import GREY, SKY, axes_or_new

HEIGHT = 3.2  # of a new figure, inches
LEAST_PIXELS, LEAST_SHARE = 60, 0.008  # of a region that is large enough for its name; share of all pixels
LETTER = 0.035  # width of a letter, as a share of the map's


def coloured(labels: np.ndarray, palette: np.ndarray | None = None) -> np.ndarray:
    """The picture of a label map: palette[labels].

    Args:
        labels: (H, W) whole numbers in 0..255; palette: (256, 3) uint8, of the synthetic set if None.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        TypeError: floats are no labels.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"coloured: labels must be whole numbers, got {labels.dtype}")
    return (classes().palette if palette is None else palette)[labels]


def draw_labels(labels: np.ndarray, axes=None, title: str = "", names: bool = True) -> None:
    """Draws a label map in the colours of the synthetic set, with "label name" inside each class.

    Args:
        labels: (H, W) uint8; names: write them, at the place farthest from other labels.
    """
    axes = axes_or_new(axes, HEIGHT)
    axes.imshow(coloured(labels))
    axes.set_title(title)
    axes.set_axis_off()
    for label in np.unique(labels) if names else []:
        place = _inside(labels == label)
        if place and label < classes().num_classes:
            _write(axes, *place, f"{label} {classes().class_names[label]}", labels.shape[1])


def draw_numbers(values: np.ndarray, axes=None, title: str = "", colours: np.ndarray | None = None, size=9) -> None:
    """Draws a small array as squares with its numbers in them.

    Args:
        values: (h, w) numbers or words; colours: (h, w, 3) of the squares, white if None; size: of the letters.
    """
    axes = axes_or_new(axes, HEIGHT)
    h, w = values.shape
    colours = np.full((h, w, 3), 255, np.uint8) if colours is None else colours
    axes.imshow(colours)
    for row, column in np.ndindex(h, w):
        dark = colours[row, column].astype(float) @ (0.299, 0.587, 0.114) < 140
        axes.text(column, row, str(values[row, column]), ha="center", va="center", size=size,
                  color="white" if dark else "black")  # fmt: skip
    for side, count in ((axes.axhline, h), (axes.axvline, w)):
        for k in range(1, count):
            side(k - 0.5, color=GREY, lw=0.5)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def draw_losses(losses: np.ndarray, void: np.ndarray, axes=None, title: str = "", most: float = 4.0) -> None:
    """Draws the loss of each pixel, bright where it is large; void pixels are blue.

    Args:
        losses: (H, W) of at least 0, in nat; void: (H, W) bool; most: the loss that is white, and all above it.
    """
    import matplotlib.pyplot as plt

    axes = axes_or_new(axes, HEIGHT)
    shown = np.ma.array(losses, mask=void)
    axes.imshow(shown, cmap=plt.get_cmap("inferno").with_extremes(bad=SKY), vmin=0, vmax=most)
    axes.set_title(title)
    axes.set_axis_off()


def _inside(where):
    """(row, column) of the pixel of a region that is farthest from its border; None for a small region."""
    from scipy import ndimage

    if where.sum() < max(LEAST_PIXELS, LEAST_SHARE * where.size):
        return None
    depth = ndimage.distance_transform_edt(np.pad(where, 1))[1:-1, 1:-1]
    return np.unravel_index(depth.argmax(), depth.shape)


def _write(axes, row, column, text, width):
    from matplotlib import patheffects

    half = min(0.5, LETTER * len(text) / 2) * width
    column = min(max(column, half), width - half)  # within the map
    outline = patheffects.withStroke(linewidth=2, foreground="black")
    axes.text(column, row, text, ha="center", va="center", color="white", size=8, path_effects=[outline])
