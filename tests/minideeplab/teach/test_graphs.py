"""The recorded graph as nodes: nothing changes by looking, and memory falls as it did."""

import gc
import weakref

import matplotlib
import numpy as np
import pytest
from strategies import SIMULATED, normal

from minideeplab import Tensor, nn, no_grad, ops
from minideeplab.autograd.function import topological
from minideeplab.nn.losses import cross_entropy
from minideeplab.teach import draw_graph, graph, walk_back

matplotlib.use("agg")
pytestmark = pytest.mark.skipif(SIMULATED, reason="the graph is the same on every device")
X, LABELS = normal(0, (1, 6, 7, 3)).astype(np.float32), np.arange(42).reshape(1, 6, 7).astype(np.uint8) % 4


class Net(nn.Module):
    """A shortcut around the second convolution."""

    def __init__(self):
        self.first, self.blocks, self.head = nn.Conv2d(3, 8, 3), [nn.ConvNorm(8, 8, 3)], nn.Conv2d(8, 4, 1)
        self.initialise(0)

    def forward(self, x):
        x = self.first(x).relu()
        return self.head(x + self.blocks[0](x))


def loss_of(model, x=X):
    return cross_entropy(model(Tensor(x)), LABELS)


def test_each_node_comes_after_all_that_it_reads():
    nodes = graph(loss_of(model := Net()), model)
    assert [n.number for n in nodes] == list(range(len(nodes)))
    assert all(r < n.number for n in nodes for r in n.reads)
    names = {name for name, _ in model.named_parameters()}
    assert {n.name for n in nodes if n.op == "parameter"} == names
    assert [n.name for n in nodes if n.op == "Conv2d"] == ["first", "blocks.0.conv", "head"]
    (add,) = [n for n in nodes if n.op == "Add"]
    assert [nodes[r].op for r in add.reads] == ["Activate", "BatchNorm"]
    assert [n.shape for n in nodes if n.op == "Conv2d"] == [(1, 6, 7, 8), (1, 6, 7, 8), (1, 6, 7, 4)]


def test_names_of_tensors_and_what_is_read_twice():
    x = Tensor(np.array(2.0), requires_grad=True)
    u = 3.0 * x
    a = u * u
    nodes = graph(a, names={"x": x, "u": u, "a": a})
    assert [(n.name, n.op, n.reads) for n in nodes] == [
        ("x", "input", ()), ("u", "Multiply", (0,)), ("a", "Multiply", (1, 1))
    ]  # fmt: skip


def test_an_array_that_two_nodes_keep_is_added_once():
    x = Tensor(X, requires_grad=True)
    nodes = graph((x * x + x * 2.0).sum())
    first, second = [n for n in nodes if n.op == "Multiply"]
    assert first.saved == first.added == X.nbytes
    assert (second.saved, second.added) == (X.nbytes + 4, 4)


def test_looking_changes_no_gradient_and_keeps_nothing_alive():
    seen, plain = Net(), Net()
    loss_of(plain).backward()  # compiles: the compiler leaves cycles
    loss = loss_of(seen)
    nodes = graph(loss, seen)
    arrays = [weakref.ref(a) for f in topological(loss.node) for a in f.saved if isinstance(a, np.ndarray)]
    functions = [weakref.ref(f) for f in topological(loss.node)]
    gc.disable()  # what is not freed at once, without it, is a cycle
    try:
        loss.backward()
        del loss
        assert [f() for f in functions if f() is not None] == []
        held = {id(t.data) for t in seen.arrays()} | {id(X), id(LABELS)}
        assert all(a() is None or id(a()) in held for a in arrays)
    finally:
        gc.enable()
    assert len(nodes) > 8
    for one, other in zip(seen.parameters(), plain.parameters(), strict=True):
        np.testing.assert_array_equal(one.grad, other.grad)


def test_a_walk_is_backward_and_memory_falls():
    walked, plain = Net(), Net()
    nodes, steps = graph(loss_of(walked), walked), walk_back(loss_of(walked), walked)
    loss_of(plain).backward()
    for one, other in zip(walked.parameters(), plain.parameters(), strict=True):
        np.testing.assert_array_equal(one.grad, other.grad)
    assert [s.node.number for s in steps] == [n.number for n in reversed(nodes) if n.op != "parameter"]
    held = [s.held for s in steps]
    assert held == sorted(held, reverse=True) and held[0] < sum(n.added for n in nodes)
    assert held[-1] == X.nbytes + LABELS.nbytes  # this file holds them


def test_gradients_that_meet_are_summed():
    x = Tensor(np.array(2.0), requires_grad=True)
    u = 3.0 * x
    steps = walk_back(u * u + 5.0 * u, names={"u": u})
    (step,) = [s for s in steps if s.node.name == "u"]
    handed = [float(g) for s in steps for r, g in zip(s.node.reads, s.handed, strict=True) if r == step.node.number]
    assert sorted(handed) == [5, 6, 6] and step.gradient == 17 and x.grad == 51


def test_what_was_not_recorded_is_refused():
    with no_grad():
        loss = loss_of(Net())
    with pytest.raises(ValueError, match="nothing is recorded; compute the loss again"):
        graph(loss)
    loss = loss_of(Net())
    loss.backward()
    with pytest.raises(ValueError, match="nothing is recorded"):
        graph(loss)
    with pytest.raises(ValueError, match=r"must be a scalar, got shape \(1, 6, 7, 3\)"):
        walk_back(ops.relu(Tensor(X, requires_grad=True)))


def test_a_drawing_says_operation_name_and_bytes():
    import matplotlib.pyplot as plt

    nodes = graph(loss_of(model := Net()), model)
    draw_graph(nodes, notes={len(nodes) - 1: "the loss"})
    texts = [text.get_text() for text in plt.gca().texts]
    assert any(text.startswith("first: Conv2d,  1 x 6 x 7 x 8,  keeps 504 B") for text in texts)
    assert any("the loss" in text for text in texts)
    assert len(plt.gca().patches) == 1  # the shortcut goes around
    plt.close("all")
