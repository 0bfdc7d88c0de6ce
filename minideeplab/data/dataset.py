"""A segmentation data set: numbered pairs of an image and a mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from minideeplab.data import voc
from minideeplab.data.images import mask_palette, read_image, read_mask
from minideeplab.data.palettes import CAMVID_CLASSES, IGNORE_INDEX, VOC_CLASSES, voc_colour_map
from minideeplab.data.synthetic import synthetic_root
from minideeplab.errors import DataError

DATASETS = ("auto", "voc", "camvid")
LISTED_PROBLEMS = 20


@dataclass(frozen=True, eq=False)
class SegmentationDataset:
    """One split of a data set in the VOC layout; files are found and decoded when asked for.

    Attributes:
        name: "voc", "camvid", "synthetic", or the folder's name for a set of your own.
        root: the folder that holds JPEGImages.
        split: the split's name.
        ids: file names without extension.
        class_names: name of each label.
        palette: (256, 3) uint8 RGB, colour of each label.
        ignore_index: the void label, 255.
    """

    name: str
    root: Path
    split: str
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    palette: np.ndarray
    ignore_index: ClassVar[int] = IGNORE_INDEX

    def __len__(self):
        return len(self.ids)

    @property
    def num_classes(self):
        return len(self.class_names)

    def image_path(self, i):
        return voc.find_file(self.root / voc.IMAGES, self.ids[i], voc.IMAGE_SUFFIXES)

    def mask_path(self, i):
        return voc.find_file(self.root / voc.MASKS, self.ids[i], voc.MASK_SUFFIXES)

    def image(self, i):
        """(H, W, 3) uint8 RGB image number i."""
        return read_image(self.image_path(i))

    def mask(self, i):
        """(H, W) uint8 labels number i: 0..num_classes-1 and 255."""
        return read_mask(self.mask_path(i), self.num_classes, self.palette)

    def sample(self, i):
        """Image and mask number i, of the same height and width; DataError if they differ."""
        image, mask = self.image(i), self.mask(i)
        self._check_sizes(i, image.shape[:2], mask.shape)
        return image, mask

    def check(self, report=lambda: None):
        """Decode each image and each mask, so that bad files are known before training.

        Args:
            report: called after each sample.

        Raises:
            DataError: one message that lists the bad files: the first 20, then a count.
        """
        problems = []
        for i in range(len(self)):
            try:
                self.sample(i)
            except DataError as error:
                problems.append(str(error))
            report()
        if not problems:
            return
        lines = [f"{self.root}: {len(problems)} of {len(self)} samples of split {self.split!r} cannot be used:"]
        lines += [f"  {problem}" for problem in problems[:LISTED_PROBLEMS]]
        if len(problems) > LISTED_PROBLEMS:
            lines.append(f"  ... and {len(problems) - LISTED_PROBLEMS} more")
        raise DataError("\n".join(lines))

    def _check_sizes(self, i, image, mask):
        if image != mask:
            raise DataError(
                f"{self.mask_path(i)}: the mask has {mask[0]} rows and {mask[1]} columns, its image "
                f"{self.image_path(i).name} has {image[0]} rows and {image[1]} columns; "
                "export the mask again at the image's size"
            )


def open_dataset(data, dataset="auto", split="train", limit=None):
    """Open one split of a data set in the VOC layout.

    Names come from ROOT/class_names.txt where it exists, otherwise they are the 21 of VOC (11 of CamVid).

    Args:
        data: folder that holds JPEGImages (or VOCdevkit around it), or "synthetic" for the generated set.
        dataset: "auto"; "voc" for the 21 classes of VOC, whatever class_names.txt says; or "camvid", needed only for a
            CamVid folder that has no class_names.txt.
        split: name of a file in ImageSets/Segmentation, without .txt.
        limit: keep the first `limit` ids; None keeps all.

    Returns:
        SegmentationDataset.

    Raises:
        DataError: a folder, a split file or the class names cannot be used.
        ValueError: unknown `dataset`, or `limit` below 1.
    """
    if dataset not in DATASETS:
        raise ValueError(f"open_dataset: dataset must be one of {', '.join(DATASETS)}, got {dataset!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"open_dataset: limit must be at least 1, got {limit}")
    generated = str(data) == "synthetic"
    root = voc.find_root(synthetic_root() if generated else data)
    ids = voc.read_split(root, split)[:limit]
    listed = voc.read_class_names(root)
    looks_like_camvid = listed == CAMVID_CLASSES or "camvid" in root.resolve().name.lower()
    camvid = dataset == "camvid" or (dataset == "auto" and looks_like_camvid)
    names = VOC_CLASSES if dataset == "voc" else listed or (CAMVID_CLASSES if camvid else VOC_CLASSES)
    if generated:
        name = "synthetic"
    elif camvid:
        name = "camvid"
    elif names == VOC_CLASSES:
        name = "voc"
    else:
        name = root.resolve().name
    palette = voc_colour_map() if names == VOC_CLASSES else _stored_palette(root, ids[0])
    return SegmentationDataset(name, root, split, ids, names, palette)


def _stored_palette(root, name):
    """The palette of one mask; VOC colours if it has none or cannot be read, which `check` then reports."""
    try:
        palette = mask_palette(voc.find_file(root / voc.MASKS, name, voc.MASK_SUFFIXES))
    except DataError:
        palette = None
    return voc_colour_map() if palette is None else palette
