"""Mean-field inference against plain NumPy, all states of a small field, and the algebra."""

import itertools

import numba
import numpy as np
import pytest
from crf_cases import (
    LABELS,
    MAKERS,
    NORMALISATIONS,
    SIZE,
    costs,
    dense,
    each_filter,
    each_normalisation,
    exact,
    lattice,
    matrix_of,
    separable,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from strategies import SIMULATED, both_dtypes, normal, seeds

import kernels
from minideeplab.crf import (
    DenseField,
    ExactFilter,
    GaussianFilter,
    LatticeFilter,
    SeparableFilter,
    bilateral_features,
    position_features,
)

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
U = costs()


def plain_mean_field(unary, edges, steps):
    """Q after some steps; edges are pairs (A, mu) of matrices."""
    q = softmax(-unary, axis=1)
    for _ in range(steps):
        q = softmax(-unary - sum(a @ q @ mu.T for a, mu in edges), axis=1)
    return q


def assert_same_probabilities(actual, expected, atol=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)
    np.testing.assert_allclose(actual.sum(axis=1), 1, atol=atol)


# -------------------------------------------------------------------- the field


@both_dtypes
def test_without_weights_or_edges_the_answer_is_softmax(dtype):
    unary = costs(dtype=dtype)
    for edges in ([], [(lattice(dtype=dtype), 0.0), (separable(dtype=dtype), np.zeros((LABELS, LABELS)))]):
        q = DenseField(unary, edges).infer(3)
        assert q.dtype == dtype
        assert_same_probabilities(q, softmax(-unary, axis=1), atol=1e-6)


@each_filter
def test_a_number_for_each_pixel_added_to_the_costs_changes_nothing(make):
    unary, edges = costs(), [(make(), 2.0)]
    moved = unary + 5 * normal(3, (SIZE, 1))
    assert_same_probabilities(DenseField(moved, edges).infer(4), DenseField(unary, edges).infer(4))


@given(
    seed=seeds, make=st.sampled_from(MAKERS), normalisation=st.sampled_from(NORMALISATIONS), w=st.floats(-5, 5),
    remove_self=st.booleans(),
)  # fmt: skip
def test_a_number_a_vector_and_a_matrix_of_the_same_weight_are_the_same(seed, make, normalisation, w, remove_self):
    """w = (w, ..., w) = -w I = w (1 - I): the last adds a number for each pixel, and one to all free energies."""
    unary, gaussian, eye = costs(seed), make(normalisation), np.eye(LABELS)
    forms = (w, np.full(LABELS, w), -w * eye, w * (1 - eye))
    fields = [DenseField(unary, [(gaussian, form)], remove_self) for form in forms]
    q = [field.infer(3) for field in fields]
    gained = [field.free_energy(q[0]) - field.free_energy(field.start()) for field in fields]
    for found, energy in zip(q[1:], gained[1:], strict=True):
        assert_same_probabilities(found, q[0], atol=1e-9)
        np.testing.assert_allclose(energy, gained[0], rtol=1e-9, atol=1e-9)


@given(seed=seeds, make=st.sampled_from(MAKERS), w=st.lists(st.floats(-5, 5), min_size=LABELS, max_size=LABELS))
def test_a_vector_is_a_weight_for_each_label(seed, make, w):
    found, expected = (
        DenseField(costs(seed), [(make(), form)], remove_self=True).infer(3) for form in (np.array(w), -np.diag(w))
    )
    assert_same_probabilities(found, expected, atol=1e-9)


@pytest.mark.parametrize("weight", [1.0, np.ones(2), np.array([1.0, 0.0]), -np.eye(2), 1 - np.eye(2)])
@pytest.mark.parametrize("make", [ExactFilter, LatticeFilter])
def test_positive_weights_attract_and_negative_ones_repel(make, weight):
    """Two pixels in one place: the first is sure of label 0, the second has no opinion."""
    unary, gaussian = np.array([[0.0, 9.0], [0.0, 0.0]]), make(np.zeros((2, 1)), "none")
    joined, parted = (DenseField(unary, [(gaussian, sign * weight)], remove_self=True).infer(1) for sign in (1, -1))
    assert parted[1, 0] < 0.4 < 0.6 < joined[1, 0]


@each_normalisation
@pytest.mark.parametrize("remove_self", [False, True])
def test_exact_filters_at_once_are_plain_mean_field(normalisation, remove_self):
    """The costs of labels need not be symmetric, and several filters add up."""
    unary, features = costs(), [normal(seed, (SIZE, d)) for seed, d in ((4, 2), (5, 5), (6, 3))]
    compatibilities = (0.7, normal(7, LABELS), normal(8, (LABELS, LABELS)))
    field = DenseField(
        unary,
        [(ExactFilter(f, normalisation), c) for f, c in zip(features, compatibilities, strict=True)],
        remove_self,
    )
    matrices = [matrix_of(f, normalisation) for f in features]
    if remove_self:
        matrices = [a - np.diag(np.diag(a)) for a in matrices]
    mu = (0.7 * (1 - np.eye(LABELS)), -np.diag(compatibilities[1]), compatibilities[2])
    expected = plain_mean_field(unary, list(zip(matrices, mu, strict=True)), 4)
    assert_same_probabilities(field.infer(4), expected)


@each_normalisation
def test_lattices_joined_and_beside_other_filters_are_plain_mean_field(normalisation):
    unary, mu = costs(), normal(9, (LABELS, LABELS))
    edges = [
        (lattice(normalisation, seed=4, d=5), 0.7),
        (separable(normalisation), 0.6 * np.ones(LABELS)),
        (lattice(normalisation, seed=5, d=2), mu),
        (lattice(normalisation, seed=6, d=3), normal(7, LABELS)),
    ]
    whole = (0.7 * (1 - np.eye(LABELS)), -0.6 * np.eye(LABELS), mu, -np.diag(normal(7, LABELS)))
    matrices = [dense(gaussian) for gaussian, _ in edges]
    expected = plain_mean_field(unary, list(zip(matrices, whole, strict=True)), 4)
    assert_same_probabilities(DenseField(unary, edges).infer(4), expected)


@both_dtypes
def test_a_step_adds_the_message_to_the_logits(dtype):
    unary = costs(dtype=dtype)
    field = DenseField(unary, [(lattice(dtype=dtype), 2.0), (separable(dtype=dtype), -np.eye(LABELS))], True)
    q = field.start()
    expected = softmax(field.message(q) - unary, axis=1)
    field.step(q)
    assert_same_probabilities(q, expected, atol=1e-12 if dtype == np.float64 else 1e-6)


def test_float32_follows_float64():
    features, unary = normal(0, (400, 5)), 3 * costs(n=400, k=21)
    wide = DenseField(unary, [(LatticeFilter(features), 2.0)]).infer(10)
    narrow = DenseField(unary.astype(np.float32), [(LatticeFilter(features.astype(np.float32)), 2.0)]).infer(10)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-4)


@pytest.mark.parametrize("filter_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [separable, lattice])
def test_results_have_the_dtype_of_the_costs(make, filter_dtype):
    """A filter of another dtype is taken where it can hold the probabilities."""
    if make is lattice and filter_dtype == np.float32:
        unary_dtypes = [np.float32]
    else:
        unary_dtypes = [np.float32, np.float64]
    expected = DenseField(costs(), [(make(), 2.0)]).infer(3)
    for dtype in unary_dtypes:
        q = DenseField(costs(dtype=dtype), [(make(dtype=filter_dtype), 2.0)]).infer(3)
        assert q.dtype == dtype
        np.testing.assert_allclose(q, expected, atol=1e-5)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
def test_two_threads_give_the_bits_of_one():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    unary = costs(n=4800, k=7, dtype=np.float32)
    results = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        edges = [
            (LatticeFilter(bilateral_features(image, 10, 20)), 3.0),
            (LatticeFilter(position_features(60, 80, 3)), -np.eye(7)),
            (SeparableFilter(60, 80, 2), 1.0),
        ]
        results.append(DenseField(unary, edges).infer(3))
    kernels.set_num_threads(1)
    np.testing.assert_array_equal(results[0], results[1])


def test_a_filter_of_ones_own():
    """All that a field needs of a filter is `_filter` and `_normalise`: here, the mean of all pixels."""

    class Everywhere(GaussianFilter):
        def __init__(self, n):
            self._normalise(n, np.float64, "after")

        def _filter(self, values, transpose):
            return np.broadcast_to(values.sum(axis=0), values.shape)

    expected = plain_mean_field(U, [(np.full((SIZE, SIZE), 1 / SIZE), -2 * np.eye(LABELS))], 3)
    assert_same_probabilities(DenseField(U, [(Everywhere(SIZE), 2.0)]).infer(3), expected)


def test_a_filter_of_another_precision_is_applied_in_its_own():
    features = np.random.default_rng(5).random((40, 2)) * 3
    unary = np.random.default_rng(6).random((40, 3))
    fields = [
        DenseField(unary.astype(u), [(LatticeFilter(features.astype(f)), 2.0)])
        for u in (np.float32, np.float64)
        for f in (np.float32, np.float64)
    ]
    for field in fields:
        q = field.infer(4)
        assert q.dtype == field.unary.dtype
        np.testing.assert_allclose(q, fields[3].infer(4), atol=1e-5)


# -------------------------------------------------------------------- free energy


def states(n, k):
    """All labellings as 0 and 1: (k^n, n, k)."""
    return np.eye(k)[np.stack(np.unravel_index(np.arange(k**n), (k,) * n), axis=1)]


def brute_force(unary, q, matrix, mu):
    """(KL(Q || P), log Z) over all states of E(x) = sum U + 1/2 sum_ij mu(x_i, x_j) A_ij, the pairs as in `matrix`."""
    x = states(*unary.shape)
    energy = (x * unary).sum(axis=(1, 2)) + 0.5 * np.einsum("sil,lm,ij,sjm->s", x, mu, matrix, x, optimize=True)
    log_z = np.logaddexp.reduce(-energy)
    log_q = (x * np.log(q)).sum(axis=(1, 2))
    return (np.exp(log_q) * (log_q + energy + log_z)).sum(), log_z


@pytest.mark.parametrize("normalisation", ["none", "symmetric"])
@pytest.mark.parametrize("potts", [True, False])
def test_free_energy_is_the_divergence_from_all_states(normalisation, potts):
    """Without the pixel itself F + log Z = KL for any Q, and inference lowers it."""
    features, unary, w = normal(10, (6, 2)), costs(11, 6, 3), 0.8
    mu = normal(12, (3, 3))
    mu = -w * np.eye(3) if potts else mu + mu.T
    field = DenseField(unary, [(ExactFilter(features, normalisation), w if potts else mu)], remove_self=True)
    matrix = matrix_of(features, normalisation)
    matrix -= np.diag(np.diag(matrix))
    divergences = []
    for q in (softmax(normal(13, (6, 3)), axis=1), field.start(), field.infer(200, damping=0.5)):
        divergence, log_z = brute_force(unary, q, matrix, mu)
        np.testing.assert_allclose(field.free_energy(q) + log_z, divergence, rtol=1e-10)
        divergences.append(divergence)
    assert 0 < divergences[2] < divergences[1]


@pytest.mark.parametrize("normalisation", ["none", "symmetric"])
def test_with_the_pixel_itself_free_energy_bounds_the_divergence(normalisation):
    """A pixel beside itself has Q_i(l)^2 in F, where a state has 1: F + log Z is larger than KL by the difference."""
    features, unary, w = normal(10, (6, 2)), costs(11, 6, 3), 0.8
    field = DenseField(unary, [(ExactFilter(features, normalisation), w)])
    matrix = matrix_of(features, normalisation)
    for q in (softmax(normal(13, (6, 3)), axis=1), field.start(), field.infer(50)):
        divergence, log_z = brute_force(unary, q, matrix, -w * np.eye(3))
        more = 0.5 * w * (np.diag(matrix) * (1 - (q**2).sum(axis=1))).sum()
        assert 0 < divergence < field.free_energy(q) + log_z
        np.testing.assert_allclose(field.free_energy(q) + log_z, divergence + more, rtol=1e-10)


def energies(field, q=None):
    """Free energy at the start and after each of 30 steps."""
    steps = []
    q = field.start() if q is None else q
    field.infer(30, report=steps.append, start=q)
    return np.array([field.free_energy(q)] + [step.free_energy for step in steps])


@given(
    seed=seeds, normalisation=st.sampled_from(["none", "symmetric"]), k=st.integers(2, 5),
    w=st.floats(0.1, 20) | st.lists(st.floats(0.1, 20), min_size=5, max_size=5),
)  # fmt: skip
def test_no_step_with_positive_weights_and_a_symmetric_filter_raises_free_energy(seed, normalisation, w, k):
    w = w[:k] if isinstance(w, list) else w
    field = DenseField(costs(seed, 20, k), [(exact(normalisation, seed, 20, 3), w)])
    f = energies(field, softmax(3 * normal(seed, (20, k)), axis=1))
    assert (np.diff(f) <= 1e-10 * np.abs(f[:-1])).all()
    assert f[-1] < f[0]


@settings(max_examples=20)
@given(seed=seeds, w=st.floats(0.1, 20), d=st.integers(1, 5))
def test_nor_does_one_with_the_lattice_but_for_its_asymmetry(seed, w, d):
    f = energies(DenseField(costs(seed, 60, 3), [(lattice("symmetric", seed, 60, d), w)]))
    assert (np.diff(f) <= 1e-4 * np.abs(f[:-1])).all()
    assert f[-1] < f[0]


def test_without_the_pixel_itself_steps_can_swap_two_pixels_for_ever_and_damping_ends_it():
    unary, gaussian = np.array([[0.0, 0.2], [0.25, 0.0]]), ExactFilter(np.zeros((2, 1)), "none")
    swapping = DenseField(unary, [(gaussian, 10.0)], remove_self=True)
    labels = [swapping.infer(steps).argmax(axis=1).tolist() for steps in (30, 31)]
    assert labels in ([[0, 1], [1, 0]], [[1, 0], [0, 1]])
    for q in (DenseField(unary, [(gaussian, 10.0)]).infer(100), swapping.infer(200, damping=0.5)):
        assert q.argmax(axis=1).tolist() == [1, 1]


@pytest.mark.parametrize("remove_self", [False, True])
@pytest.mark.parametrize("normalisation", ["none", "symmetric"])
def test_at_convergence_no_move_on_the_simplex_lowers_free_energy(normalisation, remove_self):
    mu = normal(14, (LABELS, LABELS))
    field = DenseField(
        costs(15, 8), [(exact(normalisation, 16, 8), 0.4), (exact(normalisation, 17, 8), (mu + mu.T) / 4)], remove_self
    )
    q = field.infer(2000, damping=0.3, tolerance=1e-14)
    step = 1e-3 * q.min()

    def slope(q, pixel, label):
        ends = []
        for sign in (1, -1):
            moved = q.copy()
            moved[pixel, label] += sign * step
            moved[pixel, 0] -= sign * step
            ends.append(field.free_energy(moved))
        return (ends[0] - ends[1]) / (2 * step)

    places = [(pixel, label) for pixel in range(8) for label in range(1, LABELS)]
    assert max(abs(slope(q, *place)) for place in places) < 1e-6
    assert max(abs(slope(field.start(), *place)) for place in places) > 0.1


# -------------------------------------------------------------------- inference


def test_damping_keeps_a_share_of_the_old_probabilities():
    field = DenseField(costs(), [(lattice(), 3.0)])
    q = softmax(normal(20, (SIZE, LABELS)), axis=1)
    undamped, damped = q.copy(), q.copy()
    field.step(undamped)
    change = field.step(damped, damping=0.3)
    np.testing.assert_allclose(damped, 0.3 * q + 0.7 * undamped, atol=1e-14)
    np.testing.assert_allclose(change, abs(damped - q).max())
    np.testing.assert_array_equal(field.infer(1, damping=0.3, start=q), damped)


@pytest.mark.parametrize("tolerance", [0.0, 1e-2])
def test_iterate_yields_what_infer_would_return_after_each_step(tolerance):
    """Bit for bit, as copies: the field goes on with arrays of its own."""
    field = DenseField(U, [(lattice(), 2.0), (separable(), 1.0)])
    start = softmax(normal(13, U.shape), axis=1)
    steps = list(field.iterate(6, 0.2, tolerance, start))
    assert 1 <= len(steps) <= 6
    for number, q in enumerate(steps, start=1):
        np.testing.assert_array_equal(q, field.infer(number, 0.2, start=start))
    np.testing.assert_array_equal(steps[-1], field.infer(6, 0.2, tolerance, start=start))
    assert list(field.iterate(0)) == []


def test_tolerance_stops_at_the_first_small_change():
    field, steps = DenseField(costs(), [(lattice(), 0.8)]), []
    q = field.infer(200, tolerance=1e-4, report=steps.append)
    assert 2 < len(steps) < 200
    assert steps[-1].change <= 1e-4 < min(step.change for step in steps[:-1])
    np.testing.assert_array_equal(q, field.infer(len(steps)))


def test_the_report_says_what_each_step_did():
    field, steps = DenseField(costs(), [(lattice(), 4.0), (exact(), 1.0)], True), []
    field.infer(4, damping=0.2, report=steps.append)
    results = [field.infer(number, damping=0.2) for number in range(5)]
    for (before, after), step in zip(itertools.pairwise(results), steps, strict=True):
        assert step.free_energy == field.free_energy(after)
        assert step.changed_labels == (before.argmax(axis=1) != after.argmax(axis=1)).sum()
        np.testing.assert_allclose(step.change, abs(after - before).max())
    assert steps[0].changed_labels > 0


def test_inference_goes_on_from_where_it_stopped_and_leaves_its_start_alone():
    field = DenseField(costs(), [(lattice(), 2.0)])
    first = field.infer(2)
    kept = first.copy()
    np.testing.assert_array_equal(field.infer(3, start=first), field.infer(5))
    np.testing.assert_array_equal(field.infer(3, start=np.asfortranarray(first)), field.infer(5))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(field.infer(0), field.start())


def test_a_field_of_one_pixel_and_one_of_one_label():
    assert_same_probabilities(DenseField(costs(n=1), [(lattice(n=1), 1.0)]).infer(2), np.full((1, 3), 1 / 3), 1)
    np.testing.assert_array_equal(DenseField(costs(k=1), [(lattice(), 2.0)]).infer(3), np.ones((SIZE, 1)))


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DenseField(U.astype(int), []), TypeError, "unary must be float32 or float64, got int64"),
        (lambda: DenseField(U[0], []), ValueError, r"unary must be \(N, K\).* got shape \(3,\)"),
        (lambda: DenseField(U[:0], []), ValueError, r"got shape \(0, 3\)"),
        (lambda: DenseField(np.full((2, 2), np.inf), []), ValueError, "not finite; clip the probabilities"),
        (lambda: DenseField(U, [(np.eye(SIZE), 1)]), TypeError, "edges 0: expected a GaussianFilter, got ndarray"),
        (lambda: DenseField(U, [exact()]), TypeError, r"edges 0: expected a pair \(filter, compatibility\), got Exact"),
        (lambda: DenseField(U, [(ExactFilter(np.zeros((SIZE, 1)), "none"), 1e308)]).infer(3), ValueError,
         "no longer finite"),
        (lambda: DenseField(U, []).infer(0, start=np.full(U.shape, np.nan)), ValueError, "no longer finite"),
        (lambda: DenseField(U, [(exact(), 1), (exact(n=4), 1)]), ValueError, "edges 1: .* of 4 pixels, unary of 30"),
        (lambda: DenseField(U, [(exact(), np.ones(4))]), ValueError, r"\(3, 3\) for 3 labels, got shape \(4,"),
        (lambda: DenseField(U, [(exact(), np.nan)]), ValueError, "compatibility must be finite"),
        (lambda: DenseField(U, []).infer(-1), ValueError, "iterations must be >= 0, got -1"),
        (lambda: list(DenseField(U, []).iterate(-1)), ValueError, "iterations must be >= 0, got -1"),
        (lambda: DenseField(U, []).infer(1, damping=1.0), ValueError, r"damping must be in \[0, 1\), got 1.0"),
        (lambda: DenseField(U, []).infer(1, start=U[:4]), ValueError, r"\(4, 3\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
