"""Which layout a file has, whatever class was around the network when it was saved."""

import re
from collections.abc import Iterator

import numpy as np

from minideeplab.data import IMAGE_MEAN, IMAGE_STD
from minideeplab.files.refusal import Refusal
from minideeplab.weights.layouts import LAYOUTS, Layout
from minideeplab.weights.nearest_layouts import nothing_fits
from minideeplab.weights.raw_arrays import Weights, is_counter

# Arrays of a training module that is not the network alone: weights of the classes in a loss, counts of a metric.
_OF_TRAINING = re.compile("loss|criteri(on|a)|metric", re.IGNORECASE)
_LONGEST_NAME = 200  # no known network has longer ones, and a search in megabytes takes time
_MAX_PREFIX = 8  # components


def recognise(weights: Weights, path="FILE") -> tuple[Layout, Weights]:
    """The layout, and the arrays under the names that it has.

    A class of one's own, with the network as an attribute, puts a name before all others: `backbone.` before those of
    a classifier, `model.segmenter.` before those of a network for segmentation. As much is taken off as is needed. What
    such a class keeps for training, and the mean and deviation of images where they are ours, is left out. The path is
    for messages.

    Raises:
        Refusal: no layout, or several; the message has the nearest five and what to do.
    """
    for prefix in _shared_prefixes(_without_beside(weights.arrays)):
        arrays = _without_beside(_without(prefix, weights.arrays))
        inner = Weights(arrays, _without(prefix, weights.unread))
        for layout in LAYOUTS:
            if layout.recognises([*inner.arrays, *inner.unread]):
                return layout, inner
    raise Refusal(nothing_fits(weights.arrays, path))


def _without_beside(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if not _is_beside(name, array)}


def _is_beside(name: str, array: np.ndarray) -> bool:
    if is_counter(name):
        return True
    if len(name) > _LONGEST_NAME:
        return False
    if _OF_TRAINING.search(name.partition(".")[0]):
        return True
    leaf = name.rpartition(".")[2]
    ours = {"mean": IMAGE_MEAN, "pixel_mean": IMAGE_MEAN, "std": IMAGE_STD, "pixel_std": IMAGE_STD}.get(leaf)
    return ours is not None and array.size == 3 and np.allclose(array.ravel(), ours, atol=1e-3)


def _shared_prefixes(names) -> Iterator[str]:
    """Nothing, and then what all names begin with, one component more each time."""
    shared = ""
    for _ in range(_MAX_PREFIX):
        yield shared
        first = next(iter(names), "")
        component, dot, _ = first[len(shared) :].partition(".")
        shared += component + dot
        if not dot or not all(name.startswith(shared) for name in names):
            return


def _without(prefix: str, named: dict) -> dict:
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
