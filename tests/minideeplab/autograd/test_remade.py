"""Results that backward makes again: the same gradients, one more pass for all that read them, and no array kept."""

import weakref

import numpy as np
import pytest
from strategies import normal

import kernels
from minideeplab.autograd import Tensor, ops
from minideeplab.autograd.function import backpropagate

SHAPE = (2, 6, 5, 8)


def graph(dtype=np.float32, shortcut=False):
    """(x, BatchNorm's call, loss) of a batch norm whose result two convolutions and a product with itself read."""
    data, w, gamma, beta = normal(3, SHAPE, (1, 1, 8, 4), (8,), (8,), dtype=dtype)
    x, w = Tensor(data, requires_grad=True), Tensor(w, requires_grad=True)
    y = ops.batch_norm(
        x, Tensor(gamma), Tensor(beta), np.zeros(8, dtype), np.ones(8, dtype), activation="relu",
        residual=Tensor(data) if shortcut else None,
    )  # fmt: skip
    loss = ops.conv2d(y, w).sum() + ops.conv2d(y, w, stride=2).sum() + (y * y).sum()
    return x, y.node, loss


def calls_of(function):
    """How often the CPU's `batch_norm` runs in function()."""
    calls = []
    with kernels.watching("cpu", lambda name, run, args, kwargs: calls.append(name) or run(*args, **kwargs)):
        function()
    return calls.count("batch_norm")


@pytest.mark.parametrize("shortcut", [False, True])
def test_gradients_have_the_bits_of_kept_results(shortcut, monkeypatch):
    results = []
    for remakes in (True, False):
        with monkeypatch.context() as patch:
            if not remakes:  # what `forward` sets is not seen
                patch.setattr(ops.BatchNorm, "remakes", property(lambda self: False, lambda self, value: None))
            x, node, loss = graph(shortcut=shortcut)
        assert node.remakes == (remakes and not shortcut)
        loss.backward()
        results.append(x.grad)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("shortcut", "passes"), [(False, 1), (True, 0)])
def test_it_is_made_once_for_all_that_read_it(shortcut, passes):
    _, _, loss = graph(shortcut=shortcut)
    assert calls_of(loss.backward) == passes


def test_no_op_keeps_the_result_and_backward_frees_it():
    """It lives from the first op that needs it until the gradient of batch norm, which does not."""
    x, node, loss = graph()
    alive = []

    def watch(function, grad, grads):
        if node.remade is not None and not alive:
            alive.append(weakref.ref(node.remade))
        if function is node:
            assert alive[0]() is None

    backpropagate(loss.node, np.ones((), np.float32), watch)
    assert alive and alive[0]() is None and node.remade is None and x.grad is not None


def test_a_graph_that_was_freed_below_is_refused():
    x, _, _ = graph()
    y = ops.batch_norm(x, *(Tensor(np.ones(8, np.float32)),) * 2, np.zeros(8, np.float32), np.ones(8, np.float32))
    first, second = y.sum(), (y * y).sum()
    first.backward()
    with pytest.raises(RuntimeError, match="compute the loss again"):
        second.backward()
