"""The band around boundaries, and boundary F1, against their definitions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from minideeplab.evaluation.boundaries import boundary_f1, trimap


def test_trimap_keeps_the_pixels_near_a_boundary():
    """On both of its sides distance is counted from the pixels that touch it, which are at 0."""
    truth = np.repeat([[0, 0, 0, 0, 3, 3, 3, 3]], 2, axis=0).astype(np.uint8)
    v = 255
    expected = {0: [v, v, v, 0, 3, v, v, v], 1: [v, v, 0, 0, 3, 3, v, v], 2: [v, 0, 0, 0, 3, 3, 3, v]}
    for width, row in expected.items():
        band = trimap(truth, width)
        assert band.dtype == np.uint8
        np.testing.assert_array_equal(band, [row, row])
        np.testing.assert_array_equal(trimap(truth.T, width), np.array([row, row]).T)
    np.testing.assert_array_equal(trimap(truth, 4), truth)


def test_void_has_boundaries_and_stays_void():
    truth = np.array([[1, 1, 1, 255, 1, 1, 1]], np.uint8)
    np.testing.assert_array_equal(trimap(truth, 1), [[255, 1, 1, 255, 1, 1, 255]])
    np.testing.assert_array_equal(trimap(np.where(truth == 255, 9, truth), 1, ignore_index=9), [[9, 1, 1, 9, 1, 1, 9]])


def test_truth_without_boundaries_has_no_band():
    for shape in ((3, 4), (1, 1), (1, 5)):
        np.testing.assert_array_equal(trimap(np.full(shape, 2, np.uint8), 40), np.full(shape, 255))


@given(seed=seeds, width=st.integers(1, 5))
def test_trimap_is_euclidean_distance_to_a_pixel_with_another_neighbour(seed, width):
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 2, (3, 3)), np.ones((4, 5), int)).astype(np.uint8)
    kept = truth.copy()
    places = list(np.ndindex(truth.shape))
    edge = np.array(
        [p for p in places if any(truth[p] != truth[o] for o in places if abs(p[0] - o[0]) + abs(p[1] - o[1]) == 1)]
    ).reshape(-1, 2)
    expected = [truth[p] if (((edge - p) ** 2).sum(axis=1) <= width**2).any() else 255 for p in places]
    np.testing.assert_array_equal(trimap(truth, width).reshape(-1), expected)
    np.testing.assert_array_equal(truth, kept)


def boundary_f1_by_hand(truth, prediction, label, void, tolerance):
    """From sets of pixels, pair by pair."""
    height, width = truth.shape
    prediction = np.where(truth == void, void, prediction)

    def boundary(labels):
        around = [(0, 1), (0, -1), (1, 0), (-1, 0)]
        return [
            (y, x) for y in range(height) for x in range(width) if labels[y, x] == label
            and any(0 <= y + a < height and 0 <= x + b < width and labels[y + a, x + b] != label for a, b in around)
        ]  # fmt: skip

    def share(points, others):
        near = [any((y - v) ** 2 + (x - u) ** 2 < reach**2 for v, u in others) for y, x in points]
        return sum(near) / len(near) if near else 0

    true, predicted = boundary(truth), boundary(prediction)
    reach = tolerance * (height**2 + width**2) ** 0.5
    if not true and not predicted:
        return np.nan
    precision, recall = share(predicted, true), share(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


@given(seed=seeds, tolerance=st.sampled_from([0.02, 0.07, 0.1234, 0.3]))
def test_boundary_f1_is_that_of_its_definition(seed, tolerance):
    rng = np.random.default_rng(seed)
    height, width, void = rng.integers(2, 16), rng.integers(2, 16), 9
    truth, prediction = rng.integers(0, 3, (2, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    prediction = np.roll(np.where(rng.random(truth.shape) < 0.8, truth, prediction), rng.integers(0, 3), axis=0)
    truth = np.where(rng.random(truth.shape) < 0.05, void, truth)
    scores = boundary_f1(truth.astype(np.uint8), prediction.astype(np.uint8), 4, void, tolerance)
    expected = [boundary_f1_by_hand(truth, prediction, label, void, tolerance) for label in range(4)]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert np.isnan(scores[3])


def test_boundary_f1_by_hand_and_its_tolerance():
    """A square that is 2 pixels off is right within 3 pixels and wrong within 1."""
    truth, shifted = np.zeros((2, 60, 80), np.uint8)
    truth[20:40, 20:40] = shifted[20:40, 22:42] = 1
    np.testing.assert_array_equal(boundary_f1(truth, shifted, 3, tolerance=0.03)[:2], [1, 1])
    near = boundary_f1(truth, shifted, 3, tolerance=0.01)  # only the rows at the top and bottom, where both are
    assert (near[:2] < 0.55).all() and (near[:2] > 0.3).all() and np.isnan(near[2])
    assert boundary_f1(truth, np.zeros_like(truth), 2)[1] == 0  # in the truth, never predicted
    assert np.isnan(boundary_f1(np.ones_like(truth), np.ones_like(truth), 2)).all()  # no boundary at all


def test_what_is_predicted_on_void_changes_no_boundary():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (5, 5)).repeat(6, axis=0).repeat(6, axis=1).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.3] = 255
    prediction = np.where(truth == 255, rng.integers(0, 3, truth.shape), truth).astype(np.uint8)
    np.testing.assert_array_equal(boundary_f1(truth, prediction, 3), [1, 1, 1])
