"""The graph: sums of gradients, depth, memory, and what is refused."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.cpu.arrays import release_pool
from minideeplab import Tensor, no_grad, ops
from minideeplab.autograd.function import Function
from minideeplab.autograd.gradcheck import gradcheck


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


# ---------------------------------------------------------------- what a Tensor is


def test_attributes():
    x = Tensor(np.zeros((2, 3), np.float32))
    assert (x.shape, x.dtype, x.device, x.requires_grad, x.grad, x.node) == (
        (2, 3),
        np.float32,
        "cpu",
        False,
        None,
        None,
    )
    assert x.numpy() is x.data, "the CPU shares the array"
    assert Tensor([1, 2]).dtype == np.float32
    assert Tensor(np.float64(2)).dtype == np.float64
    assert Tensor(3.5).item() == 3.5


def test_repr_tells_the_history():
    x = leaf(1.0)
    assert repr(x) == "Tensor((1,), float64, cpu, requires_grad)"
    assert repr(x * x) == "Tensor((1,), float64, cpu, made by Multiply)"
    assert repr(x.detach()) == "Tensor((1,), float64, cpu)"


@pytest.mark.parametrize("data", [np.arange(3), np.zeros(2, np.float16), np.zeros(2, bool), np.array(["a"])])
def test_only_floats_are_data(data):
    with pytest.raises(TypeError, match=f"data must be float32 or float64, got {data.dtype}"):
        Tensor(data)


def test_a_tensor_is_not_data():
    with pytest.raises(TypeError, match=r"already a Tensor; use .detach\(\)"):
        Tensor(leaf(1.0))
    with pytest.raises(TypeError, match="expected a NumPy array, got str"):
        Tensor("1.0")


def test_item_needs_one_element():
    with pytest.raises(ValueError, match=r"item: needs one element, this tensor has shape \(2,\)"):
        leaf(1, 2).item()


def test_arithmetic_with_numbers():
    x = leaf(1, 2, 4, dtype=np.float32)
    for result, expected in [
        (x + 1, [2, 3, 5]),
        (1 + x, [2, 3, 5]),
        (x - 1, [0, 1, 3]),
        (1 - x, [0, -1, -3]),
        (x * 0.5, [0.5, 1, 2]),
        (0.5 * x, [0.5, 1, 2]),
        (-x, [-1, -2, -4]),
        (x - x * x, [0, -2, -12]),
    ]:
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result.numpy(), np.array(expected, np.float32))
    assert (x.sum().item(), x.mean().item()) == (7, pytest.approx(7 / 3))


@pytest.mark.parametrize("other", [[1.0, 2.0], np.ones(2), "2", None])
def test_arithmetic_with_anything_else(other):
    for operation in (lambda x: x + other, lambda x: x * other, lambda x: x - other):
        with pytest.raises(TypeError, match=f"needs a Tensor or a number, got {type(other).__name__}"):
            operation(leaf(1, 2))


def test_an_array_on_the_left_is_refused_too():
    with pytest.raises(TypeError):
        np.ones(2) * leaf(1, 2)


def test_dtypes_do_not_mix():
    with pytest.raises(TypeError, match="multiply: arrays must share one dtype, got a float64, b float32"):
        leaf(1, 2) * leaf(1, 2, dtype=np.float32)


# ---------------------------------------------------------------- gradients that meet


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda x: x * x, lambda x: 2 * x),
        (lambda x: x + x, lambda x: 2 + 0 * x),
        (lambda x: x - x * 3, lambda x: -2 + 0 * x),
        (lambda x: x * (x * x), lambda x: 3 * x**2),
        (lambda x: (x * x) * x, lambda x: 3 * x**2),
        (lambda x: (x * 2) * (x * 3) + x, lambda x: 12 * x + 1),
        (lambda x: x + (x * 2) * (x * 3), lambda x: 12 * x + 1),
        (lambda x: (lambda y: y * y + y)(x * x), lambda x: 4 * x**3 + 2 * x),
        (lambda x: (lambda y: y + y * y)(x * x), lambda x: 4 * x**3 + 2 * x),
    ],
)
def test_diamonds(function, derivative):
    x = leaf(1, -2, 3)
    function(x).sum().backward()
    np.testing.assert_array_equal(x.grad, derivative(x.data))


def test_a_function_waits_for_all_that_depends_on_it():
    """y feeds a short and a long path: its backward must run once, after both."""
    x = leaf(1, 2)
    y = x * x
    long = y
    for _ in range(5):
        long = long + y
    (y + long * 2).sum().backward()
    np.testing.assert_array_equal(x.grad, 13 * 2 * x.data)


def test_the_same_tensor_three_times_in_one_op():
    x = Tensor(np.arange(6.0).reshape(1, 1, 2, 3), requires_grad=True)
    ops.concat([x, x, x]).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(x.shape, 3.0))


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((2, 1, 3), (4, 1))])
def test_broadcasting_sums_over_what_it_stretched(shapes):
    arrays = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)]
    gradcheck(lambda a, b: a * b - b, *arrays)


OPERATIONS = st.tuples(st.sampled_from("+*r"), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(OPERATIONS, min_size=1, max_size=9), st.lists(st.integers(-3, 3), min_size=6, max_size=6))
def test_random_graphs_agree_with_forward_differentiation(program, values):
    """Integers make all exact; the oracle carries (value, derivative to each leaf) forward, without any graph."""
    leaves = [np.array(values[:3]), np.array(values[3:5]).reshape(2, 1), np.array(values[5])]
    tensors = [Tensor(v.astype(np.float64), requires_grad=True) for v in leaves]
    duals = [(v.astype(object), [int(i == j) for j in range(3)]) for i, v in enumerate(leaves)]
    nodes = list(tensors)
    for kind, i, j in program:
        (a, da), (b, db) = duals[i % len(duals)], duals[j % len(duals)]
        if kind == "+":
            nodes.append(nodes[i % len(nodes)] + nodes[j % len(nodes)])
            duals.append((a + b, [p + q for p, q in zip(da, db, strict=True)]))
        elif kind == "*":
            nodes.append(nodes[i % len(nodes)] * nodes[j % len(nodes)])
            duals.append((a * b, [p * b + a * q for p, q in zip(da, db, strict=True)]))
        else:
            nodes.append(nodes[i % len(nodes)].relu())
            on = np.array(a > 0).astype(object)
            duals.append((a * on, [p * on for p in da]))
    value, derivatives = duals[-1]
    ones = np.ones((2, 3))  # stretches the result to the largest shape
    (nodes[-1] * Tensor(ones)).backward(ones)
    np.testing.assert_array_equal(nodes[-1].numpy(), np.array(value, np.float64))
    collect = [lambda d: d.sum(0), lambda d: d.sum(1, keepdims=True), lambda d: d.sum()]  # to the leaves' shapes
    for tensor, derivative, to_leaf in zip(tensors, derivatives, collect, strict=True):
        expected = to_leaf(ones * np.array(derivative, np.float64))
        np.testing.assert_array_equal(0 * expected if tensor.grad is None else tensor.grad, expected)


# ---------------------------------------------------------------- backward


def test_a_chain_of_5000_does_not_recurse():
    x = leaf(1.0, 2.0)
    y = x
    for _ in range(5000):
        y = y + x
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [5001, 5001])


def test_dropping_a_long_chain_does_not_recurse():
    y = leaf(1.0)
    for _ in range(50_000):
        y = y * 1.0
    last = weakref.ref(y.node)
    del y
    assert last() is None


def test_gradients_of_two_backwards_are_summed():
    x = leaf(1, 2)
    (x * 3).sum().backward()
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [5, 7])


def test_backward_on_a_leaf():
    x = leaf(1, 2)
    x.backward(np.array([3.0, 4]))
    x.backward(np.array([1.0, 1]))
    np.testing.assert_array_equal(x.grad, [4, 5])


def test_inputs_that_want_no_gradient_get_none():
    x, y = leaf(1, 2), Tensor(np.array([3.0, 4]))
    (x * y).sum().backward()
    np.testing.assert_array_equal(x.grad, [3, 4])
    assert y.grad is None
    assert not (y * y).requires_grad


def test_detach_cuts():
    x = leaf(2, 3)
    (x * x.detach()).sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 3])


def test_nothing_is_recorded_in_no_grad():
    x = leaf(1, 2)
    with no_grad():
        with no_grad():
            pass
        y = x * x
    assert (y.requires_grad, y.node) == (False, None)
    with pytest.raises(RuntimeError, match="no history"):
        y.sum().backward()
    assert (x * x).requires_grad


def test_no_grad_ends_with_an_exception():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (leaf(1.0) * 2).requires_grad


def test_backward_without_a_leaf_that_wants_it():
    with pytest.raises(RuntimeError, match="no input has requires_grad"):
        (Tensor([1.0]) * 2).sum().backward()


def test_a_second_backward_is_refused_and_changes_nothing():
    x = leaf(1, 2)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="already run through this graph"):
        loss.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_a_shared_part_is_freed_by_the_first_backward():
    x = leaf(1, 2)
    shared = x * x
    one, other = shared.sum(), (shared * 2).sum()
    one.backward()
    with pytest.raises(RuntimeError, match="already run through this graph"):
        other.backward()


def test_only_a_scalar_has_a_default_gradient():
    y = leaf(1, 2) * 2
    with pytest.raises(ValueError, match=r"give `grad` for a tensor of shape \(2,\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"grad has shape \(3,\), the tensor \(2,\)"):
        y.backward(np.ones(3))
    with pytest.raises(TypeError, match="grad is float32, the tensor is float64"):
        y.backward(np.ones(2, np.float32))


# ---------------------------------------------------------------- memory


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Probe(Function):
    """The identity; its backward notes which of `watched` are still alive."""

    def forward(self, x, *, watched, alive):
        self.watched, self.alive = watched, alive
        return x.copy()

    def backward(self, grad):
        self.alive.extend(ref() is not None for ref in self.watched)
        return (grad,)


def test_arrays_die_as_soon_as_backward_has_used_them(without_collector):
    x, watched, alive = leaf(1.0, 2.0), [], []
    y = Probe.apply(x * 1.0, watched=watched, alive=alive)
    for _ in range(3):
        y = y.relu()
        watched.append(weakref.ref(y.data))
    loss = y.sum()
    del y
    assert all(ref() is not None for ref in watched), "backward needs them"
    loss.backward()
    assert alive == [False] * 3
    np.testing.assert_array_equal(x.grad, [1, 1])


def test_a_result_that_is_kept_does_not_keep_what_its_backward_needed(without_collector):
    y = leaf(1.0, 2.0) * 1.0
    watched = weakref.ref(y.data)
    y = y * y
    assert watched() is not None
    y.sum().backward()
    assert watched() is None


def test_what_no_backward_needs_dies_in_forward(without_collector):
    x = leaf(1.0, 2.0)
    y = x + x
    watched = weakref.ref(y.data)
    loss = y.relu().sum()
    del y
    assert watched() is None, "relu keeps its output, not its input"
    assert loss.requires_grad


def test_no_grad_keeps_nothing(without_collector):
    with no_grad():
        y = leaf(1.0, 2.0).relu()
        watched = weakref.ref(y.data)
        y = y.relu()
    assert watched() is None


def layers(x, weights):
    for w in weights:
        x = ops.relu(ops.conv2d(x, w))
    return x.sum()


def test_only_leaves_and_gradients_are_left_after_backward(without_collector):
    x = Tensor(np.ones((1, 64, 64, 8), np.float32))
    weights = [Tensor(np.full((3, 3, 8, 8), 0.01, np.float32), requires_grad=True) for _ in range(6)]
    layers(x, weights).backward()  # compiles
    for w in weights:
        w.grad = None
    release_pool()
    tracemalloc.start()
    try:
        loss = layers(x, weights)
        during, _ = tracemalloc.get_traced_memory()
        loss.backward()
        release_pool()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    gradients = sum(w.grad.nbytes for w in weights)
    assert during > 6 * x.data.nbytes, "the activations are kept for backward"
    assert after < gradients + x.data.nbytes / 4


def test_there_are_no_reference_cycles(without_collector):
    x = Tensor(np.ones((1, 8, 8, 2), np.float32))
    weights = [Tensor(np.full((3, 3, 2, 2), 0.1, np.float32), requires_grad=True) for _ in range(2)]
    for _ in range(2):  # the first time may compile, which leaves garbage of its own
        gc.collect()
        layers(x, weights).backward()
        layers(x, weights)  # and a graph that is dropped without backward
        found = gc.collect()
    assert found == 0


def test_leaves_own_their_gradients():
    a, b, grad = leaf(1, 2), leaf(3, 4), np.ones(2)
    (a + b).backward(grad)
    a.grad *= 2
    assert b.grad.tolist() == [1, 1] and grad.tolist() == [1, 1]
