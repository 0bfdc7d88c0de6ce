"""A contact sheet: images and masks of a data set side by side."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

SHEET_PAIRS = 12  # pictures on the contact sheet, spread over the split
PAIRS_PER_ROW = 3


def save_contact_sheet(path, ds, labels):
    """Write a PNG of image and mask pairs, spread over the data set; its legend shows `labels` and void."""
    chosen = np.unique(np.linspace(0, len(ds) - 1, SHEET_PAIRS).astype(int)).tolist()
    rows = -(-len(chosen) // PAIRS_PER_ROW)
    figure = Figure(figsize=(4.2 * PAIRS_PER_ROW, 2.0 * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, PAIRS_PER_ROW, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, i in zip(panels, chosen, strict=False):
        image, mask = ds.sample(i)
        panel.imshow(np.concatenate([image, ds.palette[mask]], axis=1), interpolation="none")
        panel.set_title(ds.ids[i], fontsize=7, parse_math=False)  # an id may hold $
    names = {label: ds.class_names[label] for label in labels} | {ds.ignore_index: "void"}
    patches = [Patch(facecolor=ds.palette[label] / 255, edgecolor="black") for label in names]
    legend = figure.legend(patches, map(str, names), loc="outside lower center", ncols=8, fontsize=7)
    for text, name in zip(legend.get_texts(), names.values(), strict=True):
        text.set(text=name, parse_math=False)  # not at once: a legend leaves out names that begin with _
    figure.savefig(path, dpi=110)
