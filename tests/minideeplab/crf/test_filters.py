"""The filters of a field and their features, against the definition and each other."""

import numpy as np
import pytest
from crf_cases import SIZE, costs, dense, each_filter, each_normalisation, exact, lattice, matrix_of, separable
from strategies import SIMULATED, inner, normal

from minideeplab.crf import (
    DenseField,
    ExactFilter,
    LatticeFilter,
    SeparableFilter,
    bilateral_features,
    position_features,
    position_filter,
)

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")


@each_normalisation
def test_the_exact_filter_is_the_matrix_of_the_definition(normalisation):
    features = normal(30, (SIZE, 4))
    gaussian, matrix = ExactFilter(features, normalisation), matrix_of(features, normalisation)
    np.testing.assert_allclose(dense(gaussian), matrix, rtol=1e-12, atol=1e-15)
    sums = {"before": matrix.sum(axis=0), "after": matrix.sum(axis=1)}.get(normalisation, np.ones(1))
    np.testing.assert_allclose(sums, 1)
    if normalisation != "none":
        np.testing.assert_allclose(gaussian.normaliser, matrix_of(features, "none").sum(axis=1))


@each_normalisation
@each_filter
def test_constants_and_sums_are_kept_where_they_should_be(make, normalisation):
    """after keeps constants; symmetric keeps the root of the normaliser; each label goes its own way."""
    gaussian = make(normalisation)
    if normalisation == "after":
        np.testing.assert_allclose(gaussian.apply(np.ones((SIZE, 2))), 1, rtol=1e-12)
    if normalisation == "symmetric":
        root = np.sqrt(gaussian.normaliser)[:, None]
        np.testing.assert_allclose(gaussian.apply(root), root, rtol=1e-12)
    if normalisation == "before" and make is not lattice:
        np.testing.assert_allclose(dense(gaussian).sum(axis=0), 1, rtol=1e-12)
    x = normal(31, (SIZE, 3))
    np.testing.assert_allclose(gaussian.apply(x)[:, 1:2], gaussian.apply(x[:, 1:2]), atol=1e-12)


@each_normalisation
@each_filter
def test_the_transposed_filter_is_the_adjoint(make, normalisation):
    gaussian, (x, y) = make(normalisation), normal(32, (SIZE, 4), (SIZE, 4))
    forward, backward = gaussian.apply(x), gaussian.apply_transposed(y)
    assert abs(inner(forward, y) - inner(x, backward)) <= 1e-12 * inner(abs(forward), abs(y))
    if make is lattice or normalisation in ("before", "after"):
        assert abs(gaussian.apply_transposed(x) - forward).max() > 1e-6  # else nothing is tested


@each_normalisation
@pytest.mark.parametrize("make", [exact, separable])
def test_own_weight_is_the_diagonal(make, normalisation):
    gaussian = make(normalisation)
    np.testing.assert_allclose(gaussian.own_weight(), np.diag(dense(gaussian)), rtol=1e-12)


@pytest.mark.parametrize(("d", "side", "n", "inside"), [(1, 6, 200, 3), (2, 4, 900, 1.5)])
def test_own_weight_on_a_lattice_is_the_diagonal_where_no_vertex_is_missing(d, side, n, inside):
    """At the border of a cloud paths through missing vertices are counted, too: some are up to a quarter too large."""
    features = (np.random.default_rng(33).random((n, d)) * 2 - 1) * side
    for normalisation in ("none", "symmetric"):
        gaussian = LatticeFilter(features, normalisation)
        ratio = gaussian.own_weight() / np.diag(dense(gaussian))
        np.testing.assert_allclose(ratio[abs(features).max(axis=1) < inside], 1, rtol=1e-12)
        assert 1 - 1e-12 < ratio.min() and ratio.max() < 1.5 and ratio.mean() < 1.05


@pytest.mark.parametrize("sigma", [(2.0, 2.0), (1.0, 3.0), (0.3, 40.0)])
@pytest.mark.parametrize("size", [(9, 20), (1, 30), (12, 1)])
def test_the_separable_filter_is_the_exact_one_but_for_taps_beyond_four_sigma(size, sigma):
    """sigma is (horizontal, vertical), as that of `position_features`."""
    matrix = matrix_of(position_features(*size, sigma, np.float64), "none")
    actual = dense(SeparableFilter(*size, sigma, "none", np.float64))
    assert abs(actual - matrix).max() <= np.exp(-8)
    assert (abs(actual - matrix).sum(axis=1) <= 2e-3 * matrix.sum(axis=1)).all()
    with pytest.raises(ValueError, match="sigma of the position must be positive"):
        SeparableFilter(*size, 0.0)
    one = dense(SeparableFilter(*size, 2.0, "none", np.float64))
    np.testing.assert_array_equal(one, dense(SeparableFilter(*size, (2.0, 2.0), "none", np.float64)))


def test_the_lattice_follows_the_exact_filter():
    """An approximation: normalised, its messages are a few per cent off, the labels nearly the same."""
    rng = np.random.default_rng(34)
    image = np.where(np.arange(24) < 12, 60, 180)[None, :, None] + rng.normal(0, 10, (20, 24, 3))
    features, unary = bilateral_features(image, 5, 20, np.float64), costs(35, 480, 3)
    unary[:, 0] += np.where(np.arange(480) % 24 < 12, -0.5, 0.5)
    fields = [DenseField(unary, [(make(features, "after"), 5.0)]) for make in (LatticeFilter, ExactFilter)]
    here, there = (field.message(field.start()) for field in fields)
    assert abs(here - there).max() < 0.1 * np.ptp(there)
    assert (fields[0].infer(10).argmax(axis=1) == fields[1].infer(10).argmax(axis=1)).mean() > 0.97


@each_filter
def test_values_that_are_no_rows_of_pixels_are_refused(make):
    gaussian = make()
    for values in (np.ones(SIZE), np.ones((SIZE - 1, 2)), np.ones((5, 6, 2))):
        for function in (gaussian.apply, gaussian.apply_transposed):
            with pytest.raises(ValueError, match=r"values must be \(30, K\), a row for each pixel, got shape"):
                function(values)
    with pytest.raises(TypeError, match="values are float32, the filter float64"):
        gaussian.apply(np.ones((SIZE, 2), np.float32))
    with pytest.raises(ValueError, match="device must be cpu or cuda, got 'gpu'"):
        LatticeFilter(normal(0, (5, 2)), device="gpu")


def test_predicted_seconds_grow_with_the_iterations():
    gaussian = lattice(n=2000)
    assert 0 < gaussian.predict_seconds(3, 1) < gaussian.predict_seconds(3, 1000)


def test_statistics_of_points_in_one_place():
    gaussian = LatticeFilter(np.full((7, 2), 0.3), "symmetric")
    statistics = gaussian.statistics()
    smallest, largest = statistics.pop("smallest_normaliser"), statistics.pop("largest_normaliser")
    one = LatticeFilter(np.full((1, 2), 0.3), "symmetric").normaliser[0]
    np.testing.assert_allclose([smallest, largest], 7 * one)
    assert 0.5 < one < 1  # a Gaussian would have 1; vertices that are missing around it take their share
    lattice_bytes = 4 * 21 + 8 * 21 + 8 * 4 + 4 * 21 + 8 * 21 + 4 * 3 * 3 * 2
    assert statistics == {"vertices": 3, "pixels_per_vertex": 7.0, "bytes": lattice_bytes}


def test_statistics_name_both_ends_of_the_normaliser():
    statistics = LatticeFilter(np.array([[0.0, 0], [0, 0], [0, 0], [50, 50]])).statistics()
    np.testing.assert_allclose([statistics["smallest_normaliser"], statistics["largest_normaliser"]], [1, 3], rtol=0.35)
    assert statistics["vertices"] == 6


def test_features_are_column_row_and_channels_over_their_deviations():
    np.testing.assert_allclose(
        position_features(2, 3, (2, 5), np.float64)[[0, 1, 2, 3]], [[0, 0], [0.5, 0], [1, 0], [0, 0.2]]
    )
    image = np.arange(12).reshape(2, 3, 2)
    features = bilateral_features(image, 4, (10, 100), np.float64)
    np.testing.assert_allclose(features[4], [1 / 4, 1 / 4, 8 / 10, 9 / 100])
    np.testing.assert_array_equal(bilateral_features(image[..., 0], 4, 10), bilateral_features(image[..., :1], 4, 10))
    assert position_features(2, 3, 1).dtype == bilateral_features(image, 1, 1).dtype == np.float32


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: exact("both"), ValueError, "normalisation must be one of none, before, after, symmetric, got 'both'"),
        (lambda: lattice("L2"), ValueError, "normalisation must be one of"),
        (lambda: LatticeFilter(np.full((3, 2), np.nan)), ValueError, "features must be finite"),
        (lambda: LatticeFilter(np.full((3, 2), 1e9)), ValueError, "choose a larger standard deviation"),
        (lambda: position_features(0, 4, 1), ValueError, "the image is empty: 0 x 4"),
        (lambda: position_features(3, 4, 0), ValueError, "sigma of the position must be positive, got 0"),
        (lambda: position_features(3, 4, (1, 2, 3)), ValueError, "sigma of the position: give one number or 2"),
        (lambda: bilateral_features(np.zeros((3, 4, 3)), 1, (1, np.nan, 1)), ValueError, "colour must be positive"),
        (lambda: bilateral_features(np.zeros((3, 4, 3)), 1, (1, 2)), ValueError, "give one number or 3"),
        (lambda: bilateral_features(np.zeros(3), 1, 1), ValueError, r"got float64 of shape \(3,\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_position_filter_is_that_of_its_positions_and_kept_for_two_sizes():
    position_filter.release()
    kept = position_filter(6, 9, 2)
    expected = LatticeFilter(position_features(6, 9, 2))
    for a, e in zip((*kept.lattice[:5], kept.normaliser), (*expected.lattice[:5], expected.normaliser), strict=True):
        np.testing.assert_array_equal(a, e)
    assert position_filter(6, 9, (2.0, 2.0)) is kept
    other = position_filter(9, 6, 2)
    assert position_filter(6, 9, 2) is kept and position_filter(9, 6, 2) is other
    position_filter(5, 6, 2)  # a third size: that of longest ago is forgotten
    assert position_filter(6, 9, 2) is not kept
    again = position_filter(6, 9, 2)
    position_filter.release()
    assert position_filter(6, 9, 2) is not again


@pytest.mark.parametrize("change", [{"height": 9}, {"width": 7}, {"sigma": 3}, {"sigma": (2, 3)}, {"dtype": np.float64},
                                    {"normalisation": "after"}])  # fmt: skip
def test_a_position_filter_depends_on_all_that_it_is_made_of(change):
    settings = {"height": 8, "width": 9, "sigma": 2, "normalisation": "symmetric", "dtype": np.float32} | change
    position_filter(8, 9, 2)
    features = position_features(*(settings[name] for name in ("height", "width", "sigma", "dtype")))
    expected, found = LatticeFilter(features, settings["normalisation"]), position_filter(**settings)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.lattice.slice_weight, expected.lattice.slice_weight)
    np.testing.assert_array_equal(found.after, expected.after)
    np.testing.assert_array_equal(found.before, expected.before)


def test_a_position_filter_of_a_large_image_is_not_kept(monkeypatch):
    monkeypatch.setattr("minideeplab.crf.filters._MOST_KEPT", 50)
    assert position_filter(7, 7, 2) is position_filter(7, 7, 2)
    assert position_filter(6, 9, 2) is not position_filter(6, 9, 2)


def test_a_kept_filter_changes_no_result():
    """Inference with one that has been used for another image and other costs."""
    image = np.random.default_rng(4).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    found = []
    for _ in range(2):
        edges = [(position_filter(6, 9, 2), 3.0), (LatticeFilter(bilateral_features(image, 4, 40)), 5.0)]
        found.append(DenseField(normal(6, (54, 9), dtype=np.float32), edges).infer(3))
        DenseField(normal(7, (54, 2), dtype=np.float32), edges).infer(2)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("make", [position_filter, position_features])
def test_positions_of_nothing_are_refused(make):
    with pytest.raises(ValueError, match="the image is empty: 0 x 4 pixels"):
        make(0, 4, 2)
    with pytest.raises(ValueError, match="sigma of the position must be positive"):
        make(3, 4, 0)
