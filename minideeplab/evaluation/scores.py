"""The scores of a network on a data set: everything that is counted while its predictions pass by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import kernels
from minideeplab.evaluation.boundaries import boundary_f1, trimap
from minideeplab.evaluation.metrics import ConfusionMatrix, image_text, known_mean, percent

# Names of the reductions, as they stand beside the numbers in files.
PER_CLASS = "over the set: pixels of all images are counted together"
PER_IMAGE = "over the classes in truth or prediction of the image"


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image.

    Attributes:
        id: of the sample; number: its place in the data set.
        mean_iou: over the classes in the truth or the prediction of this image; NaN without labelled pixels.
        classes_present: their number.
        pixel_accuracy: share of the labelled pixels that are right.
        boundary_f1: mean over the classes that have a boundary here; NaN if there is none, or if it was not asked for.
    """

    id: str
    number: int
    mean_iou: float
    classes_present: int
    pixel_accuracy: float
    boundary_f1: float = math.nan

    def __str__(self) -> str:
        return image_text(self.mean_iou, self.classes_present, self.pixel_accuracy)


class Scores:
    """Counts of one kind of labels, those with a CRF or those without.

    Args:
        class_names: name of each label; ignore_index: the label of void.
        widths: of the bands around boundaries, pixels, see `trimap`.
        with_boundary_f1: whether boundary F1 is found, which costs 15 ms an image of CamVid.

    Attributes:
        confusion: over all pixels; bands: width -> `ConfusionMatrix`.
        images: an `ImageScore` for each image, in the order of the set.
    """

    def __init__(
        self, class_names: Sequence[str], ignore_index: int = 255, widths: Sequence[int] = (), with_boundary_f1=False
    ):
        self.class_names, self.ignore_index, self.with_boundary_f1 = tuple(class_names), ignore_index, with_boundary_f1
        self.confusion = self._empty()
        self.bands = {width: self._empty() for width in widths}
        self.images: list[ImageScore] = []
        self._boundary_f1: dict[int, np.ndarray] = {}  # number of an image -> (C,)

    def add(self, sample: str, number: int, truth: np.ndarray, labels, bands: dict[int, np.ndarray]) -> ImageScore:
        """Counts an image.

        Args:
            sample, number: its id and place; truth: (H, W) uint8; bands: width -> its trimap.
            labels: (1, H, W) uint8 on any device.
        """
        here = self._empty()
        here.update(truth[None], labels)
        self.confusion.counts += here.counts
        for width, confusion in self.bands.items():
            confusion.update(bands[width][None], labels)
        f1 = math.nan
        if self.with_boundary_f1:
            found = boundary_f1(truth, kernels.to_device(labels, "cpu")[0], len(self.class_names), self.ignore_index)
            self._boundary_f1[number] = found
            f1 = known_mean(found)
        score = ImageScore(sample, number, here.mean_iou(), here.classes_present(), here.pixel_accuracy(), f1)
        self.images.append(score)
        return score

    def take_in(self, other: "Scores") -> None:
        """Adds what another rank has counted of other images of the set, to the same numbers as those of one rank."""
        self.confusion.counts += other.confusion.counts
        for width, confusion in self.bands.items():
            confusion.counts += other.bands[width].counts
        self.images = sorted(self.images + other.images, key=lambda score: score.number)
        self._boundary_f1 |= other._boundary_f1

    def class_boundary_f1(self) -> np.ndarray:
        """(C,) float64: mean over the images in which the class has a boundary; NaN where none has."""
        ordered = [self._boundary_f1[score.number] for score in self.images] if self.with_boundary_f1 else []
        found = np.array(ordered).reshape(-1, len(self.class_names))
        return np.array([known_mean(column) for column in found.T])

    def mean_boundary_f1(self) -> float:
        """Mean of `class_boundary_f1` over the classes that have one."""
        return known_mean(self.class_boundary_f1())

    def image_mean_iou(self) -> float:
        """Mean over images of their mean IoU, which is not the mean IoU of the set."""
        return known_mean(np.array([score.mean_iou for score in self.images]))

    def worst(self, count: int) -> list[ImageScore]:
        """The images with the smallest mean IoU, the smallest first; those without labelled pixels are left out."""
        known = [score for score in self.images if math.isfinite(score.mean_iou)]
        return sorted(known, key=lambda score: (score.mean_iou, score.number))[:count]

    def trimap(self) -> dict[int, float]:
        """Width of a band -> mean IoU in it."""
        return {width: confusion.mean_iou() for width, confusion in self.bands.items()}

    def details(self) -> str:
        """Lines of text with the numbers beside mean IoU and pixel accuracy."""
        true, known = self.confusion.classes_in_truth(), self.confusion.num_classes
        over = f" ({true} of {known} classes in the truth)" if true < known else ""
        lines = [
            f"mean accuracy {percent(self.confusion.mean_accuracy())}{over}, frequency-weighted IoU "
            f"{percent(self.confusion.frequency_weighted_iou())}, mean over images of their mIoU "
            f"{percent(self.image_mean_iou())}"
        ]
        if self.with_boundary_f1:
            count = int(np.isfinite(self.class_boundary_f1()).sum())
            lines.append(
                f"boundary F1 {percent(self.mean_boundary_f1())} ({count} of {len(self.class_names)} classes with a "
                "boundary), within 0.75 % of the diagonal"
            )
        return "\n".join(lines)

    def as_dict(self) -> dict:
        """The scores as JSON can hold them; null stands for a ratio without pixels."""
        confusion = self.confusion
        result = {
            "mean_iou": number_or_none(confusion.mean_iou()),
            "classes_present": confusion.classes_present(),
            "pixel_accuracy": number_or_none(confusion.pixel_accuracy()),
            "mean_accuracy": number_or_none(confusion.mean_accuracy()),
            "frequency_weighted_iou": number_or_none(confusion.frequency_weighted_iou()),
            "image_mean_iou": number_or_none(self.image_mean_iou()),
            "classes": list(self.class_names),
            "iou": _numbers(confusion.iou()),
            "class_accuracy": _numbers(confusion.class_accuracy()),
            "confusion": confusion.counts.tolist(),
        }
        if self.with_boundary_f1:
            result["boundary_f1"] = number_or_none(self.mean_boundary_f1())
            result["class_boundary_f1"] = _numbers(self.class_boundary_f1())
        result["reduction"] = {"mean_iou, iou, accuracies": PER_CLASS, "per_image": PER_IMAGE}
        result["per_image"] = [
            {
                "id": score.id,
                "mean_iou": number_or_none(score.mean_iou),
                "classes_present": score.classes_present,
                "pixel_accuracy": number_or_none(score.pixel_accuracy),
            }
            | ({"boundary_f1": number_or_none(score.boundary_f1)} if self.with_boundary_f1 else {})
            for score in self.images
        ]
        return result

    def class_rows(self) -> list[list]:
        """A table with a heading and a row for each class; empty cells where there is no pixel."""
        confusion = self.confusion
        columns = {
            "label": list(range(len(self.class_names))),
            "class": list(self.class_names),
            "iou": _numbers(confusion.iou()),
            "accuracy": _numbers(confusion.class_accuracy()),
            "truth_pixels": confusion.counts.sum(axis=1).tolist(),
            "predicted_pixels": confusion.counts.sum(axis=0).tolist(),
        }
        if self.with_boundary_f1:
            columns["boundary_f1"] = _numbers(self.class_boundary_f1())
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]

    def image_rows(self) -> list[list]:
        """A table with a heading and a row for each image."""
        names = ["id", "mean_iou", "classes_present", "pixel_accuracy"] + ["boundary_f1"] * self.with_boundary_f1
        rows = [[getattr(score, name) for name in names] for score in self.images]
        return [names, *([number_or_none(cell) if isinstance(cell, float) else cell for cell in row] for row in rows)]

    def _empty(self):
        return ConfusionMatrix(len(self.class_names), self.ignore_index)


def bands_of(truth: np.ndarray, widths: Sequence[int], ignore_index: int) -> dict[int, np.ndarray]:
    """Width -> trimap of the truth."""
    return {width: trimap(truth, width, ignore_index) for width in widths}


def number_or_none(value: float) -> float | None:
    """A ratio as JSON and tables have it: None where there is no pixel."""
    return value if math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [number_or_none(value) for value in values.tolist()]
