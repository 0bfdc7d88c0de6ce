"""The engine on the device cuda gives what it gives on the CPU, in the simulator (NUMBA_ENABLE_CUDASIM=1)."""

import json

import numpy as np
import pytest
from norms_over_ranks import assert_ranks_are_one, case
from op_cases import CASES
from PIL import Image
from ranks_in_threads import in_threads
from strategies import SIMULATED

import kernels
from kernels.cuda import arrays
from minideeplab import Tensor, models, no_grad, ops
from minideeplab.autograd.gradcheck import check_direction, gradients
from minideeplab.bench import conv, memory
from minideeplab.bench.__main__ import main as bench
from minideeplab.crf import (
    CRFLayer,
    DenseField,
    LatticeFilter,
    SeparableFilter,
    bilateral_features,
    filter_each,
    position_features,
    refine,
)
from minideeplab.crf.__main__ import main as crf_command
from minideeplab.distributed import Replica
from minideeplab.models.backbones.mobilenetv2 import InvertedResidual
from minideeplab.nn import ConvNorm, Module, SeparableConv2d, WeightAverage, freeze_batch_norm
from minideeplab.nn.losses import cross_entropy, hard_pixels
from minideeplab.nn.optim import SGD
from minideeplab.train import train_step

pytestmark = pytest.mark.skipif(not SIMULATED, reason="runs in the CUDA simulator: NUMBA_ENABLE_CUDASIM=1")


class Tiny(Module):
    """Strided, atrous and separable convolution, a shortcut, pooling, concatenation: each kind of layer once."""

    def __init__(self):
        self.stem = ConvNorm(3, 4, 3, stride=2)
        self.left, self.right = ConvNorm(4, 4, 3, rate=2), SeparableConv2d(4, 4)
        self.head = ConvNorm(8, 3, 1, activation=None)

    def forward(self, x):
        x = self.stem(x)
        pooled = ops.resize_bilinear(ops.global_average_pool(x), *x.shape[1:3])
        return self.head(ops.concat([self.left(x, x), self.right(x) + pooled]))


def tiny(device):
    return Tiny().initialise(0).astype(np.float64).to(device)


IMAGES = np.random.default_rng(0).standard_normal((2, 7, 6, 3))
LABELS = np.random.default_rng(1).integers(0, 3, (2, 7, 6)).astype(np.uint8)
LABELS[0, 2] = 255


def loss_of(net):
    return cross_entropy(net(Tensor(IMAGES).to(net.device)), LABELS, class_weights=[1.0, 0.5, 2.0], size=(7, 6))


@pytest.mark.parametrize("name", CASES)
def test_every_op_and_its_gradients_are_those_of_the_cpu(name):
    _, (function, arrays) = CASES[name]
    with no_grad():
        expected = function(*(Tensor(a) for a in arrays)).numpy()
        actual = function(*(Tensor(a).to("cuda") for a in arrays)).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    weight = np.random.default_rng(2).standard_normal(expected.shape)
    there, here = (gradients(function, arrays, weight, device) for device in ("cuda", "cpu"))
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_a_training_step_is_that_of_the_cpu():
    states = []
    for device in ("cpu", "cuda"):
        net = tiny(device)
        optimiser, losses = SGD(net, 0.1), []
        for _ in range(2):
            loss = loss_of(net)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        states.append((losses, net.state_dict(), optimiser.state_dict()))
    (losses, state, velocity), (cpu_losses, cpu_state, cpu_velocity) = states[1], states[0]
    np.testing.assert_allclose(losses, cpu_losses, rtol=1e-12)
    for mine, other in ((state, cpu_state), (velocity, cpu_velocity)):
        for name in other:
            np.testing.assert_allclose(mine[name], other[name], rtol=1e-10, atol=1e-12, err_msg=name)


class Hard(Tiny):
    """With a loss over the hardest pixels, as networks for segmentation have it."""

    def loss(self, x, labels, class_weights, ignore_index, hard_share):
        logits = self(x)
        labels = hard_pixels(logits, labels, hard_share, ignore_index, class_weights, (7, 6))
        return cross_entropy(logits, labels, ignore_index, class_weights, (7, 6))


def test_a_step_in_parts_over_hard_pixels_and_its_average_are_those_of_the_cpu():
    results = {}
    for device in ("cpu", "cuda"):
        net = Hard().initialise(0).astype(np.float64).to(device)
        freeze_batch_norm(net)
        average = WeightAverage(net, 0.9)
        loss = train_step(net, SGD(net, 0.1), IMAGES, LABELS, None, [1.0, 0.5, 2.0], 255, 2, 0.5)
        average.update(0)
        results[device] = (loss.item(), loss.weight, net.state_dict(), average.model.state_dict())
    for found, expected in zip(results["cuda"], results["cpu"], strict=True):
        if isinstance(found, dict):
            for name, array in found.items():
                np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
        else:
            assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", [{"residual": True}, {"columns": 2}], ids=["residual", "convolution"])
def test_batch_norm_over_ranks_is_that_of_the_batch(kind):
    """Sums of ranks are taken in host memory."""
    assert_ranks_are_one(2, case((4, 2, 2, 3), **kind), device="cuda", activation="relu")


@pytest.mark.parametrize("directly", [False, True], ids=["by the host", "directly"])
def test_a_step_of_two_ranks_is_that_of_the_cpu(directly):
    """Gradients travel through host memory, and come back, or are summed where they lie."""

    def step(group, device):
        group.takes_device_arrays = directly
        net = Hard().initialise(group.rank).astype(np.float64).to(device)
        replica = Replica(net, group, synchronised=False)
        own = IMAGES[group.rank : group.rank + 1], LABELS[group.rank : group.rank + 1]
        for _ in range(2):
            loss = train_step(net, SGD(net, 0.1), *own, None, [1.0, 0.5, 2.0], 255, 1, 0.5, replica)
        replica.require_equal()
        return loss.item(), net.state_dict()

    (there, state), (here, expected) = (in_threads(2, step, device)[1] for device in ("cuda", "cpu"))
    assert there == pytest.approx(here, rel=1e-12)
    for name, array in expected.items():
        np.testing.assert_allclose(state[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_parts_of_a_batch_drop_what_the_batch_drops():
    x = np.random.default_rng(4).standard_normal((4, 3, 2, 5))
    whole = ops.dropout(Tensor(x), 0.4, 2**64 - 7).numpy()
    parts = [ops.dropout(Tensor(x[i : i + 2]).to("cuda"), 0.4, 2**64 - 7, first=30 * i).numpy() for i in (0, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_gradient_of_a_network_on_the_device():
    net = tiny("cuda")
    check_direction(lambda: loss_of(net), net)


def test_inference_is_the_recorded_forward_pass():
    net = tiny("cuda").eval()
    recorded = net(Tensor(IMAGES).to("cuda")).numpy()
    with no_grad():
        np.testing.assert_allclose(net(Tensor(IMAGES).to("cuda")).numpy(), recorded, rtol=1e-12, atol=1e-12)


def test_states_go_to_the_device_and_back():
    there, here = tiny("cuda"), tiny("cpu")
    here.load_state_dict({name: 2 * a for name, a in there.state_dict().items()})
    there.load_state_dict(here.state_dict())
    assert there.device == "cuda" and here.device == "cpu"
    for name, a in there.to("cpu").state_dict().items():
        np.testing.assert_array_equal(a, here.state_dict()[name])


def test_a_separable_v3plus_runs_on_the_device():
    options = {"backbone": "xception41", "num_classes": 3, "width": 1 / 64, "head_width": 4, "atrous_rates": (1, 2, 3)}
    images = np.random.default_rng(3).standard_normal((1, 33, 33, 3)).astype(np.float32)
    logits = []
    for device in ("cpu", "cuda"):
        model = models.build("deeplabv3plus", **options).eval().to(device)
        with no_grad():
            logits.append(model(Tensor(images).to(device)).numpy())
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-4 * abs(logits[0]).max())


@pytest.mark.parametrize("pad_before", ["depthwise", "expansion"])
def test_an_inverted_residual_runs_on_the_device(pad_before):
    """Output, features inside, gradients and running statistics in training; both paths of inference."""
    images, results = np.random.default_rng(3).standard_normal((2, 5, 4, 4)), []
    for device in ("cpu", "cuda"):
        block = InvertedResidual(4, 4, 2, 1, 2, pad_before).initialise(0).astype(np.float64).to(device)
        x = Tensor(images).to(device)
        x.requires_grad = True
        y = block(x)
        (y * y).mean().backward()
        grads = [kernels.to_device(t.grad, "cpu") for t in (x, *block.parameters())]
        with no_grad():
            y_eval, pair = block.eval()(x), block.forward_with_inner(x)
        results.append([y.numpy(), *grads, *block.state_dict().values(), *(t.numpy() for t in (y_eval, *pair))])
    for mine, other in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10 * abs(other).max() + 1e-13)


@pytest.mark.parametrize("suite", ["conv", "memory"])
def test_the_bench_measures_the_device(suite, tmp_path, monkeypatch):
    for module in (conv, memory):
        monkeypatch.setattr(module, "copy_bandwidth", lambda *args: 1.0)
    monkeypatch.setattr(conv, "peak_gflops", lambda *args: 1.0)
    monkeypatch.setattr(conv, "LAYERS", (("conv", 1, 4, 3, 2, 3, 1, 1), ("depthwise", 1, 4, 3, 3, 3, 2, 1)))
    monkeypatch.setattr(conv, "NORMS", ((1, 4, 3),))
    monkeypatch.setattr(conv, "IMAGES", {"cuda": 1})
    monkeypatch.setattr(memory, "SHAPE", (1, 4, 4, 4))
    monkeypatch.setattr(memory, "PARAMETERS", 9)
    report = tmp_path / "figures.json"
    assert bench(["--suite", suite, "--device", "cuda", "--repeats", "1", "--json", str(report)]) == 0
    assert all(row["ms"] > 0 for row in json.loads(report.read_text())[suite]["rows"])


def test_buffers_come_back_to_the_pool():
    first = arrays.empty((7, 3))
    buffer = first.buffer
    view = arrays.reshape(first, (21,))
    del first
    assert arrays.empty((21,)).buffer is not buffer  # the view still has it
    del view
    assert arrays.empty((3, 7)).buffer is buffer


def test_buffers_in_use_come_back_to_a_pool_that_was_emptied():
    first, second = arrays.empty((7, 3)), arrays.empty((7, 3))
    arrays.release_pool()
    buffer = first.buffer
    del first
    assert arrays.empty((3, 7)).buffer is buffer and second.buffer is not buffer


def test_batches_of_any_layout_go_up_through_pinned_memory():
    batch = np.arange(6000, dtype=np.float32).reshape(2, 30, 20, 5)
    for array in (batch, batch[:, ::-1, ::2], batch.transpose(3, 1, 0, 2), batch[..., :2].astype(np.uint8), batch * 2):
        assert array.nbytes >= arrays._PINNED_FROM
        np.testing.assert_array_equal(arrays.to_numpy(arrays.from_numpy(array)), array)


def test_an_update_leaves_no_memory_behind():
    """The table of addresses is another in every step; its memory goes back to the pool."""
    k, rng = kernels.load("cuda"), np.random.default_rng(0)
    params, velocities = ([k.from_numpy(rng.standard_normal(5)) for _ in range(3)] for _ in range(2))
    before = arrays._constant.cache_info().currsize
    for _ in range(5):
        kept = [k.from_numpy(rng.standard_normal(5)) for _ in range(3)]
        k.sgd_update(params, velocities, kept[:: rng.choice([-1, 1])], 0.1, 0.9, [0.0] * 3)
    assert arrays._constant.cache_info().currsize - before <= 4  # sizes, owners, starts, decays


def test_arrays_without_elements():
    k = kernels.load("cuda")
    nothing = k.zeros((0, 3), np.float64)
    assert k.to_numpy(k.activate(nothing, "relu6")).shape == (0, 3)
    assert k.to_numpy(k.add(nothing, k.zeros((3,), np.float64))).shape == (0, 3)
    np.testing.assert_array_equal(k.to_numpy(k.sum_to(nothing, (3,))), np.zeros(3))
    assert k.to_numpy(k.sum_to(nothing, (0, 1))).shape == (0, 1)
    assert k.to_numpy(k.softmax(nothing)).shape == (0, 3)
    assert k.is_finite(nothing)
    k.sgd_update([nothing], [nothing], [nothing], 0.1, 0.9, [0.0])


def test_launches_are_counted():
    before = kernels.load("cuda").launches()
    kernels.load("cuda").zeros((2,))
    assert kernels.load("cuda").launches() == before + 1


# -------------------------------------------------------------------- errors


def test_out_of_memory_names_the_array_and_what_it_needs(monkeypatch):
    def refuse(elements, dtype):
        raise RuntimeError("Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    monkeypatch.setattr(arrays, "_allocate", refuse)
    with pytest.raises(MemoryError, match=r"an array of shape \(7, 1000, 1000\), float64, needs 0.06 GB on the device"):
        arrays.empty((7, 1000, 1000), np.float64)


def test_a_fault_of_a_kernel_is_not_taken_for_short_memory(monkeypatch):
    def refuse(elements, dtype):
        raise RuntimeError("Call to cuMemAlloc results in CUDA_ERROR_ILLEGAL_ADDRESS")

    monkeypatch.setattr(arrays.cuda, "device_array", refuse)
    with pytest.raises(RuntimeError, match="ILLEGAL_ADDRESS"):
        arrays.empty((7, 1001, 3), np.float64)


def test_mixed_devices_are_refused():
    x = Tensor(np.ones((2, 2)))
    with pytest.raises(TypeError, match="different devices, cpu and cuda"):
        x + x.to("cuda")


def test_host_arrays_are_refused_by_name():
    k = kernels.load("cuda")
    with pytest.raises(TypeError, match="activate: x lies in host memory"):
        k.activate(np.ones(3, np.float32), "relu")


def test_labels_out_of_range_are_found_on_the_device():
    labels = LABELS.copy()
    labels[1, 2, 3] = 7
    with pytest.raises(ValueError, match=r"label 7 at \(n, row, column\) = \(1, 2, 3\) is out of range"):
        cross_entropy(Tensor(np.zeros((2, 7, 6, 3))).to("cuda"), labels)


# -------------------------------------------------------------------- dense CRF

SMALL = np.random.default_rng(2).integers(0, 256, (3, 4, 3), np.uint8)
COSTS = np.random.default_rng(3).standard_normal((12, 3))


@pytest.mark.parametrize("smoothness", ["lattice", "separable"])
def test_a_refined_segmentation_is_that_of_the_cpu(smoothness):
    scores = COSTS.reshape(3, 4, 3)
    here, there = (
        refine(scores, SMALL, "pydensecrf", kind="logits", iterations=2, srgb=80, smoothness=smoothness, device=device)
        for device in ("cpu", "cuda")
    )
    assert type(there) is np.ndarray
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-12)


@pytest.mark.parametrize("compatibility", [2.0, np.array([-1, -2, 0.5]), np.array([[0, 1, 2], [1, 0, 3], [2, 2, 0.0]])])
@pytest.mark.parametrize("remove_self", [False, True])
def test_a_field_with_any_compatibility_is_that_of_the_cpu(compatibility, remove_self):
    results = []
    for device in ("cpu", "cuda"):
        filters = [
            LatticeFilter(position_features(3, 4, 2, np.float64), "after", device),
            LatticeFilter(bilateral_features(SMALL, 2, 90, np.float64), "symmetric", device),
            SeparableFilter(3, 4, 1, "before", np.float64, device),
        ]
        steps = []
        field = DenseField(COSTS, list(zip(filters, [1.0, compatibility, compatibility], strict=True)), remove_self)
        results.append((field.infer(2, damping=0.25, report=steps.append), field.message(field.start()), steps))
    (here, message, steps), (there, message_there, steps_there) = results
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-12)
    np.testing.assert_allclose(kernels.load("cuda").to_numpy(message_there), message, rtol=0, atol=1e-12)
    np.testing.assert_allclose(steps_there, steps, rtol=1e-10)


def test_a_crf_layer_and_its_gradients_are_those_of_the_cpu():
    logits, images = COSTS.reshape(2, 2, 3, 3), SMALL.reshape(2, 2, 3, 3)
    results = []
    for device in ("cpu", "cuda"):
        layer = CRFLayer(3, "pydensecrf", iterations=2).astype(np.float64).to(device)
        x = Tensor(kernels.to_device(logits, device), requires_grad=True)
        y = layer(x, images)
        (y * y).sum().backward()
        grads = [kernels.to_device(a.grad, "cpu") for a in (x, *layer.parameters())]
        results.append([y.numpy(), *grads])
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-11)


def test_filters_of_two_devices_are_refused():
    features = position_features(3, 4, 2, np.float64)
    here, there = LatticeFilter(features), LatticeFilter(features, device="cuda")
    with pytest.raises(ValueError, match="filters lie on different devices, cpu and cuda"):
        DenseField(COSTS, [(here, 1.0), (there, 1.0)])
    with pytest.raises(ValueError, match="values lie on cpu, the filter on cuda"):
        filter_each(Tensor(COSTS.reshape(1, 3, 4, 3)), [there])


def test_the_command_refines_on_a_gpu(tmp_path, capsys):
    Image.fromarray(SMALL).save(tmp_path / "photo.png")
    np.save(tmp_path / "scores.npy", COSTS.reshape(3, 4, 3).astype(np.float32))
    command = ["--image", tmp_path / "photo.png", "--probabilities", tmp_path / "scores.npy", "--iterations", 1]
    for device in ("cpu", "cuda"):
        out = ["--out", tmp_path / f"{device}.npy", "--device", device, "--report"]
        assert crf_command([str(part) for part in (*command, *out)]) == 0
        assert "bilateral kernel: " in capsys.readouterr().out
    np.testing.assert_allclose(np.load(tmp_path / "cuda.npy"), np.load(tmp_path / "cpu.npy"), atol=1e-6)
