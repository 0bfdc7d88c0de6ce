"""Close-ups: the same window of an image and of several label maps, as rows of pictures."""

from collections.abc import Mapping, Sequence

import numpy as np

from minideeplab.data.palettes import IGNORE_INDEX
from minideeplab.teach.images import classes
from minideeplab.teach.style import WIDTH, panels

LIGHT_GREY = 224  # of void: white would vanish on the page


def draw_closeups(rows: Sequence[Mapping[str, np.ndarray]], windows: Sequence[tuple], palette=None, axes=None) -> None:
    """Draws one row for each sample: what is in its mapping, cut to its window, under the names of the first row.

    Args:
        rows: name -> (H, W, 3) uint8 image, or (H, W) labels, drawn in the colours of `palette`; void is light grey.
        windows: (top, left, side) of each row, pixels.
        palette: (256, 3) uint8; that of `teach.classes()` if None.
        axes: (rows, names) array of matplotlib's, a new figure if None.
    """
    colours = np.array(classes().palette if palette is None else palette)
    colours[IGNORE_INDEX] = LIGHT_GREY
    names = list(rows[0])
    if axes is None:
        axes = panels(len(rows), len(names), WIDTH / len(names) * 1.02, squeeze=False)
    for number, (row, (top, left, side), line) in enumerate(zip(rows, windows, axes, strict=True)):
        for name, place in zip(names, line, strict=True):
            cut = row[name][top : top + side, left : left + side]
            place.imshow(cut if cut.ndim == 3 else colours[cut])
            place.set_title("" if number else name)
            place.set_axis_off()
