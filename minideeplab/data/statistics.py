"""What the masks of a data set hold: counts of labels, and loss weights for classes of unequal size."""

import numpy as np


def median_frequency_weights(dataset) -> np.ndarray:
    """Median-frequency balancing: w_c = median(f) / f_c, f_c = pixels of c / pixels of images with c.

    A class that no mask contains has no frequency: it takes no part in the median and gets the weight 1,
    which no pixel will use.

    Args:
        dataset: with `mask(i)`, `num_classes` and `ignore_index`; void pixels do not count.

    Returns:
        (C,) float32.

    Source: Eigen and Fergus, ICCV 2015, section 6.3.2; used for CamVid by SegNet.
    """
    pixels, pixels_around = np.zeros((2, dataset.num_classes), np.int64)
    for i in range(len(dataset)):
        mask = dataset.mask(i)
        counts = np.bincount(mask[mask != dataset.ignore_index], minlength=dataset.num_classes)
        pixels += counts
        pixels_around += np.where(counts > 0, counts.sum(), 0)
    present = pixels > 0
    weights = np.ones(dataset.num_classes)
    if present.any():
        frequency = pixels[present] / pixels_around[present]
        weights[present] = np.median(frequency) / frequency
    return weights.astype(np.float32)


def count_labels(ds):
    """Count the labels of a whole data set.

    Returns:
        pixels: (256,) int64, pixels of each label.
        samples: (256,) int64, masks in which each label occurs.
        sizes: (len(ds), 2) int64, height and width of each mask.
    """
    counts = np.zeros((2, 256), np.int64)
    sizes = []
    for i in range(len(ds)):
        mask = ds.mask(i)
        histogram = np.bincount(mask.ravel(), minlength=256)
        counts += histogram, histogram > 0
        sizes.append(mask.shape)
    return counts[0], counts[1], np.array(sizes)
