"""The examination of a data set: every file is read once, and all that training would stumble over is found at once."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minideeplab.data.colours import PaletteAgreement
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.findings import HINT, PROBLEM, WARNING, Finding, findings_of
from minideeplab.data.likeness import picture_hash, pixel_digest
from minideeplab.data.statistics import LabelCounts
from minideeplab.data.turning import NAMES, edge_agreement, medians, small_view

JSON_FORMAT = 1
CROP_SIZES = (33, 65, 97, 129, 193, 257)  # multiples of an output stride of 32, and 1: both corners lie on the grid


@dataclasses.dataclass(eq=False)
class SplitFacts:
    """What one pass over a split saw; n samples, about 500 bytes each.

    Attributes:
        dataset: the split; counts: labels of the samples that can be used.
        faults: (i, what is wrong) for each file that cannot be used.
        usable: (n,) bool, image and mask are read and of one size.
        sizes: (n, 2) int64, height and width of the images, 0 where one cannot be read.
        present: (n, 256) bool, the labels of each mask.
        images, masks: digest of the pixels of each image and mask, None where one cannot be read.
        hashes: the picture hash of each image, see `likeness.picture_hash`.
        agreement: (n, 8) float64, how well edges and borders agree, see `turning.edge_agreement`.
    """

    dataset: SegmentationDataset
    counts: LabelCounts
    faults: list[tuple[int, str]]
    usable: np.ndarray
    sizes: np.ndarray
    present: np.ndarray
    images: list[bytes | None]
    masks: list[bytes | None]
    hashes: list[int | None]
    agreement: np.ndarray

    @property
    def labels(self) -> list[int]:
        """The labels of classes, without void."""
        return [label for label in range(self.dataset.num_classes) if label != self.dataset.ignore_index]

    @property
    def labels_per_mask(self) -> np.ndarray:
        """(n,) int64: how many classes each mask has, void not counted; -1 where the mask cannot be read."""
        number = self.present[:, self.labels].sum(axis=1)
        return np.where([digest is not None for digest in self.masks], number, -1)

    def ids_of(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """The ids of these numbers of samples."""
        return tuple(self.dataset.ids[i] for i in numbers)

    def middle_sizes(self) -> np.ndarray | None:
        """(3, 2) int64: least, median and greatest height and width of the images; None if none was read."""
        known = self.sizes[self.sizes[:, 0] > 0]
        return np.percentile(known, (0, 50, 100), axis=0, method="nearest") if len(known) else None


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
    """What was found out about a data set.

    Attributes:
        splits: split -> its facts, in the order in which the splits were given.
        findings: all of them, problems first, then warnings, then hints.
        crop_size: side of training crops that suits the images: the largest of CROP_SIZES within the median shorter
            side, or that which was asked for at most.
    """

    splits: Mapping[str, SplitFacts]
    findings: tuple[Finding, ...]
    crop_size: int

    @property
    def problems(self) -> list[Finding]:
        """What makes training fail."""
        return [each for each in self.findings if each.level == PROBLEM]

    @property
    def warnings(self) -> list[Finding]:
        """What makes its result bad, or too good to be true."""
        return [each for each in self.findings if each.level == WARNING]

    @property
    def hints(self) -> list[Finding]:
        """What may be as it should."""
        return [each for each in self.findings if each.level == HINT]

    def to_json(self) -> dict:
        """Numbers, texts and lists alone; data/README.md documents the keys."""
        first = next(iter(self.splits.values())).dataset
        return {
            "format": JSON_FORMAT,
            "name": first.name,
            "root": str(first.root),
            "class_names": list(first.class_names),
            "ignore_index": first.ignore_index,
            "ready": not self.problems,
            "crop_size": self.crop_size,
            "splits": {name: _numbers(facts) for name, facts in self.splits.items()},
            "problems": [each.to_json() for each in self.problems],
            "warnings": [each.to_json() for each in self.warnings],
            "hints": [each.to_json() for each in self.hints],
        }


def inspect(
    datasets: Sequence[SegmentationDataset],
    unopened: Mapping[str, str] | None = None,
    report: Callable[[], None] = lambda: None,
    largest_crop: int = CROP_SIZES[-1],
    scale_range: Sequence[float] = (1.0, 1.0),
) -> Inspection:
    """Reads each image and each mask of some splits once, and judges them together.

    Args:
        datasets: splits of one data set, at least one; the one to train on first.
        unopened: split -> why it could not be opened: each is a problem.
        report: called after each sample.
        largest_crop, scale_range: of the training to come: side of its crops at most, in pixels; as of
            `TrainTransform`.

    Returns:
        Inspection; bad files are findings, never exceptions.

    Cost: as `SegmentationDataset.check`, and about 3 ms for each image of 480 x 360 pixels.
    """
    palettes = datasets[0].colours()
    splits = {dataset.split: _facts(dataset, report, palettes) for dataset in datasets}
    missing = [Finding(PROBLEM, "split", message, "", (name,)) for name, message in (unopened or {}).items()]
    if contradiction := palettes.problem():
        missing.append(Finding(PROBLEM, "colours", contradiction, "", tuple(splits)))
    twins = [(dataset.split, dataset.twins()) for dataset in datasets]
    missing += [Finding(WARNING, "twin", text, "", (split,)) for split, text in twins if text]
    crop_size = min(crop_size_for(splits.values()), largest_crop)
    found = [*missing, *findings_of(list(splits.values()), crop_size, scale_range)]
    order = (PROBLEM, WARNING, HINT)
    return Inspection(splits, tuple(sorted(found, key=lambda each: order.index(each.level))), crop_size)


def crop_size_for(splits) -> int:
    """The largest of CROP_SIZES within the median shorter side of all images; the smallest where none fits."""
    sides = [facts.sizes[facts.sizes[:, 0] > 0].min(axis=1) for facts in splits]
    sides = np.concatenate(sides)
    median = np.median(sides) if len(sides) else 0
    return max((side for side in CROP_SIZES if side <= median), default=CROP_SIZES[0])


def _facts(dataset: SegmentationDataset, report: Callable[[], None], palettes: PaletteAgreement) -> SplitFacts:
    n = len(dataset)
    usable, sizes, present = np.zeros(n, bool), np.zeros((n, 2), np.int64), np.zeros((n, 256), bool)
    images, masks, hashes = [None] * n, [None] * n, [None] * n
    agreement = np.full((n, len(NAMES)), np.nan)

    def visit(i, image, mask):
        if mask is not None:
            masks[i], present[i] = pixel_digest(mask), np.bincount(mask.ravel(), minlength=256) > 0
        if image is not None:
            view = small_view(image)
            sizes[i], images[i], hashes[i] = image.shape[:2], pixel_digest(image), picture_hash(view)
            if mask is not None:
                usable[i] = image.shape[:2] == mask.shape
                agreement[i] = edge_agreement(view, mask)

    counts, faults = dataset.survey(visit, report, palettes)
    usable[[i for i, _ in faults]] = False
    return SplitFacts(dataset, counts, faults, usable, sizes, present, images, masks, hashes, agreement)


def _numbers(facts: SplitFacts) -> dict:
    counts, classes, middle = facts.counts, facts.dataset.num_classes, facts.middle_sizes()
    least, median, greatest = [None] * 3 if middle is None else middle.tolist()
    return {
        "samples": len(facts.dataset),
        "usable": int(facts.usable.sum()),
        "size_least": least,
        "size_median": median,
        "size_greatest": greatest,
        "sizes": facts.sizes.tolist(),
        "ids": list(facts.dataset.ids),
        "pixels": counts.pixels[:classes].tolist(),
        "images": counts.masks[:classes].tolist(),
        "labelled_pixels": counts.labelled,
        "void_pixels": int(counts.pixels[counts.ignore_index]),
        "void_share": counts.void_share,
        "edge_agreement": medians(facts.agreement),
    }
