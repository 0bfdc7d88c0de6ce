"""A segmentation data set: numbered pairs of an image and a mask."""

import abc
import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minideeplab.data.colours import PaletteAgreement
from minideeplab.data.damage import doubt
from minideeplab.data.folders import twins
from minideeplab.data.images import is_turned, read_image
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

    def check(self, report: Callable[[], None] = lambda: None, palettes: PaletteAgreement | None = None) -> LabelCounts:
        """Decode each image and each mask, so that bad files are known before training, and count the labels.

        Args:
            report: called after each sample.
            palettes: what other splits of the same data set have shown of the colours of its masks.

        Raises:
            DataError: one message that lists the bad files: the first 20, then a count; and masks whose colours
                contradict each other.
        """
        problems, doubles, counts = [], [], LabelCounts(self.class_names, self.ignore_index)
        palettes = palettes or PaletteAgreement(self)
        for i in range(len(self)):
            try:
                _, mask = self.sample(i)
                image_path, mask_path = self.image_path(i), self.mask_path(i)
            except DataError as error:
                problems.append(str(error))
            else:
                doubles += [(image_path, other) for other in twins(image_path) if other != mask_path]
                palettes.add(mask_path)
                try:
                    counts.add(mask)
                except DataError as error:  # of a layout that reads masks by itself
                    problems.append(f"{mask_path}: {error}")
                if reason := self.doubt(mask):
                    problems.append(f"{mask_path}: this mask is damaged: {reason}")
            report()
        lines = []
        if problems:
            lines.append(f"{self.root}: {len(problems)} of {len(self)} samples of split {self.split!r} cannot be used:")
            lines += [f"  {problem}" for problem in problems[:LISTED_PROBLEMS]]
            if len(problems) > LISTED_PROBLEMS:
                lines.append(f"  ... and {len(problems) - LISTED_PROBLEMS} more")
        if contradiction := palettes.problem():
            lines.append(f"{self.root}: {contradiction}")
        if lines:
            raise DataError("\n".join(lines))
        if doubles:
            read, other = doubles[0]
            warnings.warn(
                f"{self.root}: {len(doubles)} files are not read, since there is another with the same name: "
                f"{read.name} is read, {other.name} is not; remove one of them",
                stacklevel=2,
            )
        vars(self)["counts"] = counts
        return counts

    @functools.cached_property
    def counts(self) -> LabelCounts:
        """The labels that the last `check` counted; it checks if that was not done."""
        return self.check()

    def doubt(self, mask: np.ndarray) -> str | None:
        """Why a mask of this set is not to be believed although it holds nothing but labels; None where all is well.

        Args:
            mask: (H, W) uint8 labels.
        """
        if self.label_map is None:
            return doubt(mask, self.ignore_index)
        # What was done to the file was done to the values that it stores.
        classes = {label: value for value, label in self.label_map.items() if label != self.ignore_index}
        void = next(value for value in range(255, -1, -1) if value not in classes.values())
        stored = np.full(256, void, np.uint8)
        stored[list(classes)] = list(classes.values())
        return doubt(stored[mask], void)

    def _check_sizes(self, i, image, mask):
        if image == mask:
            return
        path, name = self.mask_path(i), self.image_path(i).name
        sizes = f"{mask[0]} rows and {mask[1]} columns, its image {name} has {image[0]} rows and {image[1]} columns"
        found = f"{path}: the mask has {sizes}"
        if image != mask[::-1]:
            raise DataError(f"{found}; export the mask again at the image's size")
        if is_turned(self.image_path(i)):
            raise DataError(
                f"{found}: the mask was drawn on the image as its file stores it. Phones store photographs unturned, "
                "and in EXIF how to turn them, which is done here as in viewers. Turn the mask in the same way, or "
                f"remove that tag from all images whose masks are like this: exiftool -Orientation= {name}"
            )
        raise DataError(
            f"{found}: one of them is turned by 90 degrees. Phones store in EXIF how to turn a photograph; this image "
            "has lost that tag, or the mask was drawn on a copy without it. Turn the image, or export the mask again"
        )
