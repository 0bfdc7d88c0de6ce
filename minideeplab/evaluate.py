"""Scores a checkpoint on a data set: `python -m minideeplab.evaluate --help`."""

import argparse
import json
import math
import sys
from collections.abc import Sequence

import numpy as np

from minideeplab import cli
from minideeplab.data import open_dataset
from minideeplab.errors import CheckpointError
from minideeplab.inference import confusion_of
from minideeplab.metrics import ConfusionMatrix
from minideeplab.progress import Progress
from minideeplab.weights import Checkpoint

EXAMPLE = """\
  python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --json scores.json"""


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    threads = cli.use_device(args)
    report = cli.output_file("--json", args.json, ".json") if args.json else None
    checkpoint = Checkpoint.load(args.checkpoint)
    dataset = open_dataset(args.data, args.dataset, args.split, args.limit)
    _check_classes(args.checkpoint, checkpoint.class_names, dataset)
    dataset.check()
    model = checkpoint.build_model(args.checkpoint).to(args.device)
    print(
        f"{checkpoint.model['name']} of {args.checkpoint} on {len(dataset)} images of {dataset.name}, "
        f"split '{dataset.split}', at full size, {threads} threads"
    )
    cli.announce_compilation()
    with Progress(len(dataset), "evaluate") as bar:
        confusion = confusion_of(model, dataset, bar.update)
    print(confusion.table(dataset.class_names))
    print(confusion.summary())
    if report:
        report.write_text(json.dumps(_scores(args, dataset, confusion), indent=2) + "\n", encoding="utf-8")
    return 0


def _check_classes(path: str, trained: list[str], dataset) -> None:
    """A label means the same in both only if count, names and order of the classes are the same."""
    names = list(dataset.class_names)
    if len(trained) != len(names):
        raise CheckpointError(
            f"{path}: trained on {len(trained)} classes ({', '.join(trained)}), "
            f"the data set {dataset.root} has {len(names)} ({', '.join(names)}); evaluate it on data of its own classes"
        )
    for label, (there, here) in enumerate(zip(trained, names, strict=True)):
        if there != here:
            raise CheckpointError(
                f"{path}: trained with label {label} as '{there}', which is '{here}' in the data set "
                f"{dataset.root}; evaluate it on data of its own classes"
            )


def _scores(args: argparse.Namespace, dataset, confusion: ConfusionMatrix) -> dict:
    """What --json writes; null stands for a ratio without pixels."""
    return {
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
    parser.add_argument("--json", metavar="FILE", help="also write the scores and the confusion matrix here")
    cli.add_device_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
