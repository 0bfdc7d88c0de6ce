"""Small data sets in the folders of VOC."""

import numpy as np
from PIL import Image

from minideeplab.data import write_mask


def make_set(root, ids=("a", "b", "c"), names=None, palette=None, size=(6, 8), masks=None, splits=("train",)):
    """A set whose image number n is filled with n, and so is its mask, unless `masks` has labels for all of them."""
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    for number, name in enumerate(ids):
        labels = np.full(size, number, np.uint8) if masks is None else np.asarray(masks[number], np.uint8)
        Image.fromarray(np.full((*labels.shape, 3), number, np.uint8)).save(root / f"JPEGImages/{name}.png")
        write_mask(root / f"SegmentationClass/{name}.png", labels, palette)
    for split in splits:
        list_ids(root, *ids, split=split)
    if names:
        (root / "class_names.txt").write_text("\n".join(names))
    return root


def list_ids(root, *ids, split="train"):
    (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in ids))
