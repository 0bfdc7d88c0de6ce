"""One step of mean-field inference against its formula in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from strategies import SIMULATED, arrange, assert_close, both_dtypes, each_backend, normal, seeds

from kernels import reference

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = (1, 2, 5) if SIMULATED else (1, 2, 3, 4, 5, 7, 8, 9, 21, 33, 40)  # below, at and above a vector
N = 10 if SIMULATED else 70
FLOOR = 1e-25  # in float32 the CPU's softmax ends at e^-60, not at 0


def probabilities(seed, n, labels, dtype):
    return special.softmax(normal(seed, (n, labels)), axis=1).astype(dtype)


def problem(seed, n, labels, dtype, d=2, scale=1.0):
    """(lattice, values, unary, message, q)."""
    lattice = reference.build_lattice(normal(seed, (n, d), dtype=dtype))
    unary, message, values = normal(seed + 1, (n, labels), (n, labels), (lattice.n_vertices, labels))
    unary, message, values = ((scale * a).astype(dtype) for a in (unary, message, values))
    return lattice, values, unary, message, probabilities(seed + 2, n, labels, dtype)


def assert_is_the_formula(k, lattice, values, unary, message, q, damping):
    """softmax(slice(values) + message - unary) by matrix product, and the change that is returned."""
    old, terms, logits, size = q.copy(), 20 + q.shape[1], -unary.astype(np.float64), abs(unary.astype(np.float64))
    if message is not None:
        logits, size = logits + message, size + abs(message)
    if lattice is not None:
        for corner in range(lattice.vertex.shape[1]):
            part = lattice.slice_weight[:, corner, None].astype(np.float64) * values[lattice.vertex[:, corner]]
            logits, size = logits + part, size + abs(part)
    change = k.mean_field_update(lattice, values, unary, message, q, damping)
    new = special.softmax(logits, axis=1)
    spread = 1 + size.max(axis=1, keepdims=True)
    expected = damping * old.astype(np.float64) + (1 - damping) * new
    assert_close(q, expected, damping * old + (1 - damping) * new * spread, terms, floor=FLOOR)
    assert isinstance(change, float)
    assert change == float(abs(q - old).max())
    assert_close(q.sum(axis=1, dtype=np.float64).astype(q.dtype), np.ones(len(q)), 1.0, terms=2 * q.shape[1] + 4)


@each_backend
@both_dtypes
@given(
    seed=seeds,
    n=st.integers(1, 10 if SIMULATED else 40),
    labels=st.sampled_from(LABELS),
    damping=st.sampled_from((0.0, 0.25, 0.9)),
    d=st.sampled_from((None, 1, 2, 5, 8)),
    with_message=st.booleans(),
)
def test_the_update_is_its_formula(k, dtype, seed, n, labels, damping, d, with_message):
    lattice, values, unary, message, q = problem(seed, n, labels, dtype, d or 1, scale=2.0)
    if d is None:
        lattice = values = None
    assert_is_the_formula(k, lattice, values, unary, message if with_message else None, q, damping)


@each_backend
@both_dtypes
@pytest.mark.parametrize("labels", LABELS)
def test_every_number_of_labels(k, dtype, labels):
    assert_is_the_formula(k, *problem(labels, N, labels, dtype), 0.5)


@each_backend
@both_dtypes
@pytest.mark.parametrize("labels", [3, 5 if SIMULATED else 21])
def test_many_pixels(k, dtype, labels):
    """More than 64 in each of the CPU's 64 parts, the last run of each part a short one."""
    assert_is_the_formula(k, *problem(1, 30 if SIMULATED else 9001, labels, dtype), 0.1)


@each_backend
@both_dtypes
@pytest.mark.parametrize("labels", [3, 5 if SIMULATED else 21])
def test_a_joined_lattice(k, dtype, labels):
    """As many corners as both together."""
    first, second, before, after = normal(5, (N, 2), (N, 5), N, N, dtype=dtype)
    lattice = k.join_lattices([k.build_lattice(first), k.build_lattice(second)], [before, 1], [2, after])
    values, unary = normal(6, (lattice.n_vertices, labels), (N, labels), dtype=dtype)
    assert_is_the_formula(k, lattice, values, unary, None, probabilities(7, N, labels, dtype), 0.0)


@each_backend
@both_dtypes
@pytest.mark.parametrize("labels", LABELS)
def test_without_messages_it_is_the_softmax_of_minus_the_costs(k, dtype, labels):
    unary, q = normal(2, (50, labels), dtype=dtype), probabilities(3, 50, labels, dtype)
    k.mean_field_update(None, None, unary, None, q)
    expected = special.softmax(-unary.astype(np.float64), axis=1)
    assert_close(q, expected, expected * (1 + abs(unary).max()), terms=labels + 8)


@each_backend
@both_dtypes
@pytest.mark.parametrize("labels", LABELS)
def test_a_constant_for_each_pixel_changes_nothing(k, dtype, labels):
    """Multiples of 1/8 are moved without rounding: the results are equal to the bit."""
    unary, message = (np.round(8 * a) / 8 for a in normal(labels, (50, labels), (50, labels), dtype=dtype))
    shift = 2.0 ** np.random.default_rng(labels).integers(-3, 11, (50, 1)).astype(dtype)
    old = probabilities(labels, 50, labels, dtype)
    q, moved = old.copy(), old.copy()
    changes = [k.mean_field_update(None, None, u, message, p, 0.5) for u, p in ((unary, q), (unary + shift, moved))]
    np.testing.assert_array_equal(moved, q)
    assert changes[0] == changes[1] and (labels == 1 or changes[0] > 0.01)


@each_backend
@both_dtypes
@given(seed=seeds, labels=st.sampled_from(LABELS))
def test_the_order_of_the_labels_is_of_no_account(k, dtype, seed, labels):
    lattice, values, unary, message, q = problem(seed, 20, labels, dtype)
    order, permuted = np.argsort(normal(seed, labels)), q.copy()
    of_labels = [np.ascontiguousarray(a[:, order]) for a in (values, unary, message, permuted)]
    change = k.mean_field_update(lattice, values, unary, message, q, 0.2)
    other = k.mean_field_update(lattice, *of_labels, 0.2)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(of_labels[-1], q[:, order], rtol=0, atol=tolerance)
    assert abs(other - change) <= tolerance


@each_backend
@both_dtypes
@pytest.mark.parametrize("labels", LABELS)
def test_large_costs_do_not_overflow(k, dtype, labels):
    lattice, values, unary, message, q = problem(4, 30, labels, dtype)
    winner = np.random.default_rng(labels).integers(0, labels, 30)
    unary = np.where(np.arange(labels) == winner[:, None], -1e4, 1e4).astype(dtype)
    one_hot = (np.arange(labels) == winner[:, None]).astype(dtype)
    with np.errstate(over="raise", invalid="raise"):
        k.mean_field_update(lattice, values, unary, message, q)
        np.testing.assert_allclose(q, one_hot, rtol=0, atol=FLOOR)
        k.mean_field_update(lattice, values, np.full_like(unary, 1e4), 1e4 * one_hot, q)
        np.testing.assert_allclose(q, one_hot, rtol=0, atol=FLOOR)
        k.mean_field_update(None, None, np.full_like(unary, -1e4), None, q)
    np.testing.assert_allclose(q, 1 / labels, rtol=1e-6)


@each_backend
@both_dtypes
def test_repeated_updates_with_damping_come_to_rest(k, dtype):
    """The change shrinks by the damping, as the message is fixed."""
    unary, q = normal(5, (N, 9), dtype=dtype), probabilities(6, N, 9, dtype)
    changes = [k.mean_field_update(None, None, unary, None, q, 0.5) for _ in range(8)]
    np.testing.assert_allclose(np.array(changes[1:]) / changes[:-1], 0.5, rtol=1e-9 if dtype == np.float64 else 1e-3)


@each_backend
@both_dtypes
@pytest.mark.parametrize("layout", ["F", "strided", "reversed"])
def test_any_memory_layout_gives_the_same(k, dtype, layout):
    lattice, values, unary, message, q = problem(8, 40, 9, dtype)
    other, before = q.copy(), [a.copy() for a in (values, unary, message)]
    change = k.mean_field_update(lattice, values, unary, message, q, 0.3)
    other_change = k.mean_field_update(lattice, *(arrange(a, layout) for a in before), other, 0.3)
    sums_by_memory = getattr(k, "__name__", "") == "kernels.reference"  # as NumPy does
    tolerance = 2 * np.finfo(dtype).eps if sums_by_memory else 0
    np.testing.assert_allclose(other, q, rtol=0, atol=tolerance)
    assert abs(other_change - change) <= tolerance
    for a, b in zip((values, unary, message), before, strict=True):
        np.testing.assert_array_equal(a, b)


# -------------------------------------------------------------------- errors

LATTICE = reference.build_lattice(normal(9, (6, 2)))
M = LATTICE.n_vertices
PIXELS, VERTICES = np.full((6, 3), 1 / 3), np.zeros((M, 3))

REFUSED = {  # name: (arguments that are not valid ones, error, message)
    "q of other pixels": ({"q": PIXELS[:5]}, ValueError, r"unary must have shape \(5, 3\), got \(6, 3\)"),
    "q of other labels": ({"q": np.ones((6, 4))}, ValueError, r"unary must have shape \(6, 4\), got \(6, 3\)"),
    "q with one axis": ({"q": np.ones(6)}, ValueError, r"q must have shape \(any, any\), got \(6,\)"),
    "unary": ({"unary": PIXELS[:, :2]}, ValueError, r"unary must have shape \(6, 3\), got \(6, 2\)"),
    "unary of an image": ({"unary": PIXELS[None]}, ValueError, r"unary must have shape \(6, 3\), got \(1, 6, 3\)"),
    "message": ({"message": PIXELS[:1]}, ValueError, r"message must have shape \(6, 3\), got \(1, 3\)"),
    "values of pixels": ({"values": PIXELS}, ValueError, rf"values must have shape \({M}, any\), got \(6, 3\)"),
    "values without a lattice": ({"lattice": None}, ValueError, "lattice and values belong together"),
    "a lattice without values": ({"values": None}, ValueError, "lattice and values belong together"),
    "a lattice of other pixels": (
        {"q": PIXELS[:5], "unary": PIXELS[:5], "message": None},
        ValueError,
        r"vertices of the lattice must have shape \(5, any\), got \(6, 3\)",
    ),
    "q by columns": ({"q": np.asfortranarray(PIXELS)}, ValueError, r"q of shape \(6, 3\) must be contiguous"),
    "q of every second": ({"q": np.ones((12, 3))[::2]}, ValueError, "must be contiguous and writeable"),
    "read-only q": ({"q": np.broadcast_to(1.0, (6, 3))}, ValueError, "must be contiguous and writeable"),
    "no pixels": (
        {"q": np.ones((0, 3)), "unary": np.ones((0, 3)), "message": None},
        ValueError,
        r"pixels and labels, got shape \(0, 3\)",
    ),
    "damping of 1": ({"damping": 1.0}, ValueError, r"damping must be in \[0, 1\), got 1.0"),
    "damping below 0": ({"damping": -0.1}, ValueError, r"damping must be in \[0, 1\), got -0.1"),
    "damping by NaN": ({"damping": float("nan")}, ValueError, r"damping must be in \[0, 1\), got nan"),
    "integers": ({"unary": np.ones((6, 3), int)}, TypeError, "unary must be float32 or float64, got int64"),
    "two dtypes": ({"q": PIXELS.astype(np.float32)}, TypeError, "mean_field_update: arrays must share one dtype"),
    "message of another dtype": ({"message": PIXELS.astype(np.float32)}, TypeError, "must share one dtype"),
    "values of another dtype": ({"values": VERTICES.astype(np.float32)}, TypeError, "must share one dtype"),
    "a lattice of another dtype": (
        {"lattice": reference.build_lattice(normal(9, (6, 2), dtype=np.float32))},
        TypeError,
        "must share one dtype, got values float64, lattice_weights float32",
    ),
    "a list": ({"unary": PIXELS.tolist()}, TypeError, "mean_field_update: unary must be an array, got list"),
}


@each_backend
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(k, name):
    changed, error, message = REFUSED[name]
    if "contiguous" in message and SIMULATED:
        pytest.skip("arrays on a device are contiguous")
    valid = {"lattice": LATTICE, "values": VERTICES, "unary": PIXELS, "message": PIXELS, "q": PIXELS, "damping": 0.0}
    arguments = {n: a.copy("K") if isinstance(a, np.ndarray) and n != "q" else a for n, a in (valid | changed).items()}
    before = arguments["q"].copy()
    with pytest.raises(error, match=message):
        k.mean_field_update(**arguments)
    np.testing.assert_array_equal(arguments["q"], before)
    k.mean_field_update(**valid | {"q": PIXELS.copy()})
