"""A segmentation data set: numbered pairs of an image and a mask."""

import abc
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minideeplab.data.images import read_image
from minideeplab.data.masks import read_mask
from minideeplab.data.palettes import IGNORE_INDEX
from minideeplab.data.statistics import LabelCounts
from minideeplab.errors import DataError

LISTED_PROBLEMS = 20


@dataclass(frozen=True, eq=False)
class SegmentationDataset(abc.ABC):
    """One split of a data set; files are found and decoded when asked for.

    A layout of files is a subclass that says where they lie (`image_path`, `mask_path`); one whose masks are not PNG
    files overrides `mask` too.

    Attributes:
        name: "voc", "camvid", "synthetic", or the folder's name for a set of your own.
        root: the folder of the data set.
        split: the split's name.
        ids: name of each sample.
        class_names: name of each label, 0 first.
        palette: (256, 3) uint8 RGB, colour of each label.
        ignore_index: the label of void pixels, which count neither in the loss nor in a score.
        label_map: value that a mask stores -> label, for all values that it may hold; None: they are the labels.
    """

    name: str
    root: Path
    split: str
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    palette: np.ndarray
    ignore_index: int = IGNORE_INDEX
    label_map: Mapping[int, int] | None = None

    def __post_init__(self):
        labels = {self.ignore_index, *(self.label_map or {}), *(self.label_map or {}).values()}
        if not labels <= set(range(256)):
            wrong = sorted(labels - set(range(256)))
            raise ValueError(f"{type(self).__name__}: ignore_index and label_map must lie in 0..255, got {wrong}")

    @abc.abstractmethod
    def image_path(self, i: int) -> Path:
        """The file of image number i; DataError if there is none."""

    @abc.abstractmethod
    def mask_path(self, i: int) -> Path:
        """The file of mask number i; DataError if there is none."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB image number i."""
        return read_image(self.image_path(i))

    def mask(self, i: int) -> np.ndarray:
        """(H, W) uint8 labels number i: 0..num_classes-1 and ignore_index."""
        return read_mask(self.mask_path(i), self.num_classes, self.palette, self.ignore_index, self.label_map)

    def sample(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask number i, of the same height and width; DataError if they differ."""
        image, mask = self.image(i), self.mask(i)
        self._check_sizes(i, image.shape[:2], mask.shape)
        return image, mask

    def check(self, report: Callable[[], None] = lambda: None) -> LabelCounts:
        """Decode each image and each mask, so that bad files are known before training, and count the labels.

        Args:
            report: called after each sample.

        Raises:
            DataError: one message that lists the bad files: the first 20, then a count.
        """
        problems, counts = [], LabelCounts(self.class_names, self.ignore_index)
        for i in range(len(self)):
            try:
                _, mask = self.sample(i)
            except DataError as error:
                problems.append(str(error))
            else:
                try:
                    counts.add(mask)
                except DataError as error:  # of a layout that reads masks by itself
                    problems.append(f"{self.mask_path(i)}: {error}")
            report()
        if problems:
            lines = [f"{self.root}: {len(problems)} of {len(self)} samples of split {self.split!r} cannot be used:"]
            lines += [f"  {problem}" for problem in problems[:LISTED_PROBLEMS]]
            if len(problems) > LISTED_PROBLEMS:
                lines.append(f"  ... and {len(problems) - LISTED_PROBLEMS} more")
            raise DataError("\n".join(lines))
        vars(self)["counts"] = counts
        return counts

    @functools.cached_property
    def counts(self) -> LabelCounts:
        """The labels that the last `check` counted; it checks if that was not done."""
        return self.check()

    def _check_sizes(self, i, image, mask):
        if image != mask:
            raise DataError(
                f"{self.mask_path(i)}: the mask has {mask[0]} rows and {mask[1]} columns, its image "
                f"{self.image_path(i).name} has {image[0]} rows and {image[1]} columns; "
                "export the mask again at the image's size"
            )
