"""Validations without a network: a data set in memory, predictions at random, and the report of a run of them."""

import json
from types import SimpleNamespace

import numpy as np

from minideeplab import Tensor
from minideeplab.data import LabelCounts, voc_colour_map
from minideeplab.distributed import ALONE
from minideeplab.evaluation import ConfusionMatrix, Prediction
from minideeplab.report import Report

PREDICTOR = SimpleNamespace(crf=None, model=SimpleNamespace(device="cpu"))
NASTY = ("</script><script>alert(1)</script>", "{{script}}", "$x & <b>", '"><img src=http://x.y/z onerror=alert(1)>')


class Pictures:
    """Images at random, with the labels of classes and void in them."""

    def __init__(self, count=5, size=(24, 36), names=NASTY, void=255, split="val", seed=0):
        rng = np.random.default_rng(seed)
        self.name, self.root, self.split, self.class_names = "toys & <co>", "/data/<toys>", split, tuple(names)
        self.ids = tuple(f"picture {i} </h3>" for i in range(count))
        self.palette, self.ignore_index, self.num_classes = voc_colour_map(), void, len(names)
        self.images = rng.integers(0, 256, (count, *size, 3), np.uint8)
        self.masks = rng.integers(0, len(names) + 1, (count, *size), np.uint8)
        self.masks[self.masks == len(names)] = void
        self.counts = LabelCounts(self.class_names, void)
        for mask in self.masks:
            self.counts.add(mask)

    def __len__(self):
        return len(self.ids)

    def sample(self, i):
        return self.images[i], self.masks[i]


def scores_of(dataset, seed):
    """Logits (N, H, W, K) of a validation."""
    rng = np.random.default_rng([1, seed])
    return 3 * rng.standard_normal((*dataset.masks.shape, dataset.num_classes)).astype(np.float32)


def validate(report, dataset, seed, group=ALONE):
    """One validation, of which the report sees the share of its rank; the confusion matrix of all."""
    total = ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
    report.begin()
    for number, scores in enumerate(scores_of(dataset, seed)):
        prediction = Prediction(PREDICTOR, dataset.images[number], "logits", Tensor(scores[None]))
        prediction.number, prediction.truth = number, dataset.masks[number]
        image = ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
        image.update(prediction.truth[None], prediction.labels)
        total.counts += image.counts
        if number in group.share(range(len(dataset))):
            report.see(prediction, image)
    return total


def row_of(epoch, confusion):
    return {
        "epoch": epoch, "step": 3 * epoch, "lr": 0.1, "train_loss": 2 / epoch, "val_miou": confusion.mean_iou(),
        "val_classes_present": confusion.classes_present(), "val_pixel_accuracy": confusion.pixel_accuracy(),
        "images_per_second": 3.0, "seconds": 60.0 * epoch,
    }  # fmt: skip


def make_report(folder, dataset=None, epochs=3, best=2):
    """A run folder with report.html after so many epochs; the report."""
    dataset = dataset or Pictures()
    folder.mkdir(exist_ok=True)
    arguments = {"arguments": {"data": "<data>", "lr": 0.1}, "versions": {"numpy": "2"}, "parameters": 1234}
    (folder / "args.json").write_text(json.dumps(arguments))
    (folder / "log.txt").write_text("warning: <b>careful</b>\nall is well\nwarning: <b>careful</b>\n")
    report, rows = Report(folder, dataset, dataset), []
    for epoch in range(1, epochs + 1):
        confusion = validate(report, dataset, epoch)
        report.add(epoch, confusion, epoch <= best)
        rows.append(row_of(epoch, confusion))
    steps = [{"step": i, "loss": 2 / i, "lr": 0.1} for i in range(1, 3 * epochs + 1)]
    report.write(folder / "report.html", rows, steps, (epochs, 3 * epochs))
    return report
