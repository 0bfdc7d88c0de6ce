"""Scores a checkpoint on a data set: `python -m minideeplab.evaluate --help`."""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

import kernels
from minideeplab import cli, figures
from minideeplab.data import open_dataset
from minideeplab.evaluation.metrics import ConfusionMatrix, trimap
from minideeplab.evaluation.predictor import labels_on_device, logits_on_device, refined_labels
from minideeplab.weights import Checkpoint

EXAMPLE = """\
  python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --json scores.json"""


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    args.trimap = args.trimap or []
    threads = cli.use_device(args)
    report = cli.output_file("--json", args.json, ".json") if args.json else None
    checkpoint = Checkpoint.load(args.checkpoint)
    dataset = open_dataset(args.data, args.dataset, args.split, args.limit)
    checkpoint.check_classes(args.checkpoint, dataset)
    dataset.check()
    pictures = cli.create_folder("--pictures", args.pictures) if args.pictures else None
    model = checkpoint.build_model(args.checkpoint).to(args.device)
    print(
        f"{checkpoint.model['name']} of {args.checkpoint} on {len(dataset)} images of {dataset.name}, "
        f"split '{dataset.split}', at full size, {threads} threads"
    )
    cli.announce_compilation()
    with cli.Progress(len(dataset), "evaluate") as bar:
        results = _confusions(model, dataset, args, partial(_draw, pictures, checkpoint.palette), bar.update)
    confusion = results[args.crf, None]
    print(confusion.table(dataset.class_names))
    if args.crf:
        print(f"without the CRF: {results[None, None].summary()}")
    print(confusion.summary())
    for width in args.trimap:
        scores = [f"{100 * results[crf, width].mean_iou():.2f}{' with CRF' if crf else ''}" for crf in _steps(args.crf)]
        print(f"mIoU within {width} pixel{'s' * (width > 1)} of a boundary: {', '.join(scores)}")
    if report:
        report.write_text(json.dumps(_scores(args, dataset, results), indent=2) + "\n", encoding="utf-8")
    return 0


def _steps(crf: str | None) -> list[str | None]:
    """Without and with the CRF, if there is one."""
    return [None, crf] if crf else [None]


def _draw(folder: Path | None, palette, dataset, number: int, image, truth, labels: dict) -> None:
    """A picture of image, truth and labels side by side, if there is a folder for it."""
    if folder:
        shown = {"with CRF" if step else "prediction": kernels.to_device(a, "cpu")[0] for step, a in labels.items()}
        path = folder / f"{dataset.ids[number].replace('/', '_')}.png"
        figures.save_comparison(path, image, {"truth": truth} | shown, dataset.class_names, palette)


def _confusions(model, dataset, args: argparse.Namespace, draw, report) -> dict:
    """(None or the CRF's preset, None or the width of a trimap) -> ConfusionMatrix.

    `draw(dataset, number, image, truth, labels)` and `report()` are called after each image.
    """
    crf, widths = args.crf, args.trimap
    results = {
        key: ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
        for key in itertools.product(_steps(crf), [None, *widths])
    }
    for i in range(len(dataset)):
        image, truth = dataset.sample(i)
        if crf or widths:
            logits = logits_on_device(model, image).numpy()[0]
            labels = {None: logits.argmax(axis=-1)[None]}
            if crf:
                labels[crf] = refined_labels(logits, image, crf, model.device)[None]
        else:
            labels = {None: labels_on_device(model, image)}
        bands = {None: truth, **{width: trimap(truth, width, dataset.ignore_index) for width in widths}}
        for (step, width), confusion in results.items():
            confusion.update(bands[width][None], labels[step])
        draw(dataset, i, image, truth, labels)
        report()
    return results


def _scores(args: argparse.Namespace, dataset, results: dict) -> dict:
    """What --json writes; null stands for a ratio without pixels."""
    confusion = results[args.crf, None]
    more = {"crf": args.crf, "mean_iou_without_crf": _number(results[None, None].mean_iou())} if args.crf else {}
    if args.trimap:
        more["trimap"] = {str(width): _number(results[args.crf, width].mean_iou()) for width in args.trimap}
    if args.trimap and args.crf:
        more["trimap_without_crf"] = {str(width): _number(results[None, width].mean_iou()) for width in args.trimap}
    return more | {
        "checkpoint": args.checkpoint,
        "data": str(dataset.root),
        "split": dataset.split,
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
    cli.add_crf_argument(parser)
    parser.add_argument(
        "--trimap", type=cli.positive_int, nargs="+", metavar="WIDTH",
        help="also score the pixels within WIDTH pixels of a boundary between labels, e.g. 1 2 5 10 20 40",
    )  # fmt: skip
    parser.add_argument("--pictures", metavar="DIR", help="also write image, truth and prediction side by side")
    parser.add_argument("--json", metavar="FILE", help="also write the scores and the confusion matrix here")
    cli.add_device_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
