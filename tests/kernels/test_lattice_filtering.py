"""Splat, blur and slice against their algebra and the exact Gaussian filter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lattice_cases import (
    LABELS,
    MOST_PIXELS,
    apply,
    cloud,
    clouds,
    embedding,
    few,
    normalised,
    some,
)
from strategies import (
    SIMULATED,
    any_layout,
    arrange,
    assert_close,
    both_dtypes,
    each_backend,
    each_fast_backend,
    inner,
    normal,
    seeds,
)

from kernels import reference
from kernels.lattice import alpha

pytestmark = pytest.mark.usefixtures("one_thread")
not_simulated = pytest.mark.skipif(SIMULATED, reason="too many pixels for the simulator")
N = 12 if SIMULATED else 60


# -------------------------------------------------------------------- the reference and the others


@each_fast_backend
@both_dtypes
@given(features=clouds(), seed=seeds, labels=st.sampled_from(LABELS), reverse=st.booleans())
def test_all_filter_the_same(k, dtype, features, seed, labels, reverse):
    """The fast backend against the reference in float64, with the same weights."""
    lattice = reference.build_lattice(features.astype(dtype))
    n, d = features.shape
    wide = lattice._replace(
        slice_weight=lattice.slice_weight.astype(float), splat_weight=lattice.splat_weight.astype(float)
    )
    m = lattice.n_vertices
    pixels, vertices = normal(seed, (n, labels), (m, labels), dtype=dtype)
    for name, x, options, terms in (
        ("splat", pixels, (), n + 1),
        ("blur", vertices, (reverse,), 4 * (d + 1)),
        ("slice_lattice", vertices, (), d + 3),
    ):
        function, x64 = getattr(reference, name), x.astype(np.float64)
        y = getattr(k, name)(lattice, x, *options)
        assert y.dtype == dtype
        assert_close(y, function(wide, x64, *options), function(wide, abs(x64), *options), terms)


@not_simulated
@each_fast_backend
@both_dtypes
def test_all_filter_the_same_where_parts_are_long(k, dtype):
    """More vertices and pixels than parts, some vertices with a thousand pixels."""
    features = np.concatenate([normal(4, (3000, 3)) / 9, 4 * normal(5, (3000, 3))]).astype(dtype)
    lattice, x = reference.build_lattice(features), normal(6, (6000, 5), dtype=dtype)
    expected, magnitude = apply(reference, lattice, x), apply(reference, lattice, abs(x))
    assert_close(apply(k, lattice, x), expected, magnitude.astype(np.float64), terms=200)


@each_backend
@any_layout
def test_any_memory_layout_gives_the_same_bits(k, dtype, layout):
    features, x = normal(7, (N, 3), (N, LABELS[-1]), dtype=dtype)
    lattice, other = k.build_lattice(features), k.build_lattice(arrange(features, layout))
    for a, b in zip((*lattice[:5], *lattice.neighbours), (*other[:5], *other.neighbours), strict=True):
        np.testing.assert_array_equal(a, b)
    u = k.splat(lattice, x)
    np.testing.assert_array_equal(k.splat(lattice, arrange(x, layout)), u)
    np.testing.assert_array_equal(k.blur(lattice, arrange(u, layout)), k.blur(lattice, u))
    np.testing.assert_array_equal(k.slice_lattice(lattice, arrange(u, layout)), k.slice_lattice(lattice, u))


@each_backend
def test_no_function_changes_its_arguments(k):
    features, x = normal(8, (30, 2), (30, 9))
    lattice = k.build_lattice(features)
    u = k.splat(lattice, x)
    before = [a.copy() for a in (features, x, u, *lattice[:5], *lattice.neighbours)]
    k.blur(lattice, u)
    k.slice_lattice(lattice, u)
    k.join_lattices([lattice, lattice], [2, x[:, 0]], [x[:, 1], 3])
    for a, b in zip((features, x, u, *lattice[:5], *lattice.neighbours), before, strict=True):
        np.testing.assert_array_equal(a, b)


# -------------------------------------------------------------------- algebra


@each_backend
@both_dtypes
@given(features=few, seed=seeds, labels=st.sampled_from(LABELS))
def test_a_filter_is_three_sparse_matrices(k, dtype, features, seed, labels):
    """slice (prod over axes of 1 + (forward + back) / 2) splat, multiplied out from the arrays of the lattice."""
    lattice = k.build_lattice(features.astype(dtype))
    (n, d), m = features.shape, lattice.n_vertices
    spread, gather, passes = np.zeros((m, n)), np.zeros((n, m)), []
    np.add.at(gather, (np.arange(n)[:, None], lattice.vertex), lattice.slice_weight)
    for vertex in range(m):
        entries = slice(*lattice.starts[vertex : vertex + 2])
        np.add.at(spread[vertex], lattice.pixel[entries], lattice.splat_weight[entries])
    for neighbours in lattice.neighbours[0]:
        matrix = np.zeros((m, m + 1))
        for side in range(2):
            matrix[np.arange(m), neighbours[:, side]] += 0.5
        passes.append(np.eye(m) + matrix[:, :m])
    forward = np.linalg.multi_dot([*passes[::-1], np.eye(m)])
    backward = np.linalg.multi_dot([*passes, np.eye(m)])
    x, u = normal(seed, (n, labels), (m, labels), dtype=dtype)
    wide_x, wide_u = x.astype(np.float64), u.astype(np.float64)
    for actual, matrix, wide, terms in (
        (k.splat(lattice, x), spread, wide_x, n + 1),
        (k.blur(lattice, u), forward, wide_u, 4 * (d + 1)),
        (k.blur(lattice, u, reverse=True), backward, wide_u, 4 * (d + 1)),
        (k.slice_lattice(lattice, u), gather, wide_u, d + 3),
    ):
        assert actual.dtype == dtype
        assert_close(actual, matrix @ wide, abs(matrix) @ abs(wide), terms)


@each_backend
@both_dtypes
@given(features=some, seed=seeds)
def test_the_adjoint_blurs_the_axes_in_reverse(k, dtype, features, seed):
    """<K x, y> = <x, K' y>, where vertices are missing, too."""
    lattice = k.build_lattice(features.astype(dtype))
    x, y = normal(seed, (len(features), 5), (len(features), 5), dtype=dtype)
    magnitude = inner(apply(k, lattice, abs(x)), abs(y))
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert abs(inner(apply(k, lattice, x), y) - inner(x, apply(k, lattice, y, reverse=True))) <= tolerance * magnitude


@each_backend
def test_the_order_of_the_axes_matters_at_the_edge(k):
    lattice = k.build_lattice(normal(9, (40, 3)))
    u = normal(1, (lattice.n_vertices, 2))
    assert abs(k.blur(lattice, u) - k.blur(lattice, u, reverse=True)).max() > 0.1


@each_backend
@both_dtypes
@given(first=few, seed=seeds, d=st.integers(1, 4), labels=st.sampled_from(LABELS))
def test_a_joined_lattice_is_the_weighted_sum_of_its_filters(k, dtype, first, seed, d, labels):
    """sum_j diag(after_j) K_j diag(before_j); before and after swapped, it is the adjoint."""
    n = len(first)
    second, x, y = normal(seed, (n, d), (n, labels), (n, labels), dtype=dtype)
    before, after = normal(seed + 1, n, n, dtype=dtype)
    lattices = [k.build_lattice(f) for f in (first.astype(dtype), second, second / 9)]
    factors = [before, 0.5, -1], [after, 3, before]
    joined = k.join_lattices(lattices, *factors)
    assert joined.n_vertices == sum(lattice.n_vertices for lattice in lattices)
    expected, magnitude = 0, 0
    for lattice, b, a in zip(lattices, *factors, strict=True):
        b, a = (np.broadcast_to(factor, n).astype(dtype)[:, None] for factor in (b, a))
        expected = expected + a.astype(np.float64) * apply(k, lattice, b * x)
        magnitude = magnitude + abs(a) * apply(k, lattice, abs(b * x)).astype(np.float64)
    z = apply(k, joined, x)
    assert z.dtype == dtype
    assert_close(z, expected, magnitude, terms=2 * n + 40)
    swapped = k.join_lattices(lattices, *factors[::-1])
    difference = inner(z, y) - inner(x, apply(k, swapped, y, reverse=True))
    assert abs(difference) <= (1e-5 if dtype == np.float32 else 1e-12) * inner(magnitude, abs(y))


@each_backend
@given(features=some, seed=seeds, labels=st.sampled_from(LABELS))
def test_a_filter_is_linear(k, features, seed, labels):
    x, y = normal(seed, (len(features), labels), (len(features), labels))
    lattice = k.build_lattice(features)
    together = apply(k, lattice, 2.5 * x - 0.7 * y)
    magnitude = apply(k, lattice, 2.5 * abs(x) + 0.7 * abs(y))
    assert (abs(together - 2.5 * apply(k, lattice, x) + 0.7 * apply(k, lattice, y)) <= 1e-13 * magnitude).all()


@each_backend
@both_dtypes
@pytest.mark.parametrize("labels", LABELS)
def test_labels_are_filtered_independently(k, dtype, labels):
    features, x = normal(labels, (5 * N, 3), (5 * N, labels), dtype=dtype)
    lattice = k.build_lattice(features / 2)
    together, magnitude = apply(k, lattice, x), apply(k, lattice, abs(x)).astype(np.float64)
    alone = np.concatenate([apply(k, lattice, np.ascontiguousarray(x[:, i : i + 1])) for i in range(labels)], axis=1)
    assert_close(together, alone.astype(np.float64), magnitude, terms=8)


@each_backend
@both_dtypes
@given(features=some)
def test_normalised_filters_keep_their_fixed_points(k, dtype, features):
    """With n = K 1: n^-1 K maps 1 to 1, n^-1/2 K n^-1/2 maps sqrt(n) to sqrt(n)."""
    plain, tolerance = k.build_lattice(features.astype(dtype)), 1e-5 if dtype == np.float32 else 1e-12
    after, n = normalised(k, plain, "after")
    np.testing.assert_allclose(apply(k, after, np.ones((len(n), 2), dtype)), 1, rtol=tolerance)
    symmetric, n = normalised(k, plain, "symmetric")
    root = np.sqrt(n)[:, None]
    np.testing.assert_allclose(apply(k, symmetric, root), root, rtol=tolerance)


@each_backend
@given(features=some, seed=seeds)
def test_the_order_of_the_pixels_is_of_no_account(k, features, seed):
    order = np.argsort(normal(seed, len(features)))
    x = normal(seed, (len(features), 4))
    y, permuted = apply(k, k.build_lattice(features), x), apply(k, k.build_lattice(features[order]), x[order])
    np.testing.assert_allclose(permuted, y[order], rtol=0, atol=1e-12 * (1 + len(features)))


@each_backend
@pytest.mark.parametrize("d", [1, 2, 3, 5, 8])
def test_moving_all_features_by_a_lattice_vector_changes_nothing(k, d):
    """Two of remainder 0, one of another remainder, for which the corners of each simplex change their numbers."""
    features, x = normal(d, (N, d), (N, 3))
    basis, size = embedding(d), d + 1
    step = 1 - size * np.eye(size, dtype=int)
    y = apply(k, k.build_lattice(features), x)
    for vector in (step[0] - step[d], 3 * (step[0] - step[1]), step[d] * 5 + step[0]):
        moved = features + vector @ basis / (size**2 * 2 / 3)
        assert abs(moved - features).max() > 0.5
        lattice = k.build_lattice(moved)
        np.testing.assert_allclose(apply(k, lattice, x), y, rtol=0, atol=1e-12)
    assert abs(apply(k, k.build_lattice(features + 0.3), x) - y).max() > 1e-3  # as other vectors do


# -------------------------------------------------------------------- the Gaussian


def full_lattice(k, d):
    """A fine grid of features all over some lattice cells, the numbers of one cell's pixels in its middle, density.

    In one dimension vertices are sqrt(3) / 2 apart, in two they have the period sqrt(3) x 1.
    """
    period, count, cells = {1: ([np.sqrt(0.75)], [100], [15]), 2: ([np.sqrt(3), 1], [16, 10], [5, 9])}[d]
    axes = [(np.arange(c * k) + 0.31) * p / c - (k // 2) * p for p, c, k in zip(period, count, cells, strict=True)]
    features = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
    middle = np.flatnonzero(((features >= 0) & (features < period)).all(axis=1))
    assert len(middle) == np.prod(count)
    return features, middle, np.prod(count) / np.prod(period), k.build_lattice(features)


@not_simulated
@each_backend
@pytest.mark.parametrize("d, self_response, mass", [(1, 8 / 9, 0.921), (2, 0.800, 0.882)])
def test_averages_of_a_full_lattice(k, d, self_response, mass):
    """E k(x, x), the mass over that of the Gaussian, (2 pi)^(d / 2), and the trace d of the covariance."""
    features, middle, density, lattice = full_lattice(k, d)
    x = np.zeros((len(features), len(middle)))
    x[middle, np.arange(len(middle))] = 1
    y = apply(k, lattice, x)
    squared = ((features[:, None] - features[middle]) ** 2).sum(axis=2)
    np.testing.assert_allclose(y[middle, np.arange(len(middle))].mean(), self_response, rtol=0.01)
    np.testing.assert_allclose(y.sum(axis=0).mean() / density / (2 * np.pi) ** (d / 2), mass, rtol=0.002)
    np.testing.assert_allclose((y * squared).sum() / y.sum(), d, rtol=0.01)


@not_simulated
@each_backend
@pytest.mark.parametrize("d", [1, 2])
def test_the_blur_from_vertex_to_vertex(k, d):
    """1 + 2^-d from one to itself, which alpha undoes; 2^-m + 2^-(d + 1 - m) to another m steps away."""
    _, middle, _, lattice = full_lattice(k, d)
    corners = lattice.vertex[middle[0]]
    u = np.zeros((lattice.n_vertices, d + 1))
    u[corners, np.arange(d + 1)] = 1
    steps = abs(np.arange(d + 1)[:, None] - np.arange(d + 1))
    expected = np.where(steps == 0, 1 + 2.0**-d, 2.0**-steps + 2.0 ** (steps - d - 1))
    for reverse in (False, True):
        np.testing.assert_array_equal(k.blur(lattice, u, reverse)[corners], expected)


@not_simulated
@each_backend
def test_a_pixel_on_a_vertex_of_a_full_lattice_answers_itself_with_1(k):
    features = np.concatenate([np.zeros((1, 2)), full_lattice(k, 2)[0]])
    x = np.zeros((len(features), 1))
    x[0] = 1
    assert abs(apply(k, k.build_lattice(features), x)[0, 0] - 1) < 1e-15


@each_backend
@both_dtypes
@pytest.mark.parametrize("d", range(1, 20))
def test_a_pixel_alone_answers_itself_with_1_at_most(k, dtype, d):
    """And with alpha at least on a vertex, elsewhere with alpha times its squared weights: a blur only adds."""
    rounding = 4 * (d + 2) * np.finfo(dtype).eps
    for features in (np.zeros((1, d)), normal(d, (1, d))):
        lattice = k.build_lattice(features.astype(dtype))
        least = (lattice.splat_weight.astype(np.float64) ** 2).sum() * alpha(d)
        (response,) = apply(k, lattice, np.ones((1, 1), dtype))[0].astype(np.float64)
        assert least - rounding <= response <= 1 + rounding
    assert least < alpha(d)


@each_backend
@given(seed=seeds, d=st.integers(1, 8), n=st.integers(2, 9))
def test_pixels_far_apart_do_not_see_each_other(k, seed, d, n):
    features = normal(seed, (n, d)) + 100 * np.arange(n)[:, None]
    lattice = k.build_lattice(features)
    matrix = apply(k, lattice, np.eye(n))
    assert (matrix[~np.eye(n, dtype=bool)] == 0).all()
    least = (lattice.slice_weight**2).sum(axis=1) / alpha(d)
    assert (np.diag(matrix) >= least - 1e-13).all() and (np.diag(matrix) <= 1 + 1e-13).all()


@each_backend
@both_dtypes
@given(seed=seeds, d=st.integers(1, 8), n=st.integers(1, MOST_PIXELS), labels=st.sampled_from(LABELS))
def test_equal_features_give_the_mean(k, dtype, seed, d, n, labels):
    lattice, _ = normalised(k, k.build_lattice(cloud("equal", seed, n, d).astype(dtype)), "after")
    x = normal(seed, (n, labels), dtype=dtype)
    expected = np.broadcast_to(x.mean(axis=0, dtype=np.float64), x.shape)
    np.testing.assert_allclose(apply(k, lattice, x), expected, rtol=0, atol=2e-5 if dtype == np.float32 else 1e-12)


#: d: (side of the box, pixels, error of n^-1 K against that of the exact filter, mass of K over that of the exact one)
MEASURED = {
    1: (12, 400, 0.0680, 0.918),
    2: (6, 1000, 0.0970, 0.871),
    3: (4, 1200, 0.159, 0.810),
    5: (2.5, 1500, 0.214, 0.645),
}


@not_simulated
@each_backend
@both_dtypes
@pytest.mark.parametrize("d", MEASURED)
def test_the_distance_to_the_exact_filter(k, dtype, d):
    """Of noise, relative to what the exact filter leaves of it: measured once, and a tenth more allowed."""
    side, n, error, mass = MEASURED[d]
    features = np.random.Generator(np.random.Philox(d)).uniform(0, side, (n, d)).astype(dtype)
    x = np.concatenate([np.ones((n, 1)), normal(d, (n, 8))], axis=1).astype(dtype)
    exact, fast = reference.exact_gaussian(features, x), apply(k, k.build_lattice(features), x).astype(np.float64)
    assert exact.dtype == np.float64
    y, expected = fast[:, 1:] / fast[:, :1], exact[:, 1:] / exact[:, :1]
    found = np.linalg.norm(y - expected) / np.linalg.norm(expected - expected.mean(axis=0))
    assert found < 1.1 * error
    assert abs(fast[:, 0].sum() / exact[:, 0].sum() - mass) < 0.005


def test_the_exact_filter_is_its_formula():
    features, x = np.array([[0.0, 0], [1, 0], [0, 2]]), np.array([[1.0, 0], [0, 1], [0, 0]])
    expected = [[1, np.exp(-0.5)], [np.exp(-0.5), 1], [np.exp(-2), np.exp(-2.5)]]
    np.testing.assert_allclose(reference.exact_gaussian(features, x), expected, rtol=1e-15)


# -------------------------------------------------------------------- errors


FEATURES = normal(11, (6, 2))


def first_of_two(k):
    return k.build_lattice(FEATURES)


REFUSED = {  # name: (call, error, message)
    "splat of other pixels": (
        lambda k: k.splat(first_of_two(k), np.ones((7, 2))),
        ValueError,
        r"splat: values must have shape \(6, any\), got \(7, 2\)",
    ),
    "splat of a vector": (lambda k: k.splat(first_of_two(k), np.ones(6)), ValueError, "splat: values must have shape"),
    "splat of integers": (
        lambda k: k.splat(first_of_two(k), np.ones((6, 2), int)),
        TypeError,
        "splat: values must be float32 or float64, got int64",
    ),
    "splat of another dtype": (
        lambda k: k.splat(first_of_two(k), np.ones((6, 2), np.float32)),
        TypeError,
        "splat: arrays must share one dtype, got values float32, lattice_weights float64",
    ),
    "blur of pixels": (
        lambda k: k.blur(first_of_two(k), np.ones((6, 2))),
        ValueError,
        r"blur: values must have shape \(\d+, any\), got \(6, 2\)",
    ),
    "blur of another dtype": (
        lambda k: k.blur(first_of_two(k), np.ones((first_of_two(k).n_vertices, 2), np.float32)),
        TypeError,
        "blur: arrays must share one dtype",
    ),
    "slice of pixels": (
        lambda k: k.slice_lattice(first_of_two(k), np.ones((6, 2))),
        ValueError,
        r"slice_lattice: values must have shape \(\d+, any\), got \(6, 2\)",
    ),
    "slice of another dtype": (
        lambda k: k.slice_lattice(first_of_two(k), np.ones((first_of_two(k).n_vertices, 2), np.float32)),
        TypeError,
        "slice_lattice: arrays must share one dtype",
    ),
}


@each_backend
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(k, name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call(k)


@each_fast_backend
@both_dtypes
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_of_several_lattices_is_blurred_as_alone(k, dtype, count):
    """Bit for bit, in both orders of axes; the numbers of axes are odd and even."""
    features = [normal(seed, (N, d), dtype=dtype) for seed, d in ((1, 2), (2, 5), (3, 1))][:count]
    lattices = [k.build_lattice(f) for f in features]
    joined = k.join_lattices(lattices, [1] * count, [1] * count)
    sizes = [lattice.n_vertices for lattice in lattices]
    for labels in LABELS:
        blocks = [normal(labels + i, (m, labels), dtype=dtype) for i, m in enumerate(sizes)]
        for reverse in (False, True):
            together = k.blur(joined, np.concatenate(blocks), reverse)
            alone = [k.blur(*job, reverse) for job in zip(lattices, blocks, strict=True)]
            np.testing.assert_array_equal(together, np.concatenate(alone))
