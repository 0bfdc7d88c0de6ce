"""Data: images and masks from disk, random training views, batches."""

from minideeplab.data.dataset import SegmentationDataset, open_dataset
from minideeplab.data.images import mask_palette, read_image, read_mask, write_mask
from minideeplab.data.loader import Loader
from minideeplab.data.palettes import CAMVID_CLASSES, IGNORE_INDEX, VOC_CLASSES, voc_colour_map
from minideeplab.data.synthetic import SHAPE_CLASSES, synthetic_root, write_synthetic
from minideeplab.data.transforms import IMAGE_MEAN, IMAGE_STD, TrainTransform, normalise

__all__ = [
    "CAMVID_CLASSES",
    "IGNORE_INDEX",
    "IMAGE_MEAN",
    "IMAGE_STD",
    "SHAPE_CLASSES",
    "VOC_CLASSES",
    "Loader",
    "SegmentationDataset",
    "TrainTransform",
    "mask_palette",
    "normalise",
    "open_dataset",
    "read_image",
    "read_mask",
    "synthetic_root",
    "voc_colour_map",
    "write_mask",
    "write_synthetic",
]
