"""`python -m minideeplab.inspect_data`: look at a data set before training on it."""

import sys

import numpy as np

from minideeplab import cli
from minideeplab.data import IGNORE_INDEX, open_dataset
from minideeplab.data.statistics import count_labels
from minideeplab.figures import save_contact_sheet


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
