"""A trained network on whole images of any size, and its confusion matrix over a data set."""

from collections.abc import Callable

import numpy as np

import kernels
from minideeplab.autograd import Tensor, no_grad, ops
from minideeplab.crf import refine
from minideeplab.data import normalise
from minideeplab.errors import UsageError
from minideeplab.evaluation.metrics import ConfusionMatrix

SMALLEST_SIDE = 33  # pixels; the networks take no less: at output stride 16 that leaves 3 x 3 positions


def logits_on_device(model, image: np.ndarray) -> Tensor:
    """The network's scores of each pixel, where the model is.

    Args:
        model: in evaluation mode.
        image: (H, W, 3) uint8 RGB, any size; a side below 33 pixels is padded for the network.

    Returns:
        (1, H, W, K) logits.
    """
    height, width = image.shape[:2]
    below, right = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
    pixels = np.pad(normalise(image), ((0, below), (0, right), (0, 0)))  # the mean colour is 0 once normalised
    with no_grad():
        logits = model(Tensor(pixels[None]).to(model.device))
        return ops.crop(logits, 0, 0, height, width) if below or right else logits


def labels_on_device(model, image: np.ndarray):
    """The most probable class of each pixel, (1, H, W) uint8 on the model's device; at most 256 classes."""
    return logits_on_device(model, image).argmax()


def predict_labels(model, image: np.ndarray, crf: str | None = None) -> np.ndarray:
    """The same as a NumPy array (H, W); with `crf`, the name of a preset, after a dense CRF on the image."""
    if crf is None:
        return kernels.to_device(labels_on_device(model, image), "cpu")[0]
    return refined_labels(logits_on_device(model, image).numpy()[0], image, crf, model.device)


def refined_labels(logits: np.ndarray, image: np.ndarray, crf: str, device: str = "cpu") -> np.ndarray:
    """Labels (H, W) uint8 of logits (H, W, K) after a dense CRF with the settings of that name.

    Raises:
        UsageError: settings that do not fit the image.
    """
    try:
        return refine(logits, image, crf, kind="logits", device=device).argmax(axis=-1).astype(np.uint8)
    except ValueError as error:
        raise UsageError(f"--crf {crf}: {error}") from error


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
