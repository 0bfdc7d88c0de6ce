"""A trained network on whole images of any size, and its confusion matrix over a data set."""

from collections.abc import Callable

import numpy as np

import kernels
from minideeplab import Tensor, no_grad, ops
from minideeplab.data import normalise
from minideeplab.metrics import ConfusionMatrix

SMALLEST_SIDE = 33  # pixels; the networks take no less: at output stride 16 that leaves 3 x 3 positions


def labels_on_device(model, image: np.ndarray):
    """The most probable class of each pixel, where the model is.

    Args:
        model: in evaluation mode, at most 256 classes.
        image: (H, W, 3) uint8 RGB, any size; a side below 33 pixels is padded for the network.

    Returns:
        (1, H, W) uint8 labels, an array of the model's device.
    """
    height, width = image.shape[:2]
    below, right = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
    pixels = np.pad(normalise(image), ((0, below), (0, right), (0, 0)))  # the mean colour is 0 once normalised
    with no_grad():
        logits = model(Tensor(pixels[None]).to(model.device))
        return (ops.crop(logits, 0, 0, height, width) if below or right else logits).argmax()


def predict_labels(model, image: np.ndarray) -> np.ndarray:
    """`labels_on_device` as a NumPy array (H, W)."""
    return kernels.to_device(labels_on_device(model, image), "cpu")[0]


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
        confusion.update(truth[None], labels_on_device(model, image))
        report()
    return confusion
