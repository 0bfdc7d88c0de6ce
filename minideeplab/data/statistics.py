"""What the masks of a data set hold: one count of labels, what it warns of, and loss weights that follow from it."""

from collections.abc import Sequence

import numpy as np

from minideeplab.errors import DataError

LISTED_CLASSES = 20
SEE_MASKS = " inspect_data counts and shows the masks"
ONE_FOR_255 = (
    "Was label 1 meant? Painting programs often store two classes as 0 and 255. "
    "Add --label-map binary, which reads 255 as label 1"
)


class LabelCounts:
    """Counts over the masks of a split, one `add` a mask.

    Attributes:
        pixels: (256,) int64, pixels of each label.
        masks: (256,) int64, masks in which each label occurs.
        pixels_around: (256,) int64, labelled pixels of the masks in which each label occurs.
        sizes: (height, width) of each mask.
        class_names: name of each label, 0 first.
        ignore_index: the label of void pixels, which are not labelled.
    """

    def __init__(self, class_names: Sequence[str], ignore_index: int):
        self.pixels, self.masks, self.pixels_around = np.zeros((3, 256), np.int64)
        self.sizes: list[tuple[int, int]] = []
        self.class_names, self.ignore_index = tuple(class_names), ignore_index

    def add(self, mask: np.ndarray) -> None:
        """Counts one mask, (H, W) uint8.

        Raises:
            DataError: a label that is neither a class nor void.
        """
        pixels = np.bincount(mask.ravel(), minlength=256)
        known = {*range(len(self.class_names)), self.ignore_index}
        if wrong := [label for label in np.flatnonzero(pixels).tolist() if label not in known]:
            raise DataError(
                f"label {wrong[0]} in {pixels[wrong[0]]} pixels; valid labels are 0..{len(self.class_names) - 1} and "
                f"{self.ignore_index} (void)"
            )
        present = pixels > 0
        self.pixels += pixels
        self.masks += present
        self.pixels_around += np.where(present, mask.size - pixels[self.ignore_index], 0)
        self.sizes.append(mask.shape)

    @property
    def labelled(self) -> int:
        """Number of pixels that are not void."""
        return int(self.pixels.sum() - self.pixels[self.ignore_index])

    @property
    def void_share(self) -> float:
        """Void pixels by all pixels."""
        return float(self.pixels[self.ignore_index] / max(1, self.pixels.sum()))

    @property
    def absent(self) -> list[int]:
        """Labels of the classes without a pixel."""
        labels = range(len(self.class_names))
        return [label for label in labels if label != self.ignore_index and not self.pixels[label]]


def require_labels(dataset, counts: LabelCounts | None = None) -> None:
    """Refuses a data set from which nothing can be learnt, and on which nothing can be measured.

    Args:
        dataset: its masks; counts: their labels, those of its `check` if not given.

    Raises:
        DataError: all pixels of all masks are void.
    """
    counts = counts or dataset.counts
    if not counts.labelled:
        raise DataError(
            f"{dataset.root}: no mask of split {dataset.split!r} has a labelled pixel: all are {counts.ignore_index}, "
            f"which is void. A pixel of a mask holds the number of its class, 0 to {dataset.num_classes - 1}; "
            "export the masks again"
        )


def label_warnings(dataset, counts: LabelCounts | None = None) -> list[str]:
    """Sentences about what a training on this data set would miss: its classes without a pixel; none if all is well.

    Args:
        dataset: its masks; counts: their labels, those of its `check` if not given.
    """
    counts = counts or dataset.counts
    absent = counts.absent
    if not absent:
        return []
    void, total = counts.ignore_index, dataset.num_classes
    names = ", ".join(f"'{dataset.class_names[label]}' ({label})" for label in absent[:LISTED_CLASSES])
    more = f" and {len(absent) - LISTED_CLASSES} more" if len(absent) > LISTED_CLASSES else ""
    found = (
        f"split {dataset.split!r} has no pixel of {len(absent)} of {total} classes, which cannot be learnt: "
        f"{names}{more}; {100 * counts.void_share:.1f} % of all pixels are void ({void}). "
    )
    if total == 2 and absent == [1] and void == 255 and counts.pixels[void]:
        return [found + ONE_FOR_255]
    return [f"{found}If they should be there: are the classes in the order in which the masks number them?{SEE_MASKS}"]


def shared_images(first, second) -> tuple[str, ...]:
    """Ids of two splits that name the same image file; where layouts have a folder for each split, a name is no image.

    Args:
        first, second: data sets; a missing file counts as one of its own.
    """
    places = [{name: i for i, name in enumerate(each.ids)} for each in (first, second)]
    shared = sorted(places[0].keys() & places[1].keys())
    return tuple(n for n in shared if _image(first, places[0][n]) == _image(second, places[1][n]))


def _image(dataset, i: int):
    try:
        return dataset.image_path(i).resolve()
    except DataError:  # which `check` reports
        return dataset.split, i


def median_frequency_weights(dataset) -> np.ndarray:
    """Median-frequency balancing: w_c = median(f) / f_c, f_c = pixels of c / pixels of images with c.

    A class that no mask contains has no frequency: it takes no part in the median and gets the weight 1,
    which no pixel will use.

    Args:
        dataset: with `counts` and `num_classes`; void pixels do not count.

    Returns:
        (C,) float32.

    Source: Eigen and Fergus, ICCV 2015, section 6.3.2; used for CamVid by SegNet.
    """
    counts, weights = dataset.counts, np.ones(dataset.num_classes)
    present = counts.pixels[: dataset.num_classes] > 0
    present &= np.arange(dataset.num_classes) != counts.ignore_index
    if present.any():
        frequency = counts.pixels[: dataset.num_classes][present] / counts.pixels_around[: dataset.num_classes][present]
        weights[present] = np.median(frequency) / frequency
    return weights.astype(np.float32)
