"""The data sets by name, and the one door to them: `open_dataset`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minideeplab.data import ade20k, camvid, cityscapes, labelme, pair_list, plain, splits, synthetic, voc
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.label_maps import LabelMap, relabelled
from minideeplab.errors import DataError


class Entry(NamedTuple):
    """One kind of data set.

    Attributes:
        recognises: data -> why it is of this kind, in words, by names of folders and files and by lists of names; or
            None if it is not.
        open: (data, split) -> SegmentationDataset; DataError says what is wrong with the folder.
        help: one line for the command line.
        splits: data -> the names of its splits. A kind that has this may lack splits: `open` takes None for all
            samples then. None: `open` knows about splits by itself.
        written: where, below the root of the set, a split that was drawn is written down; None: nowhere.
    """

    recognises: Callable[[str | Path], str | None]
    open: Callable[[str | Path, str | None], SegmentationDataset]
    help: str
    splits: Callable[[str | Path], tuple[str, ...]] | None = None
    written: str | None = None


# "auto" takes the first kind that recognises the data: the special ones come first.
DATASETS = {
    "synthetic": Entry(synthetic.why_synthetic, synthetic.open_synthetic, "the generated set, --data synthetic"),
    "list": Entry(pair_list.why_list, pair_list.open_list, "a text file of `image mask` lines", pair_list.splits),
    "cityscapes": Entry(
        cityscapes.why_cityscapes, cityscapes.open_cityscapes, "leftImg8bit/ and gtFine/", cityscapes.splits
    ),
    "camvid": Entry(
        camvid.why_camvid, camvid.open_camvid, "CamVid as SegNet ships it, or in VOC's folders; label 11 is void",
        camvid.splits, voc.SPLITS,
    ),
    "named": Entry(
        voc.why_named, voc.open_named, "VOC's folders with the classes of a list, as labelme2voc and CVAT write them",
        voc.splits, voc.SPLITS,
    ),
    "voc": Entry(voc.why_voc, voc.open_voc, "VOC's folders and 21 classes", voc.splits, voc.SPLITS),
    "ade20k": Entry(
        ade20k.why_ade20k, ade20k.open_ade20k, "images/training/ and annotations/training/, 0 is void", ade20k.splits
    ),
    "folder": Entry(
        plain.why_plain, plain.open_plain, "images/, masks/ and classes.txt", plain.splits, splits.FOLDER
    ),
    "labelme": Entry(
        labelme.why_labelme, labelme.open_labelme, "photographs with labelme's JSON files beside them", labelme.splits,
        splits.FOLDER,
    ),
}  # fmt: skip
PARTS = ("train", "val", "test")  # beginnings of names that say so
SMALLEST = """\
The smallest layout is
  ROOT/images/a.jpg     a photograph, and others
  ROOT/masks/a.png      its mask, of the same height and width: each pixel holds the number of its class
  ROOT/classes.txt      the names of the classes, one a line, that of number 0 first
Also read are VOC's folders, photographs with labelme's JSON files beside them, and a list of `image mask` lines"""


def open_dataset(
    data: str | Path,
    dataset: str = "auto",
    split: str = "train",
    limit: int | None = None,
    *,
    val_share: float | None = None,
    label_map: LabelMap | str | Path | None = None,
    ignore_index: int | None = None,
) -> SegmentationDataset:
    """Open one split of a data set.

    Args:
        data: folder of the data set, or a list file, or "synthetic" for the generated set.
        dataset: a name of DATASETS, or "auto": the first of them that recognises the data.
        split: name of the split, such as "train"; of a set that need not have splits "all" is every sample.
        limit: keep the first `limit` ids; None keeps all.
        val_share: share of the images that is held out as "val" where there is no such split. None: 0.2 of a set
            without any split, and no hold-out of a set that has "train".
        label_map, ignore_index: as of `relabelled`.

    Raises:
        DataError: a folder, a split file, the class names or the label map cannot be used.
        ValueError: unknown `dataset`, `limit` below 1, or `val_share` or `ignore_index` out of range.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"open_dataset: limit must be at least 1, got {limit}")
    if val_share is not None and not 0 < val_share < 1:
        raise ValueError(f"open_dataset: val_share must lie between 0 and 1, got {val_share}")
    kind, recognised = _kind_of(data, dataset)
    opened = _open_split(DATASETS[kind], data, split, val_share)
    if not opened.ids:
        raise DataError(f"{opened.root}: split {split!r} of this {kind} data set is empty; check the folder")
    opened = relabelled(opened, label_map, ignore_index)
    return dataclasses.replace(opened, ids=opened.ids[:limit], recognised=recognised)


def split_names(data: str | Path, dataset: str = "auto") -> tuple[str, ...]:
    """The names of the splits of a data set: train and val first; those that would be drawn, if it has none.

    Raises:
        DataError, ValueError: as of `open_dataset`.
    """
    entry = DATASETS[_kind_of(data, dataset)[0]]
    there = entry.splits(data) if entry.splits else ("train", "val")
    names = ("train", "val") if _is_whole(there) else there
    return tuple(sorted(names, key=lambda name: (name != "train", name != "val", name)))


def _kind_of(data, dataset) -> tuple[str, str]:
    """The name of the kind, and for "auto" a sentence about it."""
    if dataset != "auto":
        if dataset not in DATASETS:
            raise ValueError(f"open_dataset: dataset must be one of auto, {', '.join(DATASETS)}, got {dataset!r}")
        return dataset, ""
    try:
        for name, entry in DATASETS.items():
            if reason := entry.recognises(data):  # nothing is to be said of a set that is called by its kind
                return name, "" if name == str(data) else f"{data} is taken for a set of kind '{name}': {reason}"
        raise DataError(_unknown(Path(data)))
    except (OSError, ValueError) as error:  # a name that no folder can have
        raise DataError(f"{data}: this folder cannot be read ({error}); check the path and its permissions") from error


def _unknown(data) -> str:
    """What to say of data that nothing recognises."""
    if not data.exists():
        return f"{data}: no such folder; give the folder of your images and masks, or the word 'synthetic'"
    if not data.is_dir():
        what = "an archive; unpack it, and give" if data.suffix.lower() in (".zip", ".gz", ".tar", ".tgz") else "give"
        return f"{data}: a file, not a folder: {what} the folder, or a .txt or .csv file of `image mask` lines"
    entries = sorted(data.iterdir())
    for folder in entries[:50]:
        for name, entry in DATASETS.items():
            if folder.is_dir() and entry.recognises(folder):
                return f"{data}: no data set here, but {folder} looks like one of kind '{name}'; give this folder"
    shown = [f"{path.name}/" if path.is_dir() else path.name for path in entries[:8]]
    found = ", ".join(shown + ["..."] * (len(entries) > 8)) or "nothing"
    return f"{data}: no data set was recognised (found: {found}).\n{SMALLEST}"


def _is_whole(there: tuple[str, ...]) -> bool:
    """Whether a set has no splits: no list of images at all, or one that is not said to be a part."""
    return not there or (len(there) == 1 and (there[0] == "trainval" or not there[0].startswith(PARTS)))


def _open_split(entry: Entry, data, split, val_share) -> SegmentationDataset:
    """One split, as it stands there, or drawn."""
    if entry.splits is None:
        return entry.open(data, split)
    there = entry.splits(data)
    if split == "all" and entry.written and "all" not in there:
        return entry.open(data, None)
    if _is_whole(there):
        source = there[0] if there else None
        if split in ("train", "val"):
            return _drawn(entry, entry.open(data, source), split, val_share or splits.VAL_SHARE, entry.written)
        return entry.open(data, source if split in ("all", source) else split)
    if val_share and "train" in there and "val" not in there and split in ("train", "val"):
        return _drawn(entry, entry.open(data, "train"), split, val_share, None)
    opened = entry.open(data, split)
    if val_share and {"train", "val"} <= set(there):
        train, val = (set(entry.open(data, name).ids) for name in ("train", "val"))
        if set(splits.hold_out([*train, *val], val_share)["val"]) != val:  # else it was drawn just so, a moment ago
            note = f"{opened.root}: --val-share has no effect, as 'train' and 'val' are there; remove them to draw anew"
            return dataclasses.replace(opened, notes=(*opened.notes, note))
    return opened


def _drawn(entry, whole, split, share, written) -> SegmentationDataset:
    """A part of a set, and a sentence about it."""
    count = len(whole)
    if count < 2:
        raise DataError(
            f"{whole.root}: {count} image, and a part of it cannot be held out for validation; add images, or list "
            f"this one in both {entry.written or splits.FOLDER}/train.txt and val.txt"
        )
    parts = splits.hold_out(whole.ids, share)
    note = (
        f"{whole.root}: no split 'val', so {len(parts['val'])} of {count} images are held out for it, at random, "
        f"always the same"
    )
    note += f"; {splits.write_down(whole.root / written, parts)}" if written else ""
    return dataclasses.replace(whole, ids=parts[split], split=split, notes=(*whole.notes, note))
