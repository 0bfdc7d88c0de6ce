"""A trained network on whole images of any size, and its confusion matrix over a data set."""

from collections.abc import Callable

import numpy as np

from minideeplab import Tensor, no_grad
from minideeplab.data import normalise
from minideeplab.metrics import ConfusionMatrix

SMALLEST_SIDE = 33  # pixels; the networks take no less: at output stride 16 that leaves 3 x 3 positions


def predict_labels(model, image: np.ndarray) -> np.ndarray:
    """The most probable class of each pixel.

    Args:
        model: in evaluation mode, at most 256 classes.
        image: (H, W, 3) uint8 RGB, any size; a side below 33 pixels is padded for the network.

    Returns:
        (H, W) uint8 labels.
    """
    height, width = image.shape[:2]
    below, right = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
    pixels = np.pad(normalise(image), ((0, below), (0, right), (0, 0)))  # the mean colour is 0 once normalised
    with no_grad():
        labels = model(Tensor(pixels[None]).to(model.device)).argmax()
    return labels[0, :height, :width]


def confusion_of(model, dataset, report: Callable[[], None] = lambda: None) -> ConfusionMatrix:
    """Runs the network over each full image of a data set, one at a time.

    Args:
        model: in evaluation mode.
        dataset: with `sample(i)`, `num_classes` and `ignore_index`.
        report: called after each image.

    Returns:
        The confusion matrix over all of its pixels.
    """
    confusion = ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
    for i in range(len(dataset)):
        image, truth = dataset.sample(i)
        confusion.update(truth, predict_labels(model, image))
        report()
    return confusion
