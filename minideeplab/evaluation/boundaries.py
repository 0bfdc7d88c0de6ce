"""Scores near the boundaries between labels: the band around them, and whether they lie where they should."""

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

TOLERANCE = 0.0075  # of the image's diagonal (Csurka et al.)


def trimap(truth: np.ndarray, width: int, ignore_index: int = 255) -> np.ndarray:
    """The truth near boundaries alone: void where the nearest pixel at a boundary is more than `width` pixels away.

    A pixel is at a boundary if one of its four neighbours has another label: width 0 keeps one pixel on each side.

    Args:
        truth: (H, W) integer labels; void counts as a label of its own, as the stripe around VOC's objects.
        width: greatest Euclidean distance, in pixels, to the nearest pixel at a boundary.
        ignore_index: the label of void.

    Source: Kohli et al. 2009, "Robust Higher Order Potentials for Enforcing Label Consistency"; DeepLab v1, figure 6.
    """
    edge = edges(truth)
    if not edge.any():
        return np.full_like(truth, ignore_index)
    return np.where(distance_transform_edt(~edge) <= width, truth, truth.dtype.type(ignore_index))


def edges(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: whether one of the four neighbours of a pixel in the image has another label."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        ahead, behind = [np.s_[1:], np.s_[:-1]] if axis == 0 else [np.s_[:, 1:], np.s_[:, :-1]]
        differs = labels[ahead] != labels[behind]
        edge[ahead] |= differs
        edge[behind] |= differs
    return edge


def boundary_f1(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255, tolerance: float = TOLERANCE
) -> np.ndarray:
    """How well the boundaries of each class are found in one image.

    With the boundary pixels B of a class in the truth and P in the prediction, d the Euclidean distance to the nearest
    pixel of a set, and t = tolerance x the image's diagonal:

        precision = |{p in P: d(p, B) < t}| / |P|, recall = |{b in B: d(b, P) < t}| / |B|
        F1 = 2 precision recall / (precision + recall)

    A boundary pixel of a class has a neighbour (of four) with another label. Void counts as another label, and pixels
    that are void in the truth are void in the prediction, too: what is predicted there changes nothing.

    Args:
        truth, prediction: (H, W) integer labels. tolerance: share of the diagonal.

    Returns:
        (C,) float64; 0 if only one of B and P has pixels, NaN if neither has: the class has no score in this image.

    Source: Csurka, Larlus and Perronnin 2013, "What is a good evaluation measure for semantic segmentation?"
    """
    prediction = np.where(truth == ignore_index, truth.dtype.type(ignore_index), prediction)
    edge_of_truth, edge_of_prediction = edges(truth), edges(prediction)
    reach = tolerance * np.hypot(*truth.shape)
    scores = np.full(num_classes, np.nan)
    for label in range(num_classes):
        true = np.argwhere(edge_of_truth & (truth == label))
        predicted = np.argwhere(edge_of_prediction & (prediction == label))
        if label == ignore_index or not (len(true) or len(predicted)):
            continue
        precision, recall = _share_near(predicted, true, reach), _share_near(true, predicted, reach)
        scores[label] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def _share_near(points, others, reach):
    """Share of points with one of the others nearer than `reach`."""
    if not len(points) or not len(others):
        return 0.0
    return float(np.isfinite(cKDTree(others).query(points, distance_upper_bound=reach)[0]).mean())
