"""Data: images and masks from disk, random training views, batches."""

from minideeplab.data.colours import PaletteAgreement, read_colour_lines, read_colours, set_palette
from minideeplab.data.conversion import convert
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.folders import find_images, skipped_note
from minideeplab.data.images import IMAGE_SUFFIXES, read_image
from minideeplab.data.inspection import Inspection, inspect
from minideeplab.data.label_maps import label_map_text, read_label_map
from minideeplab.data.loader import Loader
from minideeplab.data.masks import mask_palette, read_mask, write_mask
from minideeplab.data.pairs import PairedFiles
from minideeplab.data.palettes import CAMVID_CLASSES, IGNORE_INDEX, VOC_CLASSES, voc_colour_map
from minideeplab.data.registry import DATASETS, open_dataset, split_names
from minideeplab.data.statistics import LabelCounts, label_warnings, median_frequency_weights, require_labels
from minideeplab.data.synthetic import SHAPE_CLASSES, synthetic_root, write_synthetic
from minideeplab.data.transforms import IMAGE_MEAN, IMAGE_STD, TrainTransform, normalise

__all__ = [
    "CAMVID_CLASSES",
    "DATASETS",
    "IGNORE_INDEX",
    "IMAGE_MEAN",
    "IMAGE_STD",
    "IMAGE_SUFFIXES",
    "SHAPE_CLASSES",
    "VOC_CLASSES",
    "Inspection",
    "LabelCounts",
    "Loader",
    "PairedFiles",
    "PaletteAgreement",
    "SegmentationDataset",
    "TrainTransform",
    "convert",
    "find_images",
    "inspect",
    "label_map_text",
    "label_warnings",
    "mask_palette",
    "median_frequency_weights",
    "normalise",
    "open_dataset",
    "read_colour_lines",
    "read_colours",
    "read_image",
    "read_label_map",
    "read_mask",
    "require_labels",
    "set_palette",
    "skipped_note",
    "split_names",
    "synthetic_root",
    "voc_colour_map",
    "write_mask",
    "write_synthetic",
]
