"""Small drawn scenes with masks that fit them, and data sets of these."""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from minideeplab.data import write_mask

COLOURS = np.array([[60, 60, 70], [200, 90, 60], [70, 170, 90], [90, 90, 220]])


def scene(seed, size=(60, 80), classes=3, noise=15):
    """(image (H, W, 3) uint8, mask (H, W) uint8): blobs of all classes, each in its colour, with noise."""
    rng = np.random.default_rng(seed)
    heights = gaussian_filter(rng.standard_normal((classes, *size)), (0, 7, 7))
    mask = heights.argmax(axis=0).astype(np.uint8)
    image = COLOURS[mask] * rng.uniform(0.8, 1.2) + rng.normal(0, noise, (*size, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def write_scenes(root, **splits):
    """A set of three classes in the folders of VOC: split=[(image, mask), ...] under the ids split0, split1, ..."""
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for split, samples in splits.items():
        for number, (image, mask) in enumerate(samples):
            Image.fromarray(image).save(root / f"JPEGImages/{split}{number}.png")
            write_mask(root / f"SegmentationClass/{split}{number}.png", np.ascontiguousarray(mask))
        ids = "".join(f"{split}{number}\n" for number in range(len(samples)))
        (root / f"ImageSets/Segmentation/{split}.txt").write_text(ids)
    (root / "class_names.txt").write_text("background\nclay\ngrass\n")
    return root
