"""Scores a checkpoint on a data set: `python -m minideeplab.evaluate --help`."""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import kernels
from minideeplab import cli, figures
from minideeplab.data import require_labels
from minideeplab.evaluation import ConfusionMatrix, Prediction, trimap
from minideeplab.files.whole import write_text
from minideeplab.weights import Checkpoint

EXAMPLE = """\
  python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --json scores.json
  python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --scales 0.5 1 1.5 --flip"""


class Scored(NamedTuple):
    """What a confusion matrix counts: labels with or without the CRF, in a band around boundaries or everywhere."""

    crf: bool
    band: int | None = None  # pixels to the nearest boundary, None for all pixels


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    args.trimap = args.trimap or []
    threads = cli.use_device(args)
    report = cli.output_file("--json", args.json, ".json") if args.json else None
    checkpoint = Checkpoint.load(args.checkpoint)
    dataset = cli.open_data(args, args.split)
    checkpoint.check_classes(args.checkpoint, dataset)
    dataset.check()
    require_labels(dataset)
    pictures = cli.create_folder("--pictures", args.pictures) if args.pictures else None
    predictor = cli.predictor_of(args, checkpoint.build_model(args.checkpoint).to(args.device))
    print(
        f"{checkpoint.model['name']} of {args.checkpoint} on {cli.counted(len(dataset), 'image')} of {dataset.name}, "
        f"split '{dataset.split}', at full size, {threads} threads"
    )
    cli.announce_compilation()
    with cli.Progress(len(dataset), "evaluate") as bar:
        predictions = predictor.over(dataset, bar.update)
        results = _confusions(_drawn(predictions, pictures, dataset) if pictures else predictions, dataset, args)
    confusion = results[Scored(bool(args.crf))]
    print(confusion.table(dataset.class_names))
    if args.crf:
        print(f"without the CRF: {results[Scored(False)].summary()}")
    print(confusion.summary())
    for band in args.trimap:
        scores = [
            f"{100 * results[Scored(crf, band)].mean_iou():.2f}{' with CRF' if crf else ''}" for crf in _steps(args.crf)
        ]
        print(f"mIoU within {band} pixel{'s' * (band > 1)} of a boundary: {', '.join(scores)}")
    if report:
        write_text(report, json.dumps(_scores(args, dataset, results), indent=2) + "\n")
    return 0


def _steps(crf: str | None) -> list[bool]:
    """Without and with the CRF, if there is one."""
    return [False, True] if crf else [False]


def _labels(prediction: Prediction, crf: bool):
    return prediction.labels if crf else prediction.plain_labels


def _drawn(predictions, folder: Path, dataset) -> Iterator[Prediction]:
    """The predictions as they come, each drawn with truth and errors; a picture that fails is a warning."""
    for prediction in predictions:
        path = folder / figures.picture_name(dataset.ids[prediction.number])
        shown = {}
        for crf in _steps(prediction.predictor.crf):
            shown["with CRF" if crf else "prediction"] = kernels.to_device(_labels(prediction, crf), "cpu")[0]
        try:
            scores = [
                f"{name}: {figures.image_score(prediction.truth, labels, dataset)}" for name, labels in shown.items()
            ]
            title = "; ".join([dataset.ids[prediction.number], *scores])
            figures.save_comparison(path, prediction.image, shown, dataset, prediction.truth, title)
        except Exception as error:
            print(f"warning: {path} could not be drawn ({type(error).__name__}: {error})", file=sys.stderr)
        yield prediction


def _confusions(predictions, dataset, args: argparse.Namespace) -> dict[Scored, ConfusionMatrix]:
    """What was taken for what, with and without the CRF, everywhere and in each band."""
    keys = [Scored(*key) for key in itertools.product(_steps(args.crf), [None, *args.trimap])]
    results = {key: ConfusionMatrix(dataset.num_classes, dataset.ignore_index) for key in keys}
    for prediction in predictions:
        bands = {band: trimap(prediction.truth, band, dataset.ignore_index) for band in args.trimap}
        bands[None] = prediction.truth
        for key, confusion in results.items():
            confusion.update(bands[key.band][None], _labels(prediction, key.crf))
    return results


def _scores(args: argparse.Namespace, dataset, results: dict[Scored, ConfusionMatrix]) -> dict:
    """What --json writes; null stands for a ratio without pixels."""
    with_crf = bool(args.crf)
    confusion = results[Scored(with_crf)]
    more = {}
    if with_crf:
        plain = results[Scored(False)]
        more = {"crf": args.crf, "mean_iou_without_crf": _number(plain.mean_iou())}
        more["pixel_accuracy_without_crf"] = _number(plain.pixel_accuracy())

    def by_band(crf: bool) -> dict:
        return {str(band): _number(results[Scored(crf, band)].mean_iou()) for band in args.trimap}

    if args.trimap:
        more["trimap"] = by_band(with_crf)
    if args.trimap and with_crf:
        more["trimap_without_crf"] = by_band(False)
    return more | {
        "checkpoint": args.checkpoint,
        "data": str(dataset.root),
        "split": dataset.split,
        "scales": args.scales,
        "flip": args.flip,
        "images": len(dataset),
        "mean_iou": _number(confusion.mean_iou()),
        "classes_present": confusion.classes_present(),
        "pixel_accuracy": _number(confusion.pixel_accuracy()),
        "classes": list(dataset.class_names),
        "iou": _numbers(confusion.iou()),
        "class_accuracy": _numbers(confusion.class_accuracy()),
        "confusion": confusion.counts.tolist(),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("evaluate", "Score a checkpoint: IoU of each class, mean IoU, pixel accuracy.", EXAMPLE)
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="best.npz or last.npz of a run")
    cli.add_data_arguments(parser, default=None)
    parser.add_argument("--split", default="val", help="split to score")
    cli.add_predictor_arguments(parser)
    parser.add_argument(
        "--trimap", type=cli.positive_int, nargs="+", metavar="WIDTH",
        help="also score the pixels within WIDTH pixels of a boundary between labels, e.g. 1 2 5 10 20 40",
    )  # fmt: skip
    parser.add_argument("--pictures", metavar="DIR", help="also write image, truth, prediction and errors side by side")
    parser.add_argument("--json", metavar="FILE", help="also write the scores and the confusion matrix here")
    cli.add_device_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
