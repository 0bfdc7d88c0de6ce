"""One look for all notebooks: colours that all readers can tell apart, text that can be read at notebook width."""

from collections.abc import Sequence

import numpy as np

# Okabe & Ito 2008, "Color Universal Design"; they differ in lightness, too
BLACK, ORANGE, SKY, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, RED, PINK = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
GREY = "#8c8c8c"
CYCLE = (BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK)
WIDTH = 8.0  # inches, of a picture as wide as the page
SETTINGS = {
    "figure.figsize": (WIDTH, 3.2),
    "figure.dpi": 90,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "image.interpolation": "nearest",
    "legend.frameon": False,
}


def apply_style() -> None:
    """Sets the look for all that pyplot draws in this process."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(SETTINGS | {"axes.prop_cycle": cycler(color=CYCLE)})


def panels(rows: int, columns: int, height: float = 2.6, **options):
    """A new figure of page width; returns its axes, (rows, columns) as an array, one Axes for 1 x 1.

    Args:
        height: of a row, inches; options: of `pyplot.subplots`.
    """
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(WIDTH, height * rows), **options)[1]


def axes_or_new(axes, height: float):
    """The axes that a drawing was given, or those of a new figure of page width, so many inches high, for None."""
    return panels(1, 1, height) if axes is None else axes


def show(images: Sequence[np.ndarray], titles: Sequence[str] = (), columns: int | None = None, **options) -> None:
    """Draws images side by side, without axes: (H, W, 3) colours, or (H, W) numbers with a colour map.

    Args:
        titles: one above each image; columns: images in a row, all by default; options: of `Axes.imshow`.
    """
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    height, width = max(i.shape[0] for i in images), max(i.shape[1] for i in images)
    grid = panels(rows, columns, WIDTH / columns * height / width + 0.3, squeeze=False).ravel()
    for axes, image, title in zip(grid, images, list(titles) + [""] * len(images), strict=False):
        axes.imshow(image, **options)
        axes.set_title(title)
    for axes in grid:
        axes.set_axis_off()
