"""`python -m minideeplab.inspect_data`: look at a data set before training on it."""

import sys

import numpy as np

from minideeplab import cli
from minideeplab.data import LabelCounts, convert, label_warnings
from minideeplab.figures import save_contact_sheet


@cli.main_guard
def main(argv=None):
    """Run the command; returns the exit code."""
    args = _parser().parse_args(argv)
    sheet = cli.output_file("--out", args.out, ".png") if args.out else None
    if args.convert:
        return _convert(args)
    ds = cli.open_data(args, args.split)
    print(f"{ds.name}: {len(ds)} samples in {args.split!r}, {ds.num_classes} classes, {ds.root}")
    counts = ds.check()
    low, middle, high = np.percentile(counts.sizes, (0, 50, 100), axis=0, method="nearest").tolist()
    print(f"height {low[0]}..{high[0]} (median {middle[0]}) pixels")
    print(f"width {low[1]}..{high[1]} (median {middle[1]}) pixels")
    print("\n".join(class_table(counts)))
    for sentence in label_warnings(ds):
        print(f"warning: {sentence}")
    if sheet:
        present = [label for label in range(ds.num_classes) if counts.masks[label] and label != ds.ignore_index]
        save_contact_sheet(sheet, ds, labels=present)
        print(f"wrote {sheet}")
    return 0


def _convert(args):
    """Writes all splits in VOC's folders."""
    splits = cli.open_splits(args)
    with cli.Progress(sum(map(len, splits)), "convert") as bar:
        count = convert(splits, args.convert, bar.update)
    print(f"{args.convert}: {count} images in VOC's folders, splits {', '.join(each.split for each in splits)}")
    return 0


def class_table(counts: LabelCounts) -> list[str]:
    """Lines of text: each class with its share of all labelled pixels and its number of images; then void."""
    names, void = counts.class_names, counts.ignore_index
    width = max(len(name) for name in (*names, "class"))
    lines = [f"label  {'class':<{width}}  pixels %  images"]
    for label, name in enumerate(names):
        if label == void:
            continue
        absent = "" if counts.masks[label] else "  never occurs"
        share = 100 * counts.pixels[label] / max(1, counts.labelled)
        lines.append(f"{label:>5}  {name:<{width}}  {share:>8.2f}  {counts.masks[label]:>6}{absent}")
    row = f"{void:>5}  {'void':<{width}}  {100 * counts.void_share:>8.2f}  {counts.masks[void]:>6}"
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
    parser.add_argument("--convert", metavar="DIR", help="write all splits in VOC's folders to this new folder instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
