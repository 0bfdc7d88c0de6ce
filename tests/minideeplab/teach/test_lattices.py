"""The lattice that is drawn is the one that filters; the weights as seen from a pixel are a row of the filter."""

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import SIMULATED, normal, seeds

from minideeplab.crf import ExactFilter, LatticeFilter, bilateral_features, position_features
from minideeplab.teach import draw_lattice, kernel_picture
from minideeplab.teach.lattices import STEPS, lattice_of

pytestmark = pytest.mark.skipif(SIMULATED, reason="draws on the CPU")
pyplot = pytest.importorskip("matplotlib.pyplot")
IMAGE = (128 + 40 * normal(0, (5, 6, 3))).clip(0, 255)


@pytest.fixture(autouse=True)
def closed():
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


@given(seeds)
@settings(max_examples=20)
def test_points_lie_in_the_triangle_of_their_vertices(seed):
    """Their weights are barycentric: the weighted mean of the corners is the point; edges are 1 standard deviation."""
    features = 3 * normal(seed, (8, 2))
    lattice, vertices = lattice_of(features)
    shares = lattice.slice_weight / lattice.slice_weight.sum(axis=1, keepdims=True)
    corners = vertices[lattice.vertex]
    np.testing.assert_allclose((shares[:, :, None] * corners).sum(axis=1), features, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1), 1, atol=1e-12)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_drawn_with_all_its_vertices_in_sight(step):
    features = normal(1, (12, 2))
    axes = pyplot.figure().add_subplot()
    assert draw_lattice(features, np.ones(12), step, axes=axes) is None
    _, vertices = lattice_of(features)
    assert (vertices > [axes.get_xlim()[0], axes.get_ylim()[0]]).all()
    assert (vertices < [axes.get_xlim()[1], axes.get_ylim()[1]]).all()
    drawn = [np.asarray(c.get_offsets()) for c in axes.collections if len(c.get_offsets()) == len(vertices)]
    assert any(np.allclose(offsets, vertices) for offsets in drawn)


def test_what_is_sliced_is_the_filter():
    features, values = normal(2, (9, 2)), np.arange(9.0)
    axes = pyplot.figure().add_subplot()
    draw_lattice(features, values, "slice", axes=axes)
    shown = [c.get_array() for c in axes.collections if c.get_array() is not None and len(c.get_array()) == 9]
    expected = LatticeFilter(features, "none").apply(values[:, None])[:, 0]
    assert any(np.allclose(array, expected) for array in shown)


@pytest.mark.parametrize("srgb", [None, 20.0])
def test_the_weights_seen_from_a_pixel_are_a_row_of_the_matrix(srgb):
    features = (
        position_features(5, 6, 2.0, np.float64) if srgb is None else bilateral_features(IMAGE, 2, srgb, np.float64)
    )
    seen = kernel_picture(IMAGE, (3, 2), 2.0, srgb)
    assert seen.shape == (5, 6) and seen[3, 2] == 1
    np.testing.assert_allclose(seen.reshape(-1), ExactFilter(features, "none").matrix[3 * 6 + 2], rtol=1e-12)
    rows = LatticeFilter(features, "none").apply(np.eye(30))
    np.testing.assert_allclose(
        kernel_picture(IMAGE, (3, 2), 2.0, srgb, by="lattice").reshape(-1), rows[3 * 6 + 2], atol=1e-12
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_lattice(np.zeros((4, 3))), "features must be"),
        (lambda: draw_lattice(np.zeros((4, 2)), step="spalt"), "step must be one of"),
        (lambda: draw_lattice(np.zeros((4, 2)), step="blur"), "needs values"),
        (lambda: kernel_picture(IMAGE, (0, 0), 3, by="eye"), "exact or lattice"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
