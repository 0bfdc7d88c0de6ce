"""A page of pictures before and after a dense CRF: `python -m minideeplab.crf.gallery --help`.

It shows the images that gained most, those that gained least or lost, and some between: what a CRF does well and badly.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import kernels
from minideeplab import cli, figures
from minideeplab.data import require_labels
from minideeplab.evaluation import ConfusionMatrix, Predictor, percent
from minideeplab.weights import Checkpoint

EXAMPLE = """\
  python -m minideeplab.crf.gallery --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --out crf.png"""


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    cli.use_device(args)
    out = cli.output_file("--out", args.out, ".png")
    checkpoint = Checkpoint.load(args.checkpoint)
    dataset = cli.open_data(args, args.split)
    checkpoint.check_classes(args.checkpoint, dataset)
    cli.check_files(dataset)
    require_labels(dataset)
    model = checkpoint.build_model(args.checkpoint).to(args.device)
    cli.announce_compilation()
    found, totals = [], [ConfusionMatrix(dataset.num_classes, dataset.ignore_index) for _ in range(2)]
    with cli.Progress(len(dataset), "gallery") as bar:
        for prediction in Predictor(model, crf=args.crf).over(dataset, bar.update):
            truth = prediction.truth
            labels = [kernels.to_device(each, "cpu")[0] for each in (prediction.plain_labels, prediction.labels)]
            for total, each in zip(totals, labels, strict=True):
                total.update(truth, each)
            known = truth != dataset.ignore_index
            right = [float((each == truth)[known].mean()) if known.any() else 0.0 for each in labels]
            found.append((right[1] - right[0], prediction.number, right, labels))
    rows = []
    for gain, i, right, labels in spread_out(sorted(found, key=lambda each: -each[0]), args.rows):
        image, truth = dataset.sample(i)
        share = f"{percent(right[0])} -> {percent(right[1])} % of the pixels are right"
        note = f"{dataset.ids[i]}: {share} ({100 * gain:+.1f})"
        rows.append((image, truth, *labels, note))
    before, after = (percent(total.mean_iou()) for total in totals)
    present, images = totals[1].classes_present(), f"{cli.counted(len(dataset), 'image')} of {dataset.name}"
    if present < dataset.num_classes:
        images = f"{present} of {dataset.num_classes} classes, {images}"
    title = f"--crf {args.crf}: mIoU {before} -> {after} on {images}; from most to least gained"
    figures.save_refinements(out, rows, dataset, title)
    print(f"{title}\nwritten to {out}")
    return 0


def spread_out(items: list, count: int) -> list:
    """`count` items at equal distances, the first and the last among them; all if there are no more."""
    if count >= len(items):
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("crf.gallery", "Draw a page of segmentations before and after a dense CRF.", EXAMPLE)
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="best.npz or last.npz of a run")
    cli.add_data_arguments(parser, default=None)
    parser.add_argument("--split", default="val", help="split to look at")
    cli.add_crf_argument(parser, default="deeplab-v2")
    parser.add_argument("--rows", type=cli.positive_int, default=6, help="images on the page")
    parser.add_argument("--out", default="crf.png", metavar="FILE", help="the page, .png")
    cli.add_device_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
