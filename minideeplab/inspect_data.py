"""`python -m minideeplab.inspect_data`: look at a data set before training on it."""

import sys

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from minideeplab import cli
from minideeplab.data import IGNORE_INDEX, open_dataset

SHEET_PAIRS = 12  # pictures on the contact sheet, spread over the split
PAIRS_PER_ROW = 3


@cli.main_guard
def main(argv=None):
    """Run the command; returns the exit code."""
    args = _parser().parse_args(argv)
    sheet = cli.output_file("--out", args.out, ".png") if args.out else None
    ds = open_dataset(args.data, args.dataset, args.split, args.limit)
    print(f"{ds.name}: {len(ds)} samples in {args.split!r}, {ds.num_classes} classes, {ds.root}")
    ds.check()
    pixels, samples, sizes = count_labels(ds)
    low, middle, high = np.percentile(sizes, (0, 50, 100), axis=0, method="nearest").tolist()
    print(f"height {low[0]}..{high[0]} (median {middle[0]}) pixels")
    print(f"width {low[1]}..{high[1]} (median {middle[1]}) pixels")
    print("\n".join(class_table(ds.class_names, pixels, samples)))
    if sheet:
        save_contact_sheet(sheet, ds, labels=np.flatnonzero(samples[: ds.num_classes]).tolist())
        print(f"wrote {sheet}")
    return 0


def count_labels(ds):
    """Count the labels of a whole data set.

    Returns:
        pixels: (256,) int64, pixels of each label.
        samples: (256,) int64, masks in which each label occurs.
        sizes: (len(ds), 2) int64, height and width of each mask.
    """
    counts = np.zeros((2, 256), np.int64)
    sizes = []
    for i in range(len(ds)):
        mask = ds.mask(i)
        histogram = np.bincount(mask.ravel(), minlength=256)
        counts += histogram, histogram > 0
        sizes.append(mask.shape)
    return counts[0], counts[1], np.array(sizes)


def class_table(class_names, pixels, samples):
    """Lines of text: each class with its share of all labelled pixels and its number of images; then void."""
    labelled = max(1, int(pixels[: len(class_names)].sum()))
    width = max(len(name) for name in (*class_names, "class"))
    lines = [f"label  {'class':<{width}}  pixels %  images"]
    for label, name in enumerate(class_names):
        absent = "" if samples[label] else "  never occurs"
        share = 100 * pixels[label] / labelled
        lines.append(f"{label:>5}  {name:<{width}}  {share:>8.2f}  {samples[label]:>6}{absent}")
    void = 100 * pixels[IGNORE_INDEX] / max(1, int(pixels.sum()))
    row = f"{IGNORE_INDEX:>5}  {'void':<{width}}  {void:>8.2f}  {samples[IGNORE_INDEX]:>6}"
    lines.append(f"{row}  (% of all pixels)")
    return lines


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
        panel.set_title(ds.ids[i], fontsize=7)
    names = [(label, ds.class_names[label]) for label in labels] + [(IGNORE_INDEX, "void")]
    patches = [Patch(facecolor=ds.palette[label] / 255, edgecolor="black", label=name) for label, name in names]
    figure.legend(handles=patches, loc="outside lower center", ncols=8, fontsize=7)
    figure.savefig(path, dpi=110)


def _parser():
    parser = cli.command_parser(
        "inspect_data",
        "Check each file of a split, count its classes, and draw some of its samples.",
        "  python -m minideeplab.inspect_data --data synthetic --out sheet.png",
    )
    cli.add_data_arguments(parser, default=None)
    parser.add_argument("--split", default="train", help="name of the split file")
    parser.add_argument("--out", metavar="FILE", help="write a contact sheet of images and masks to this PNG file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
