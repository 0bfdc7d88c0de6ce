"""A contact sheet: images and masks of a data set side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minideeplab.figures.canvas import add_legend, drawing
from minideeplab.figures.labels import colours_of

SHEET_PAIRS = 12  # pictures on the contact sheet, spread over the split
PAIRS_PER_ROW = 3


def save_contact_sheet(path: str | Path, dataset, labels: Sequence[int]) -> None:
    """Pairs of image and mask, spread over a data set; the legend names `labels` and void."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, SHEET_PAIRS).astype(int)).tolist()
    colours = colours_of(dataset)
    rows = -(-len(chosen) // PAIRS_PER_ROW)
    with drawing(path, (4.2 * PAIRS_PER_ROW, 2.0 * rows + 0.8)) as figure:
        panels = figure.subplots(rows, PAIRS_PER_ROW, squeeze=False).ravel()
        for panel in panels:
            panel.axis("off")
        for panel, i in zip(panels, chosen, strict=False):
            image, mask = dataset.sample(i)
            panel.imshow(np.concatenate([image, colours[mask]], axis=1), interpolation="none")
            panel.set_title(dataset.ids[i], fontsize=7)
        names = {label: dataset.class_names[label] for label in labels} | {dataset.ignore_index: "void"}
        add_legend(figure, [(name, colours[label] / 255) for label, name in names.items()], 8, fontsize=7)
