"""Building a lattice: its geometry, and all backends the same."""

import numpy as np
import pytest
from hypothesis import given
from lattice_cases import (
    KINDS,
    assert_the_same,
    cloud,
    clouds,
    embedding,
    few,
)
from strategies import (
    SIMULATED,
    assert_close,
    both_dtypes,
    each_backend,
    each_fast_backend,
    normal,
    seeds,
)

from kernels import reference
from kernels.lattice import alpha, embed, unembed

pytestmark = pytest.mark.usefixtures("one_thread")


# -------------------------------------------------------------------- geometry


@given(features=clouds())
def test_the_corners_of_a_simplex_surround_their_feature(features):
    """Point k is k modulo d + 1 and one step from the next; the weights interpolate the embedded feature."""
    points, weights = reference.simplex_of(features)
    d = features.shape[1]
    assert points.dtype == np.int64 and points.shape == (len(features), d + 1, d + 1)
    assert (points.sum(axis=2) == 0).all()
    assert ((points - np.arange(d + 1)[:, None]) % (d + 1) == 0).all()
    np.testing.assert_array_equal(np.sort(np.diff(points, axis=1), axis=2)[..., 0], np.full((len(features), d), -d))
    np.testing.assert_array_equal(np.sort(np.diff(points, axis=1), axis=2)[..., 1:], 1)
    embedded = (weights[:, :, None] * points).sum(axis=1)
    size = 1 + abs(features).max() * (d + 1)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(embedded, features @ embedding(d).T, rtol=0, atol=1e-14 * size * (d + 1))


@given(features=clouds())
def test_features_go_to_the_plane_and_back(features):
    """The plane is that of coordinate sum zero, and the way there is linear: an isometry but for its length."""
    d, size = features.shape[1], 1 + np.abs(features).max()
    points = embed(features)
    np.testing.assert_allclose(points, features @ embedding(d).T, rtol=0, atol=1e-13 * size * (d + 1))
    np.testing.assert_allclose(points.sum(axis=1), 0, atol=1e-13 * size * (d + 1) ** 2)
    np.testing.assert_allclose(unembed(points), features, rtol=0, atol=1e-13 * size)


@pytest.mark.parametrize("d", [1, 2, 5, 19])
def test_the_embedding_is_an_isometry(d):
    points, weights = reference.simplex_of(normal(d, (12, d)))
    embedded = (weights[:, :, None] * points).sum(axis=1)
    distances, of_features = (np.linalg.norm(a[:, None] - a[None], axis=2) for a in (embedded, normal(d, (12, d))))
    np.testing.assert_allclose(distances, (d + 1) * np.sqrt(2 / 3) * of_features, rtol=1e-12)


@each_backend
@given(features=clouds(most_pixels=25))
def test_vertices_are_the_different_corners_and_neighbours_one_step_away(k, features):
    """Forward along an axis adds 1 to all coordinates and takes d + 1 from one; M stands for no vertex."""
    points, _ = reference.simplex_of(features)
    lattice = k.build_lattice(features)
    (neighbours,), m, size = lattice.neighbours, lattice.n_vertices, points.shape[1]
    coordinates = np.full((m, size), 10**9)
    coordinates[lattice.vertex] = points
    np.testing.assert_array_equal(coordinates[lattice.vertex], points)
    present = {tuple(c): i for i, c in enumerate(coordinates.tolist())}
    assert len(present) == m
    step = 1 - size * np.eye(size, dtype=int)
    for side, sign in enumerate((1, -1)):
        candidates = (coordinates[None] + sign * step[:, None]).reshape(-1, size).tolist()
        expected = [present.get(tuple(c), m) for c in candidates]
        np.testing.assert_array_equal(neighbours[:, :, side].reshape(-1), expected)


@each_backend
@given(features=clouds())
def test_the_neighbour_relation_is_symmetric(k, features):
    lattice = k.build_lattice(features)
    m = lattice.n_vertices
    for forward, back in lattice.neighbours[0].transpose(0, 2, 1):
        for there, return_ in ((forward, back), (back, forward)):
            start = np.flatnonzero(there != m)
            np.testing.assert_array_equal(return_[there[start]], start)


@each_backend
@both_dtypes
@given(features=clouds())
def test_splat_is_stored_as_the_transpose_of_slice(k, dtype, features):
    """By vertices, each with its pixels in ascending order; the weights differ by alpha only."""
    lattice = k.build_lattice(features.astype(dtype))
    n, d = features.shape
    assert lattice.n_pixels == n and lattice.starts.dtype == np.int64
    order = np.argsort(lattice.vertex.reshape(-1), kind="stable")
    np.testing.assert_array_equal(lattice.pixel, order // (d + 1))
    np.testing.assert_array_equal(np.repeat(np.arange(lattice.n_vertices), np.diff(lattice.starts)),
                                  lattice.vertex.reshape(-1)[order])  # fmt: skip
    weights = lattice.splat_weight.astype(np.float64)
    assert_close(lattice.slice_weight.reshape(-1)[order], alpha(d) * weights, abs(weights), terms=1)
    np.testing.assert_allclose(lattice.slice_weight.sum(axis=1), alpha(d), rtol=0, atol=8 * np.finfo(dtype).eps)


# -------------------------------------------------------------------- the reference and the others


@each_fast_backend
@both_dtypes
@given(features=clouds())
def test_all_build_the_same_lattice(k, dtype, features):
    features = features.astype(dtype)
    assert_the_same(k.build_lattice(features), reference.build_lattice(features))


@each_fast_backend
@both_dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_all_build_the_same_of_few_pixels(k, dtype, kind, n):
    for d in (1, 2, 5) if SIMULATED else range(1, 20):
        features = cloud(kind, d, n, d).astype(dtype)
        assert_the_same(k.build_lattice(features), reference.build_lattice(features))


@each_fast_backend
@both_dtypes
def test_all_build_the_same_of_many_vertices(k, dtype):
    """A hash table of the CPU's 8 chunks starts with 4096 places and grows, that of a GPU is too small at first."""
    n = 40 if SIMULATED else 5000
    features = (30 * normal(3, (n, 3))).astype(dtype)
    expected = reference.build_lattice(features)
    assert expected.n_vertices > 3.6 * n
    assert_the_same(k.build_lattice(features), expected)


@each_fast_backend
@both_dtypes
def test_all_build_the_same_of_an_image(k, dtype):
    """Neighbouring pixels share vertices; places are integers over a small number, as of a real image."""
    height, width = (6, 8) if SIMULATED else (60, 80)
    y, x = np.mgrid[:height, :width].reshape(2, -1) / 3
    colour = np.round(20 * np.sin(y + x / 2)) / 13
    for features in (np.stack([x, y], axis=1), np.stack([x / 9, y / 9, colour, -colour, colour / 3], axis=1)):
        features = features.astype(dtype)
        assert_the_same(k.build_lattice(features), reference.build_lattice(features))


@both_dtypes
@pytest.mark.skipif(SIMULATED, reason="it is about the CPU")
def test_vertices_of_many_chunks_are_numbered_once(dtype):
    """The same few places in every chunk of the CPU, with new ones in each: numbers follow the order of pixels."""
    from kernels import cpu

    known, fresh = normal(5, (30, 3), (400, 3))
    features = np.concatenate([known, fresh[:200], known, fresh[200:], known[::-1]] * 2).astype(dtype)
    lattice = cpu.build_lattice(features)
    assert_the_same(lattice, reference.build_lattice(features))
    _, first = np.unique(lattice.vertex.reshape(-1), return_index=True)
    assert (np.diff(first) > 0).all()


@each_fast_backend
@pytest.mark.parametrize("d, std, falls_back", [(19, 0.1, True), (19, 50, True), (5, 50, False), (5, 1e6, True),
                                                (2, 3e6, False), (1, 4e6, False)])  # fmt: skip
def test_features_whose_keys_do_not_fit_take_the_way_of_the_reference(k, d, std, falls_back, monkeypatch):
    features, asked = (std * normal(d, (30, d))).clip(-(2**24), 2**24), []
    expected = reference.build_lattice(features)
    build = reference.build_lattice
    monkeypatch.setattr(reference, "build_lattice", lambda f: asked.append(f) or build(f))
    assert_the_same(k.build_lattice(features), expected)
    assert len(asked) == falls_back


@each_fast_backend
@pytest.mark.parametrize("d", [1, 2, 3, 19])
@both_dtypes
def test_the_largest_features_that_are_possible(k, d, dtype):
    features = 2.0**24 * np.array([[1] * d, [-1] * d, [0] * d]).astype(dtype)
    lattice = k.build_lattice(features)
    assert_the_same(lattice, reference.build_lattice(features))
    assert lattice.n_vertices == 3 * (d + 1)


@each_fast_backend
@both_dtypes
@given(features=few, seed=seeds)
def test_all_join_to_the_same_arrays(k, dtype, features, seed):
    n = len(features)
    second, before, after = normal(seed, (n, 5), n, n, dtype=dtype)
    lattices = [reference.build_lattice(f) for f in (features.astype(dtype), second)]
    factors = [0.5, before.clip(-1, 1)], [after.clip(-1, 1), 1]
    assert_the_same(k.join_lattices(lattices, *factors), reference.join_lattices(lattices, *factors))


# -------------------------------------------------------------------- errors


NAN, INFINITE = np.array([[0.0, np.nan], [1, 2]]), np.array([[0.0, 3], [-np.inf, 2]])


FEATURES = normal(11, (6, 2))


def first_of_two(k):
    return k.build_lattice(FEATURES)


REFUSED = {  # name: (call, error, message)
    "NaN": (lambda k: k.build_lattice(NAN), ValueError, "lattice: features must be finite"),
    "infinity": (lambda k: k.build_lattice(-INFINITE), ValueError, "lattice: features must be finite"),
    "minus infinity": (lambda k: k.build_lattice(INFINITE), ValueError, "lattice: features must be finite"),
    "integers": (
        lambda k: k.build_lattice(np.ones((3, 2), int)),
        TypeError,
        "features must be float32 or float64, got",
    ),
    "a list": (lambda k: k.build_lattice([[1.0, 2.0]]), TypeError, "features must be an array, got list"),
    "one axis": (
        lambda k: k.build_lattice(np.ones(3)),
        ValueError,
        r"features must have shape \(any, any\), got \(3,\)",
    ),
    "an image": (lambda k: k.build_lattice(np.ones((2, 2, 3))), ValueError, r"features must have shape \(any, any\)"),
    "no dimension": (lambda k: k.build_lattice(np.ones((3, 0))), ValueError, r"d from 1 to 19, got \(3, 0\)"),
    "20 dimensions": (lambda k: k.build_lattice(np.ones((3, 20))), ValueError, r"d from 1 to 19, got \(3, 20\)"),
    "no pixel": (lambda k: k.build_lattice(np.ones((0, 2))), ValueError, r"N >= 1 and d from 1 to 19, got \(0, 2\)"),
    "too large": (
        lambda k: k.build_lattice(np.array([[0, 2.0**24 + 2]])),
        ValueError,
        r"a feature lies 1.68e\+07 standard deviations from 0, .*choose a larger standard deviation",
    ),
    "too small": (lambda k: k.build_lattice(np.array([[0, -1e30]])), ValueError, r"lies 1e\+30 standard deviations"),
    "join of nothing": (lambda k: k.join_lattices([], [], []), ValueError, "as many, and not none, got 0, 0 and 0"),
    "join without factors": (
        lambda k: k.join_lattices([first_of_two(k)] * 2, [1, 1], [1]),
        ValueError,
        "join_lattices: lattices, before and after must be as many, and not none, got 2, 2 and 1",
    ),
    "join of other pixels": (
        lambda k: k.join_lattices([first_of_two(k), k.build_lattice(FEATURES[:4])], [1, 1], [1, 1]),
        ValueError,
        r"join_lattices: lattices must have the same pixels, they have \[6, 4\]",
    ),
    "join of two dtypes": (
        lambda k: k.join_lattices([first_of_two(k), k.build_lattice(FEATURES.astype(np.float32))], [1, 1], [1, 1]),
        TypeError,
        "join_lattices: arrays must share one dtype",
    ),
    "join with factors of others": (
        lambda k: k.join_lattices([first_of_two(k)], [np.ones(5)], [1]),
        ValueError,
        r"before\[0\] must be a number or \(6,\), got shape \(5,\)",
    ),
}


@each_backend
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(k, name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call(k)
