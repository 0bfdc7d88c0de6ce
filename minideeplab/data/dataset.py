"""A segmentation data set: numbered pairs of an image and a mask."""

import abc
import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minideeplab.data.classes import colour_file
from minideeplab.data.colours import PaletteAgreement
from minideeplab.data.damage import doubt
from minideeplab.data.folders import twins
from minideeplab.data.images import QUARTER_TURNS, orientation, read_image
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
        stored_labels: label -> value that those who score predictions expect; None: the label itself.
        recognised: a sentence about the kind that the folder was taken for, if nobody said it.
        notes: sentences about what was decided when it was opened: a split, names of classes, files left out.
        colour_map: row of the palette -> label, for RGB masks; None: the rows are the labels.
    """

    name: str
    root: Path
    split: str
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    palette: np.ndarray
    ignore_index: int = IGNORE_INDEX
    label_map: Mapping[int, int] | None = None
    stored_labels: Mapping[int, int] | None = None
    recognised: str = ""
    notes: tuple[str, ...] = ()
    colour_map: Mapping[int, int] | None = None

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
        return read_mask(
            self.mask_path(i), self.num_classes, self.palette, self.ignore_index, self.label_map, self.colour_map
        )

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
        palettes = palettes or self.colours()
        counts, problems = self.survey(report=report, palettes=palettes)
        lines = []
        if problems:
            bad = len({i for i, _ in problems})
            lines.append(f"{self.root}: {bad} of {len(self)} samples of split {self.split!r} cannot be used:")
            lines += [f"  {problem}" for _, problem in problems[:LISTED_PROBLEMS]]
            if len(problems) > LISTED_PROBLEMS:
                lines.append(f"  ... and {len(problems) - LISTED_PROBLEMS} more")
        if contradiction := palettes.problem():
            lines.append(f"{self.root}: {contradiction}")
        if lines:
            raise DataError("\n".join(lines))
        if sentence := self.twins():
            warnings.warn(sentence, stacklevel=2)
        vars(self)["counts"] = counts
        return counts

    def survey(
        self,
        visit: Callable[[int, np.ndarray | None, np.ndarray | None], None] = lambda i, image, mask: None,
        report: Callable[[], None] = lambda: None,
        palettes: PaletteAgreement | None = None,
    ) -> tuple[LabelCounts, list[tuple[int, str]]]:
        """One pass over all files, which no bad one ends.

        Args:
            visit: called as visit(i, image, mask) for each sample, with None for what cannot be read; the sizes of
                image and mask may differ.
            report: called after each sample.
            palettes: sees each mask that can be used, and can tell afterwards whether their colours agree.

        Returns:
            The labels of all samples that can be used; (i, what is wrong) for each file that cannot.
        """
        counts, problems = LabelCounts(self.class_names, self.ignore_index), []
        for i in range(len(self)):
            image, mask = (self._tried(i, read, problems) for read in (self.image, self.mask))
            if image is not None and mask is not None:
                if fault := self._fault(i, image, mask, counts):
                    problems.append((i, fault))
                elif palettes is not None:
                    palettes.add(self.mask_path(i))
            visit(i, image, mask)
            report()
        return counts, problems

    def _tried(self, i, read, problems):
        try:
            return read(i)
        except DataError as error:
            problems.append((i, str(error)))
            return None

    def _fault(self, i, image, mask, counts):
        """Counts the labels of a sample that can be used; of another one: what is wrong with it."""
        try:
            self._check_sizes(i, image.shape[:2], mask.shape)
        except DataError as error:
            return str(error)
        try:
            counts.add(mask)
        except DataError as error:  # of a layout that reads masks by itself
            return f"{self.mask_path(i)}: {error}"
        reason = self.doubt(mask)
        return f"{self.mask_path(i)}: this mask is damaged: {reason}" if reason else None

    def colours(self) -> PaletteAgreement:
        """What finds masks whose palettes contradict each other, or the table of colours; for all splits of the set."""
        return PaletteAgreement(self, colour_file(self.root) if self.root.is_dir() else None)

    def twins(self) -> str | None:
        """A sentence about image files that are not read, since another one has the same name but for its suffix."""
        doubles = []
        for i in range(len(self)):
            try:
                image, mask = self.image_path(i), self.mask_path(i)
            except DataError:  # a missing file, which `check` reports
                continue
            doubles += [(image, other) for other in twins(image) if other != mask]
        if not doubles:
            return None
        (read, other), count = doubles[0], len(doubles)
        files = "1 file is" if count == 1 else f"{count} files are"
        return (
            f"{self.root}: {files} not read, since there is another with the same name: "
            f"{read.name} is read, {other.name} is not; remove one of them"
        )

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
        if orientation(self.image_path(i)) in QUARTER_TURNS:
            raise DataError(
                f"{found}: the mask was drawn on the image as its file stores it. Phones store photographs unturned, "
                "and in EXIF how to turn them, which is done here as in viewers. Turn the mask in the same way, or "
                f"remove that tag from all images whose masks are like this: exiftool -Orientation= {name}"
            )
        raise DataError(
            f"{found}: one of them is turned by 90 degrees. Phones store in EXIF how to turn a photograph; this image "
            "has lost that tag, or the mask was drawn on a copy without it. Turn the image, or export the mask again"
        )
