"""The measurements: what they count is right, and where PyTorch is installed, both sides compute the same."""

import functools
import importlib
import itertools
import json
from contextlib import nullcontext

import numpy as np
import pytest

from kernels.bfloat16 import BFLOAT16
from minideeplab import Tensor, models, nn, ops, precision
from minideeplab.autograd.precision import precision_in_use
from minideeplab.bench import conv, crf, memory, model, timing
from minideeplab.bench.__main__ import main
from minideeplab.nn import Loss

PEAK, COPY = functools.cache(timing.peak_gflops), functools.cache(timing.copy_bandwidth)  # measured once for all tests
TINY = {"backbone": "xception41", "width": 0.125, "head_width": 16}


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    for suite in (conv, model):
        monkeypatch.setattr(suite, "peak_gflops", PEAK)
        monkeypatch.setattr(suite, "copy_bandwidth", COPY)
    monkeypatch.setattr(conv, "numpy_matmul_gflops", lambda: 50.0)  # a product of NumPy, as slow as its library
    monkeypatch.setattr(model, "MODELS", {"tiny": (2, 65, TINY)})
    monkeypatch.setattr(memory, "SHAPE", (1, 9, 9, 4))
    monkeypatch.setattr(conv, "LAYERS", (("conv", 1, 9, 8, 4, 3, 1, 2), ("depthwise", 2, 9, 8, 8, 3, 2, 1)))
    monkeypatch.setattr(conv, "NORMS", ((2, 9, 8),))
    monkeypatch.setattr(crf, "CASES", {"tiny": (30, 40, 3, 8, 20)})


def test_functions_are_timed_in_turn():
    calls = []
    seconds = timing.timings([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    # a warm-up each, then the order is reversed every round, and what is short runs for a while before it is timed
    turns = [(name, len(list(run))) for name, run in itertools.groupby(calls)]
    assert [name for name, _ in turns] == ["a", "b", "a", "b", "a"]  # a, b; b, a; a, b; b, a
    assert turns[0] == ("a", 1) and min(count for _, count in turns[1:]) > 10
    assert [len(s) for s in seconds] == [3, 3] and min(map(min, seconds)) > 0


def test_what_takes_long_is_timed_at_once(monkeypatch):
    monkeypatch.setattr(timing, "_SHORT", 0.0)
    calls = []
    timing.timings([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert "".join(calls) == "ab" + "ba" + "ab" + "ba"


def test_the_profile_counts_the_multiply_adds_of_the_model():
    """Each convolution three times in a step, except that the image wants no gradient."""
    contender = model.Ours("tiny")
    inference, step = (
        sum(row["flops"] for row in model.profile_of(job)) for job in (contender.inference, contender.step)
    )
    stem = 2 * 2 * 33 * 33 * 9 * 3 * round(32 * TINY["width"])
    assert step == 3 * inference - stem
    assert [row["kernel"] for row in model.profile_of(contender.step)].count("outside the kernels") == 1


@pytest.mark.parametrize("suite", ["conv", "memory", "model"])
def test_the_table_and_the_json(suite, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(model, "peak_memory", lambda *args: 10**9)
    report = tmp_path / "new" / "figures.json"
    assert main(["--suite", suite, "--repeats", "2", "--json", str(report)]) == 0
    rows = json.loads(report.read_text())[suite]["rows"]
    out = capsys.readouterr().out
    if suite == "conv":
        names, norm = ["8->4 3x3 r2 9x9", "depthwise 8 3x3 s2 2x9x9"], "batch norm 8 2x9x9"
        expected = [(n, d) for n in names for d in conv.DIRECTIONS] + [(norm, "forward"), (norm, "gradients")]
        assert [(row["layer"], row["direction"]) for row in rows] == expected
        assert all(name in out for name in (*names, norm))
    elif suite == "memory":
        assert len(rows) == len({row["kernel"] for row in rows}) > 10 and all(row["gbytes"] > 0 for row in rows)
        assert all(row["kernel"] in out for row in rows)
    else:
        assert [(row["model"], row["job"]) for row in rows] == [("tiny", "inference"), ("tiny", "step")]
        assert "where a step spends its time" in out and "peak memory of the step, ours: 1.00 GB" in out


def test_all_suites_in_bfloat16(capsys, monkeypatch, tmp_path):
    """Layers, other kernels and models run on bfloat16 maps; beside PyTorch, where it is installed, in its autocast."""
    monkeypatch.setattr("kernels.has_bfloat16", lambda: True)
    monkeypatch.setattr(model, "peak_memory", lambda *args: 10**9)
    with precision("bf16"):
        layer, net = conv.Layer("cpu", *conv.LAYERS[1]), model.Ours("tiny")
        assert layer.ours()["forward"]().dtype == layer.ours()["grad_input"]().dtype == BFLOAT16
        assert layer.ours()["grad_weight"]().dtype == np.float32
        assert "to_bfloat16" in [row["kernel"] for row in model.profile_of(net.step)]
    try:
        against = ["--against", importlib.import_module("torch")]
    except ImportError:
        against = []
    report = tmp_path / "figures.json"
    for suite in ("conv", "memory", "model"):
        more = against if suite != "memory" else []
        arguments = ["--suite", suite, "--precision", "bf16", "--repeats", "2", "--json", str(report), *more]
        with against[-1].enable_grad() if more else nullcontext():  # which the command switches off
            assert main(arguments[:-1] + ["torch"] if more else arguments) == 0
        rows = json.loads(report.read_text())[suite]["rows"]
        assert not more or all(row["ratio"] > 0 for row in rows)
    assert precision_in_use() == "float32"


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_twin_on_pytorch_computes_the_same(channels_last):
    """The same logits, and the same loss and gradients of a step, from the same parameters."""
    torch = pytest.importorskip("torch")
    from minideeplab.bench.torch_ops import images, on_torch, torch_ops

    before = ops.conv2d
    net = models.build("deeplabv3plus", num_classes=5, dropout=0.0, **TINY).astype(np.float64)
    twin = on_torch(net, channels_last)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((2, 65, 65, 3)), rng.integers(0, 5, (2, 65, 65))
    theirs = images(x, channels_last)
    for mode in (False, True):
        net.train(mode), twin.train(mode)
        loss = net.loss(Tensor(x), labels)
        with torch_ops():
            twin_loss = twin.loss(theirs, torch.from_numpy(labels))
        assert loss.item() == pytest.approx(twin_loss.item(), rel=1e-10)
    loss.backward()
    twin_loss.backward()
    for p, q in zip(net.parameters(), twin.torch_parameters, strict=True):
        back = {1: (0,), 4: (2, 3, 1, 0)}[q.ndim]
        grad = q.grad.numpy().transpose(back).reshape(p.shape)
        np.testing.assert_allclose(p.grad, grad, rtol=0, atol=1e-8 * abs(grad).max() + 1e-14)
    assert ops.conv2d is before and isinstance(net.loss(Tensor(x), labels), Loss)  # the functions are put back


def test_dropout_of_the_twin_drops():
    torch = pytest.importorskip("torch")
    from minideeplab.bench.torch_ops import images, on_torch, torch_ops

    layer = on_torch(nn.Dropout(0.5).train(), False)
    with torch_ops():
        y = layer(images(np.ones((1, 9, 9, 8), np.float32), False))
    assert set(torch.unique(y).tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_is_timed_computes_the_same_on_pytorch(channels_last):
    """Every layer of the suite conv, in every direction."""
    torch = pytest.importorskip("torch")

    def arrays(result):
        return result if isinstance(result, (tuple, list)) else [result]

    for layer in (*(conv.Layer("cpu", *layer) for layer in conv.LAYERS), *(conv.Norm("cpu", *n) for n in conv.NORMS)):
        ours, theirs = layer.ours(), layer.torch(torch, channels_last)
        assert ours.keys() == theirs.keys()
        for direction in ours:
            mine = [np.asarray(a) for a in arrays(ours[direction]())]
            other = [a.detach().numpy() for a in arrays(theirs[direction]()) if a is not None]
            for a, b in zip(mine, other, strict=True):
                back = {1: (0,), 4: (0, 2, 3, 1) if a.shape[0] == b.shape[0] else (2, 3, 1, 0)}[b.ndim]
                np.testing.assert_allclose(a, b.transpose(back).reshape(a.shape), rtol=0, atol=1e-4, err_msg=direction)


def test_the_crf_is_inferred_and_its_parts_add_up(tmp_path, capsys):
    assert main(["--suite", "crf", "--repeats", "2", "--json", str(tmp_path / "crf.json")]) == 0
    (row,) = json.loads((tmp_path / "crf.json").read_text())["crf"]["rows"]
    assert row.keys() == {"case", "first_seconds", "seconds", "spread", "vertices", "parts"}
    assert min(row["first_seconds"], row["seconds"]) > 0
    assert {"build_lattice", "splat", "blur", "mean_field_update", "other"} <= row["parts"].keys()
    assert min(row["parts"].values()) >= 0
    q = crf.infer(crf.photograph(30, 40), crf._costs(1200, 3), 8, 20)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-5)
    assert f"{row['vertices']:,d} vertices" in capsys.readouterr().out


@pytest.mark.parametrize(("suite", "other"), [("crf", "torch"), ("conv", "pydensecrf"), ("model", "pydensecrf")])
def test_what_cannot_be_compared_is_refused(suite, other, capsys):
    assert main(["--suite", suite, "--against", other]) == 2
    assert f"--suite {suite} cannot be compared with {other}" in capsys.readouterr().err
