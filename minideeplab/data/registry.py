"""The data sets by name, and the one door to them: `open_dataset`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minideeplab.data import synthetic, voc
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.errors import DataError


class Entry(NamedTuple):
    """One kind of data set.

    Attributes:
        recognises: whether `data` is of this kind, by names of folders and files, and by lists of names.
        open: (data, split) -> SegmentationDataset; DataError says what is wrong with the folder.
        help: one line for the command line.
    """

    recognises: Callable[[str | Path], bool]
    open: Callable[[str | Path, str], SegmentationDataset]
    help: str


# "auto" takes the first kind that recognises the data: the special ones come first, and what nothing else knows is VOC.
DATASETS = {
    "synthetic": Entry(synthetic.is_synthetic, synthetic.open_synthetic, "the generated set, --data synthetic"),
    "camvid": Entry(voc.is_camvid, voc.open_camvid, "CamVid's 11 classes in VOC's folders, labels 11 and 255 are void"),
    "named": Entry(voc.is_named, voc.open_named, "VOC's folders with the classes of class_names.txt"),
    "voc": Entry(lambda data: True, voc.open_voc, "VOC's folders and 21 classes"),
}


def open_dataset(
    data: str | Path, dataset: str = "auto", split: str = "train", limit: int | None = None
) -> SegmentationDataset:
    """Open one split of a data set.

    Args:
        data: folder of the data set, or "synthetic" for the generated set.
        dataset: a name of DATASETS, or "auto": the first of them that recognises the data.
        split: name of the split, such as "train".
        limit: keep the first `limit` ids; None keeps all.

    Raises:
        DataError: a folder, a split file or the class names cannot be used.
        ValueError: unknown `dataset`, or `limit` below 1.
    """
    if dataset not in ("auto", *DATASETS):
        raise ValueError(f"open_dataset: dataset must be one of auto, {', '.join(DATASETS)}, got {dataset!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"open_dataset: limit must be at least 1, got {limit}")
    if dataset == "auto":
        dataset = next(name for name, entry in DATASETS.items() if entry.recognises(data))
    opened = DATASETS[dataset].open(data, split)
    if not opened.ids:
        raise DataError(f"{opened.root}: split {split!r} of this {dataset} data set is empty; check the folder")
    return dataclasses.replace(opened, ids=opened.ids[:limit])
