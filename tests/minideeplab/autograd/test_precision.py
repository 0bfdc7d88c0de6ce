"""The mode bf16: which tensors are rounded, what stays float32, and that networks learn in it as in float32."""

import numpy as np
import pytest
from strategies import SIMULATED, normal

import minideeplab
from kernels.bfloat16 import BFLOAT16, narrow, rounded, widen
from minideeplab import Tensor, gradcheck, models, no_grad, ops, precision
from minideeplab.autograd.function import topological
from minideeplab.autograd.gradcheck import check_adjoint, check_direction
from minideeplab.autograd.precision import precision_in_use
from minideeplab.cost import cost_of
from minideeplab.crf import CRFLayer
from minideeplab.nn import SGD, freeze_batch_norm, losses
from minideeplab.train import train_step

pytestmark = pytest.mark.skipif(SIMULATED, reason="the device cuda has no bfloat16")
SHAPE = (1, 6, 7, 8)


def halves(*shape, **options):
    return Tensor(narrow(normal(1, shape, dtype=np.float32)), **options)


def floats(*shape, seed=2, **options):
    return Tensor(normal(seed, shape, dtype=np.float32), **options)


# ---------------------------------------------------------------- the switch


def test_at_once_and_for_a_block():
    assert precision_in_use() == "float32"
    with precision("bf16"):
        assert precision_in_use() == "bf16"
        with precision("float32"):
            assert precision_in_use() == "float32"
        assert precision_in_use() == "bf16"
    before = minideeplab.precision("bf16")
    assert precision_in_use() == "bf16"
    with before:
        pass
    assert precision_in_use() == "float32"


def test_it_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), precision("bf16"):
        raise ZeroDivisionError
    assert precision_in_use() == "float32"


def test_an_unknown_precision_changes_nothing():
    with pytest.raises(ValueError, match="precision: there are float32 and bf16, got 'fp8'"):
        precision("fp8")
    assert precision_in_use() == "float32"


# ---------------------------------------------------------------- tensors


def test_a_tensor_of_bfloat16():
    x = halves(*SHAPE)
    assert repr(x) == "Tensor((1, 6, 7, 8), bfloat16, cpu)"
    assert x.numpy().dtype == np.float32
    np.testing.assert_array_equal(x.numpy(), widen(x.data))
    assert halves(1).item() == x.numpy().ravel()[0]
    assert x.sum().dtype == np.float32 and x.mean().dtype == np.float32
    assert x.mean().item() == pytest.approx(x.numpy().mean(dtype=np.float64), rel=1e-5)
    np.testing.assert_array_equal(x.argmax(), x.numpy().argmax(-1))


def test_arithmetic_rounds_its_result():
    x, y, bias = halves(*SHAPE), floats(*SHAPE), floats(8)
    for result, exact in (
        (x + x, 2 * x.numpy()),
        (x + y, x.numpy() + rounded(y.numpy())),
        (x * 3 - 1, rounded(rounded(3 * x.numpy()) - 1)),
        (x + bias, x.numpy() + bias.numpy()),
        (-x, -x.numpy()),
    ):
        assert result.dtype == BFLOAT16
        np.testing.assert_array_equal(result.numpy(), rounded(exact))


def test_gradients_have_the_dtype_of_what_they_belong_to():
    x, y, bias, gate = (
        t(*shape, requires_grad=True)
        for t, shape in ((halves, SHAPE), (floats, SHAPE), (floats, (8,)), (halves, (1, 1, 1, 8)))
    )
    ((x + y + bias) * gate).sum().backward()
    assert [t.grad.dtype for t in (x, y, bias, gate)] == [BFLOAT16, np.float32, np.float32, BFLOAT16]
    np.testing.assert_array_equal(widen(x.grad), np.broadcast_to(gate.numpy(), SHAPE))
    np.testing.assert_allclose(bias.grad, 42 * gate.numpy().ravel(), rtol=1e-6)
    total = (x.numpy() + rounded(y.numpy()) + bias.numpy()).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(widen(gate.grad).ravel(), total, rtol=0.02, atol=0.05)


def test_backward_takes_a_float32_gradient():
    x = halves(*SHAPE, requires_grad=True)
    (x * 2).backward(np.full(SHAPE, 0.3, np.float32))
    assert x.grad.dtype == BFLOAT16 and (widen(x.grad) == 2 * rounded(np.float32(0.3))).all()
    with pytest.raises(TypeError, match="backward: grad is float64, the tensor is bfloat16"):
        (x * 2).backward(np.ones(SHAPE))


# ---------------------------------------------------------------- ops


def weight(*shape):
    return floats(*shape, requires_grad=True)


CONVOLUTIONS = {  # x -> (weight, result)
    "dense": lambda x: (w := weight(3, 3, 8, 5), ops.conv2d(x, w)),
    "depthwise": lambda x: (w := weight(3, 3, 8), ops.depthwise_conv2d(x, w)),
    "transposed": lambda x: (w := weight(4, 4, 5, 8), ops.conv_transpose2d(x, w, 2)),
}
UNCHANGED = {  # ops that go on in the dtype that they get
    "relu": ops.relu,
    "max pool": lambda x: ops.max_pool2d(x, 3, 2, 1),
    "unpool": lambda x: ops.max_unpool2d(*ops.max_pool2d_with_indices(ops.crop(x, 0, 0, 6, 6), 2)),
    "average pool": lambda x: ops.average_pool2d(x, 2),
    "global pool": ops.global_average_pool,
    "adaptive max": lambda x: ops.adaptive_max_pool2d(x, 2, 2),
    "resize": lambda x: ops.resize_bilinear(x, 9, 11),
    "nearest": lambda x: ops.resize_nearest(x, 9, 11),
    "pad": lambda x: ops.pad(x, 1, 0, 2, 1, 0.5),
    "crop": lambda x: ops.crop(x, 1, 1, 3, 4),
    "concat": lambda x: ops.concat([x, floats(*SHAPE)]),
    "dropout": lambda x: ops.dropout(x, 0.5, 3),
    "batch norm": lambda x: ops.batch_norm(
        x, *(Tensor(np.full(8, v, np.float32)) for v in (1, 0)), np.zeros(8, np.float32), np.ones(8, np.float32),
        activation="relu", residual=floats(*SHAPE),
    ),
}  # fmt: skip
WIDENING = {
    "softmax": ops.softmax,
    "log-softmax": ops.log_softmax,
    "sum": ops.sum,
    "loss": lambda x: losses.cross_entropy(x, np.zeros(SHAPE[:3], np.uint8), class_weights=range(1, 9)),
}


@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_convolutions_round_their_input_in_the_mode(op):
    x, again = floats(*SHAPE, requires_grad=True), floats(*SHAPE, requires_grad=True)
    _, y = CONVOLUTIONS[op](x)
    with precision("bf16"):
        _, z = CONVOLUTIONS[op](again)
    assert y.dtype == np.float32 and z.dtype == BFLOAT16
    typical = np.sqrt((y.numpy() ** 2).mean())
    assert 0 < np.abs(z.numpy() - y.numpy()).max() < 0.03 * typical
    grad = normal(3, y.shape, dtype=np.float32)
    y.backward(grad)
    z.backward(grad)
    assert again.grad.dtype == np.float32
    assert 0 < np.abs(again.grad - x.grad).max() < 0.03 * np.sqrt((x.grad**2).mean())


@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_gradients_of_weights_are_float32_and_not_rounded(op):
    with precision("bf16"):
        w, y = CONVOLUTIONS[op](halves(*SHAPE))
        y.sum().backward()
    assert w.grad.dtype == np.float32 and (w.grad != rounded(w.grad)).any()


@pytest.mark.parametrize("op", UNCHANGED)
@pytest.mark.parametrize("mode", ["float32", "bf16"])
def test_other_ops_go_on_as_they_began(op, mode):
    x, y = halves(*SHAPE, requires_grad=True), floats(*SHAPE, requires_grad=True)
    with precision(mode):
        assert UNCHANGED[op](y).dtype == np.float32
        result = UNCHANGED[op](x)
        result.sum().backward()
    assert result.dtype == BFLOAT16 and x.grad.dtype == BFLOAT16
    wide = Tensor(x.numpy(), requires_grad=True)
    expected = UNCHANGED[op](wide)
    typical = np.sqrt((expected.numpy() ** 2).mean())
    assert np.abs(result.numpy() - expected.numpy()).max() <= 0.02 * typical
    expected.sum().backward()
    assert np.abs(widen(x.grad) - wide.grad).max() <= 0.02 * np.abs(wide.grad).max() + 1e-3


@pytest.mark.parametrize("op", WIDENING)
def test_what_needs_float32_widens(op):
    x = halves(*SHAPE, requires_grad=True)
    y = WIDENING[op](x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), WIDENING[op](Tensor(x.numpy())).numpy())
    y.sum().backward()
    assert x.grad.dtype == BFLOAT16


def test_float64_is_left_alone():
    x, w = Tensor(normal(1, SHAPE)), Tensor(normal(2, (3, 3, 8, 5)))
    with precision("bf16"):
        y = ops.conv2d(x, w)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y.numpy(), ops.conv2d(x, w).numpy())


def test_derivatives_are_not_checked_in_the_mode():
    model = models.build("deeplabv3plus", backbone="resnet18", num_classes=2, width=0.0625)
    with precision("bf16"):
        for call in (
            lambda: gradcheck(ops.relu, normal(1, (2, 3))),
            lambda: check_adjoint(ops.relu, normal(1, (2, 3))),
            lambda: check_direction(None, model),
        ):
            with pytest.raises(RuntimeError, match=r"checked in float64; call it outside of precision\('bf16'\)"):
                call()


# ---------------------------------------------------------------- networks

NETWORKS = (
    "deeplabv1-largefov-msc", "deeplabv2-aspp-l", "deeplabv2-resnet101", "deeplabv3", "deeplabv3-cascade",
    "deeplabv3plus", "deeplabv3plus xception65", "pspnet", "fcn-8s", "segnet", "unet",
    "deeplabv3plus mobilenet_v2", "torchvision-deeplabv3_resnet50", "torchvision-lraspp_mobilenet_v3_large", "drn-a-18",
    "drn-c-26", "densenet121", "mobilenet_v3_large", "spp-net",
)  # fmt: skip
IMAGES = normal(1, (2, 33, 33, 3), dtype=np.float32)
LABELS = np.random.default_rng(0).integers(0, 3, (2, 33, 33), np.uint8)


def build(name):
    """A network with few channels."""
    name, _, backbone = name.partition(" ")
    known, options = models.options_of(name), {"num_classes": 3, "width": 1 / 32}
    options |= {"backbone": backbone} if backbone else {}
    options |= {"head_width": 8} if "head_width" in known else {}
    options |= {"dense": True} if "dense" in known else {}
    return models.build(name, **options)


def dtypes_kept(loss):
    """The dtypes of the feature maps that a graph keeps for backward."""
    arrays = [a for function in topological(loss.node) for a in function.saved if isinstance(a, np.ndarray)]
    return {a.dtype for a in arrays if a.ndim == 4 and a.shape[0] == len(IMAGES) and a.dtype != np.int32}


def step(model, mode):
    """(loss, gradients, dtypes kept) of one step, and the logits in inference."""
    with precision(mode):
        loss = model.loss(Tensor(IMAGES), LABELS)
        kept = dtypes_kept(loss)
        loss.backward()
        with model.evaluating(), no_grad():
            logits = model(Tensor(IMAGES))
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), grads, kept, logits


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_every_family(name):
    """The loss, which is near ln 3, is near that in float32; what is kept for backward is bfloat16."""
    losses_found = []
    for mode in ("float32", "bf16"):
        model = build(name).train()
        loss, grads, kept, logits = step(model, mode)
        losses_found.append(loss)
        assert logits.dtype == np.float32 and np.isfinite(logits.numpy()).all()
        assert all(g.dtype == np.float32 and np.isfinite(g).all() for g in grads.values())
        assert all(t.dtype == np.float32 for t in (*model.parameters(), *(b for _, b in model.named_buffers())))
        assert (BFLOAT16 in kept) == (mode == "bf16")
    assert losses_found[1] == pytest.approx(losses_found[0], rel=0.02)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_every_family(name):
    """Those of bf16 are near those of float32, where batch norm does not make much of little: with given statistics."""
    found = []
    for mode in ("float32", "bf16"):
        model = build(name).train()
        freeze_batch_norm(model)
        model.reseed(3)
        found.append(step(model, mode)[1])
    exact, halved = (np.concatenate([g.ravel() for g in grads.values()]).astype(np.float64) for grads in found)
    assert found[0].keys() == found[1].keys()
    assert np.linalg.norm(halved - exact) < 0.1 * np.linalg.norm(exact)


@pytest.mark.parametrize("mode", ["float32", "bf16"])
def test_what_is_computed_again_is_computed_as_before(mode):
    """Also where backward runs after the block; each map of this network has two readers at most, so sums agree."""
    found = []
    for again in (False, True):
        model = build("deeplabv3 resnet18").train()
        model.reseed(3)
        if again:
            model.checkpoint_activations()
        with precision(mode):
            loss = model.loss(Tensor(IMAGES), LABELS)
        loss.backward()
        found.append([loss.item(), *(p.grad for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_both_precisions_learn_alike():
    """Three classes by colour: after some steps the losses of both have fallen, and lie together."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.repeat(generator.integers(0, 3, (4, 5, 5)), 7, 1), 7, 2)[:, :33, :33].astype(np.uint8)
    pictures = (np.eye(3, dtype=np.float32)[labels] + 0.3 * normal(1, (4, 33, 33, 3), dtype=np.float32)) * 2 - 1
    ends = []
    for mode in ("float32", "bf16"):
        with precision(mode):
            model = models.build("deeplabv3plus", num_classes=3, width=1 / 8, head_width=16).train()
            optimiser = SGD(model, 0.1)
            found = [train_step(model, optimiser, pictures, labels).item() for _ in range(25)]
        ends.append(found[-1])
        assert found[-1] < 0.6 * found[0]
    assert ends[1] == pytest.approx(ends[0], rel=0.35)


def test_costs_are_counted_in_the_mode():
    model = models.create("deeplabv3plus", num_classes=3, backbone="xception65")
    plain = cost_of(model, 65)
    with precision("bf16"):
        half = cost_of(model, 65)
    for one, other in zip(plain.layers, half.layers, strict=True):
        assert (one.name, one.kind, one.output, one.macs, one.parameters) == (
            other.name, other.kind, other.output, other.macs, other.parameters
        )  # fmt: skip
        assert one.receptive_field == other.receptive_field and one.output_stride == other.output_stride
        assert other.activation_bytes * (1 if one is plain.layers[-1] else 2) == one.activation_bytes


def test_a_crf_goes_on_in_float32():
    logits, images = normal(3, (1, 9, 8, 3), dtype=np.float32), np.full((1, 9, 8, 3), 100, np.uint8)
    expected = CRFLayer(3)(Tensor(logits), images)
    with precision("bf16"):
        found = CRFLayer(3)(Tensor(logits), images)
        of_bfloat16 = CRFLayer(3)(ops.to_bfloat16(Tensor(rounded(logits))), images)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    np.testing.assert_array_equal(of_bfloat16.numpy(), CRFLayer(3)(Tensor(rounded(logits)), images).numpy())


def test_parameters_are_never_bfloat16():
    with pytest.raises(TypeError, match="astype: parameters are float32 or float64, got bfloat16; for bfloat16 maps"):
        models.build("fcn-32s", num_classes=3, width=0.125).astype(BFLOAT16)


def test_what_is_made_again_is_what_was_made():
    """A batch norm whose gamma changes between forward and backward: its reader's gradient is that of before."""
    x, w = normal(0, (2, 6, 5, 4), (1, 1, 4, 3), dtype=np.float32)
    running = normal(2, (4,), (4,), dtype=np.float32)

    def gradient(change):
        gamma, beta = (Tensor(a, requires_grad=True) for a in (np.ones(4, np.float32), np.zeros(4, np.float32)))
        weight = Tensor(w, requires_grad=True)
        y = ops.batch_norm(Tensor(x, requires_grad=True), gamma, beta, *(a.copy() for a in running), activation="relu")
        loss = ops.conv2d(y, weight).sum()
        gamma.data *= change
        loss.backward()
        return weight.grad

    np.testing.assert_array_equal(gradient(np.float32(3)), gradient(np.float32(1)))
