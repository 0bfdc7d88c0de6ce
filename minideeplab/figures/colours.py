"""Colours of label maps: those of the classes, of void, and of what is right and wrong.

Right and wrong differ as blue and orange and as dark and light, so that they are told apart without red and green, and
on grey paper. `classes` is whatever knows the labels: its `class_names`, `palette` (256, 3) uint8, and `ignore_index`.
"""

import numpy as np

RIGHT, WRONG, VOID = (58, 108, 168), (255, 166, 48), (224, 224, 224)
OTHER, STILL_WRONG = (60, 60, 60), (255, 224, 186)
PAPER, INK, GREY = (255, 255, 255), (30, 30, 30), (150, 150, 150)

VOIDS = (VOID, PAPER, (96, 96, 96), (255, 0, 255), (0, 255, 255), (255, 255, 0), (0, 0, 0))  # in order of preference
FAR = 60  # Euclidean distance of RGB at which two colours cannot be taken for each other


def colours_of(classes) -> np.ndarray:
    """(256, 3) uint8: the palette, void as `void_colour` says."""
    colours = classes.palette.copy()
    colours[classes.ignore_index] = void_colour(classes)
    return colours


def void_colour(classes) -> tuple[int, int, int]:
    """Light grey; where a class has nearly that colour, the first of `VOIDS` that is far from all, or the farthest."""
    labels = np.arange(len(classes.class_names))
    taken = classes.palette[labels[labels != classes.ignore_index]].reshape(-1, 3)
    taken = np.concatenate([taken, [RIGHT, WRONG]]).astype(int)
    distances = [np.sqrt(((taken - void) ** 2).sum(axis=1)).min() for void in VOIDS]
    return next((void for void, far in zip(VOIDS, distances, strict=True) if far >= FAR), VOIDS[np.argmax(distances)])


def verdict(truth: np.ndarray, prediction: np.ndarray, classes) -> np.ndarray:
    """(H, W, 3) uint8: where labels (H, W) are right, where they are wrong, and where nobody knows."""
    colours = np.where((truth == prediction)[..., None], np.uint8(RIGHT), np.uint8(WRONG))
    colours[truth == classes.ignore_index] = void_colour(classes)
    return colours
