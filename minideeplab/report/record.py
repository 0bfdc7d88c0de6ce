"""What a run keeps for its report, in OUT/report/, and the report itself.

    samples.json       photographs and true labels of the validation images that the report follows
    epoch-00004.json   what the network said of them after epoch 4
    best.json          of the best validation: its epoch, its confusion matrix, and its worst images

The page is made of these files and the run's records alone, so it is the same after any number of stops and resumes.
"""

import heapq
import itertools
import json
import math
from pathlib import Path

import numpy as np

import kernels
from minideeplab.distributed import Alone
from minideeplab.evaluation import ConfusionMatrix, Prediction
from minideeplab.evaluation.epochs import validated
from minideeplab.figures import colours_of, score_text
from minideeplab.files.whole import write_text
from minideeplab.report import kept, page, pictures
from minideeplab.report.content import Content
from minideeplab.report.machine import machine

SAMPLES = 4  # validation images that are followed
WORST = 6  # images shown of the best validation
VALIDATIONS = 12  # shown of each sample, at most, and the last one
SAMPLE_BYTES = 2_400_000  # of all that is kept of the samples; the whole page stays below 6 MB


class Seen:
    """What is kept of the predictions of one validation: those that are followed, and the worst.

    Of several ranks each sees the predictions of its images, between `begin` and `gather`; only the first needs a
    `Report`.

    Args:
        count: number of validation images, of all ranks.
    """

    def __init__(self, count: int):
        self.numbers = set(fixed_samples(count))
        self.begin()

    def begin(self) -> None:
        """Before a validation: nothing has been seen, whatever became of the last one."""
        self.samples: list[dict] = []
        self.worst: list[tuple[float, int, dict]] = []  # a heap, the best of the worst first
        self.fault: Exception | None = None

    def see(self, prediction: Prediction, confusion: ConfusionMatrix) -> None:
        """Looks at one prediction of a validation, and the confusion matrix of this image alone.

        A fault is kept for `Report.add`: no report ends a validation.
        """
        try:
            score = confusion.mean_iou()
            if prediction.number in self.numbers:
                self.samples.append(_seen(prediction, confusion))
            rank = (-score, -prediction.number)
            if math.isfinite(score) and (len(self.worst) < WORST or rank > self.worst[0][:2]):
                place = heapq.heappush if len(self.worst) < WORST else heapq.heapreplace
                place(self.worst, (*rank, _seen(prediction, confusion)))
        except Exception as error:
            self.fault = error

    def gather(self, group: Alone) -> None:
        """After a validation: brings what all ranks have seen to the first, and leaves nothing on the others.

        The first then has what one process has that sees all predictions. All ranks call it.

        Cost: a rank sends at most SAMPLES + WORST small pictures, of 6 bytes a pixel.
        """
        fault = self.fault and f"{type(self.fault).__name__}: {self.fault}"  # not all exceptions can be sent
        parts = group.gather((self.samples, self.worst, fault))
        if not group.is_first:
            self.begin()
        for rank, (samples, worst, fault) in enumerate(parts[1:], 1):
            self.samples = sorted(self.samples + samples, key=lambda seen: seen["number"])
            self.worst = heapq.nlargest(WORST, self.worst + worst)
            if fault:
                self.fault = RuntimeError(f"on rank {rank}: {fault}")


class Report(Seen):
    """Sees the predictions of each validation, keeps some, and writes report.html.

    Args:
        folder: of the run.
        train_set, val_set: data sets, checked.
        device: where the network runs, for the page.
    """

    def __init__(self, folder: Path, train_set, val_set, device: str = "cpu"):
        super().__init__(len(val_set))
        self.folder, self.kept = folder, folder / "report"
        self.train_set, self.val_set, self.device = train_set, val_set, device
        self.colours = pictures.distinct(colours_of(val_set))

    def add(self, epoch: int, confusion: ConfusionMatrix, improved: bool) -> None:
        """Keeps what was seen in the validation after `epoch`; `improved`: it is the best so far.

        Raises:
            Exception: whatever went wrong here or in `see`.
        """
        samples, worst, fault = self.samples, sorted(self.worst, reverse=True), self.fault
        self.begin()
        if fault:
            raise fault
        self.kept.mkdir(exist_ok=True)
        if not kept.scenes(self.kept / "samples.json"):  # not there yet, or damaged
            self._write("samples.json", [self._scene(sample) for sample in samples])
        self._write(f"epoch-{epoch:05}.json", [self._answer(sample) for sample in samples])
        if improved:
            images = [self._scene(seen) | self._answer(seen) for *_, seen in worst]
            self._write("best.json", {"epoch": epoch, "confusion": confusion.counts.tolist(), "worst": images})

    def write(self, path: Path, epochs: list[dict], steps: list[dict], totals: tuple[int, int]) -> None:
        """Writes the page anew.

        Args:
            path: file to write; epochs: rows of metrics.csv; steps: rows of metrics.jsonl.
            totals: epochs and steps of the whole run.
        """
        shown = self._thinned([row["epoch"] for row in validated(epochs)])
        content = Content(
            name=self.folder.resolve().name,
            arguments=kept.arguments(self.folder / "args.json"),
            epochs=epochs,
            steps=steps,
            totals=totals,
            train_set=self.train_set,
            val_set=self.val_set,
            colours=self.colours,
            best=kept.best(self.kept / "best.json", [row["epoch"] for row in epochs]),
            scenes=kept.scenes(self.kept / "samples.json"),
            answers={epoch: answers for epoch in shown if (answers := kept.answers(self.kept / _name(epoch)))},
            warnings=self._warnings(),
            machine=machine(self.device),
        )
        write_text(path, page.page(content))

    def _scene(self, seen: dict) -> dict:
        return {
            "id": self.val_set.ids[seen["number"]],
            "height": seen["height"],
            "width": seen["width"],
            "step": pictures.step_of(seen["height"], seen["width"]),
            "photo": pictures.photo_url(seen["photo"]),
            "truth": pictures.labels_url(seen["truth"], self.colours),
        }

    def _answer(self, seen: dict) -> dict:
        return {
            "score": seen["score"],
            "labels": pictures.labels_url(seen["labels"], self.colours),
            "percent": pictures.percent_url(seen["percent"]),
        }

    def _thinned(self, validated: list[int]) -> list[int]:
        """The epochs that the page shows; the files of all others are removed, also those that a resume took back."""
        sizes = {epoch: file.stat().st_size for epoch in validated if (file := self.kept / _name(epoch)).exists()}
        limits = itertools.takewhile(bool, (VALIDATIONS >> halvings for halvings in itertools.count()))
        lists = [thinned(validated, limit) for limit in limits]
        small = (shown for shown in lists if sum(sizes.get(epoch, 0) for epoch in shown) <= SAMPLE_BYTES)
        shown = next(small, lists[-1])
        for file in self.kept.glob("epoch-*.json"):
            if file.name not in map(_name, shown):
                file.unlink()
        return shown

    def _warnings(self) -> list[str]:
        """Those in log.txt, each once, in their order."""
        path = self.folder / "log.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return list(dict.fromkeys(line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")))

    def _write(self, name: str, content) -> None:
        write_text(self.kept / name, json.dumps(content))


def fixed_samples(count: int) -> list[int]:
    """Numbers of the validation images, of `count`, whose pictures a run shows: evenly spread."""
    return np.linspace(0, count - 1, min(SAMPLES, count)).round().astype(int).tolist()


def thinned(items: list, limit: int) -> list:
    """Every s-th item, s = 1, 2, 4, ... so that there are at most `limit`; and the last one.

    What a longer list shows, a shorter one showed: nothing that was left out is asked for again.
    """
    step = 1
    while -(-len(items) // step) > limit:
        step *= 2
    return [item for i, item in enumerate(items) if i % step == 0 or i == len(items) - 1]


def _name(epoch: int) -> str:
    return f"epoch-{epoch:05}.json"


def _seen(prediction: Prediction, confusion: ConfusionMatrix) -> dict:
    """What is shown of one prediction, small: its arrays (h, w) are not yet compressed."""
    height, width = prediction.truth.shape
    places = pictures.kept_pixels(height, width)
    labels = kernels.to_device(prediction.labels, "cpu")[0][places]
    if prediction.in_tiles:  # their scores are never held at once
        percent = np.rint(100 * prediction.confidence[places]).astype(np.uint8)
    else:
        percent = pictures.percent_of(labels, prediction.scores.numpy()[0][places], prediction.kind)
    return {
        "number": prediction.number,
        "height": height,
        "width": width,
        "score": score_text(confusion),
        "photo": pictures.small_photo(prediction.image),
        "truth": prediction.truth[places].copy(),  # not the whole mask
        "labels": labels,
        "percent": percent,
    }
