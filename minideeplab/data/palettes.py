"""Class names and colours of the data sets that the papers use."""

import numpy as np

IGNORE_INDEX = 255  # "void": object borders and regions too hard to name; no loss, no score
VOID_NAMES = ("void", "_void_", "ignore", "ignored", "__ignore__", "unlabelled", "unlabeled")  # in lists with colours

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus",
    "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def voc_colour_map():
    """The PASCAL VOC colour of each label.

    Bits 0, 1, 2 of the label are the top bits of r, g, b; bits 3, 4, 5 the next; bits 6, 7 the third of r, g.

    Returns:
        (256, 3) uint8 RGB; label 0 is black, label 255 (void) is (224, 224, 192).
    """
    labels = np.arange(256)[:, None]
    colours = np.zeros((256, 3), np.int64)
    for j in range(8):
        colours |= (labels >> (3 * j + np.arange(3)) & 1) << (7 - j)
    return colours.astype(np.uint8)
