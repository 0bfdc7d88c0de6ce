"""Models: parameter counts of the papers, sizes, derivatives, determinism, and atrous against strided."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

from minideeplab import Tensor, models, no_grad
from minideeplab.autograd.function import Function
from minideeplab.autograd.gradcheck import check_direction
from minideeplab.models import BACKBONES
from minideeplab.models.aspp import rates_at
from minideeplab.models.backbones import backbone
from minideeplab.models.classifier import BackboneClassifier
from minideeplab.models.deeplabv3plus import DeepLabV3Plus
from minideeplab.nn import Conv2d, DepthwiseConv2d
from minideeplab.nn.losses import cross_entropy
from minideeplab.nn.optim import SGD


def images(n, h, w, dtype=np.float32, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal((n, h, w, 3)).astype(dtype))


def tiny(name, **options):
    """A DeepLab v3+ with a few channels: every layer, little work."""
    width = 1 / 16 if name.startswith("resnet") else 1 / 32
    return models.build(
        "deeplabv3plus", **{"backbone": name, "width": width, "head_width": 8, "num_classes": 5, **options}
    )


# ---------------------------------------------------------------- parameters


def parameters(model):
    return sum(p.data.size for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("xception41", 26_969_560),
        ("xception65", 39_916_312),
        ("xception71", 42_338_736),
    ],
)
def test_parameters_of_the_classifiers(name, expected):
    assert parameters(BackboneClassifier(name)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 41_055_413),
        ({"output_stride": 8}, 41_055_413),
        ({"separable": True, "decoder": True}, 41_055_413),
        ({"separable": False, "decoder": False}, 53_407_813),
        ({"separable": False}, 54_711_461),
    ],
)
def test_parameters_of_deeplabv3plus_with_xception65(options, expected):
    assert parameters(DeepLabV3Plus("xception65", num_classes=21, **options)) == expected


# ---------------------------------------------------------------- building


def test_the_config_rebuilds_the_model():
    model = tiny("resnet18", output_stride=8, decoder=False, seed=3)
    again = models.build(**json.loads(json.dumps(model.config)))
    assert again.config == model.config
    state, other = model.state_dict(), again.state_dict()
    assert list(state) == list(other)
    for name in state:
        np.testing.assert_array_equal(state[name], other[name])


def test_first_values_of_a_part_do_not_depend_on_the_rest():
    with_decoder, without = tiny("resnet18").state_dict(), tiny("resnet18", decoder=False).state_dict()
    assert set(without) < set(with_decoder)
    for name, array in without.items():
        np.testing.assert_array_equal(array, with_decoder[name])


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "xception65"])
def test_inference_equals_the_recorded_forward_pass(name):
    """Batch norm, shortcuts and ReLU are folded into convolutions where nothing is recorded: the same numbers."""
    model = backbone(name, output_stride=16, width=1 / 16).initialise(0).astype(np.float64)
    x = Tensor(images(2, 49, 33).data.astype(np.float64))
    model.train()
    model(x)  # running statistics that are not those of the start
    recorded = [y.numpy() for y in model.eval()(x)]
    with no_grad():
        folded = [y.numpy() for y in model(x)]
    for a, b in zip(recorded, folded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * abs(a).max())


def test_every_backbone_is_a_classifier_by_name():
    for name in BACKBONES:
        model = models.build(name, num_classes=7, width=1 / 32).eval()
        with no_grad():
            assert model(images(2, 33, 40)).shape == (2, 1, 1, 7)


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"unknown model 'deeplabv3\+'; did you mean deeplabv3 or"):
        models.build("deeplabv3+")
    with pytest.raises(ValueError, match="unknown model 'qqq'; there are deeplabv3plus, deeplabv3, "):
        models.build("qqq")


@pytest.mark.parametrize("name", ["resnet18", "xception65"])
def test_wrong_options(name):
    with pytest.raises(ValueError, match=f"{name}: output_stride must be 8, 16 or 32, got 12"):
        tiny(name, output_stride=12)
    with pytest.raises(ValueError, match=f"{name}: multi_grid needs . factors"):
        tiny(name, multi_grid=(1, 2, 4, 8))


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(("output_stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))])
def test_rates_follow_the_output_stride(output_stride, rates):
    assert rates_at(output_stride) == rates
    for separable in (False, True):
        branches = tiny("resnet18", output_stride=output_stride, separable=separable).aspp.branches
        convs = [b.depthwise if separable else b.conv for b in branches[1:]]
        assert tuple(conv.rate for conv in convs) == rates


def test_other_rates_are_given_at_output_stride_16():
    branches = tiny("resnet18", output_stride=8, atrous_rates=(2, 5)).aspp.branches
    assert [branch.conv.rate for branch in branches[1:]] == [4, 10]
    with pytest.raises(ValueError, match=r"atrous_rates \(6, 9\) at output stride 16 are not whole at 32"):
        tiny("resnet18", output_stride=32, atrous_rates=(6, 9))
    with pytest.raises(ValueError, match="atrous_rates must be whole numbers from 1 to 65536, got"):
        tiny("resnet18", output_stride=32, atrous_rates=(0, 6))
    with pytest.raises(ValueError, match="atrous_rates must be whole numbers, 1 or more, got"):
        rates_at(32, (0, 6))


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus"])
def test_a_head_without_atrous_branches(name, output_stride):
    """Only 1x1 and image-level pooling are joined."""
    options = {"backbone": "resnet18", "width": 1 / 16, "head_width": 8, "num_classes": 5}
    model = models.build(name, atrous_rates=(), output_stride=output_stride, **options)
    assert model.rates == () and len(model.aspp.branches) == 1
    assert model.aspp.project.conv.weight.shape == (1, 1, 2 * 8, 8)
    model.loss(images(2, 33, 33), np.ones((2, 33, 33), np.uint8)).backward()
    assert all(np.isfinite(p.grad).all() and p.grad.any() for p in model.aspp.parameters())
    again = models.build(**json.loads(json.dumps(model.config)))
    assert again.rates == () and again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("size", [(33, 33), (40, 37), (65, 65), (64, 48)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"output_stride": 8}),
        ("resnet50", {"separable": True}),
        ("xception41", {"output_stride": 32, "decoder": False}),
        ("xception71", {"separable": False, "extra_relu": False}),
    ],
)
def test_logits_have_the_size_of_the_image(name, options, size):
    with no_grad():
        logits = tiny(name, **options).eval()(images(1, *size))
    assert logits.shape == (1, *size, 5)
    assert np.isfinite(logits.numpy()).all()


@pytest.mark.parametrize("size", [(32, 65), (65, 32), (1, 1)])
def test_images_below_33_are_refused(size):
    with pytest.raises(ValueError, match=rf"at least 33x33, got {size[0]}x{size[1]}"):
        tiny("resnet18")(images(1, *size))


def test_padding_at_the_bottom_and_right_is_what_the_model_does_itself():
    model, x = tiny("resnet18").eval(), images(1, 40, 37)
    padded = Tensor(np.pad(x.data, ((0, 0), (0, 9), (0, 12), (0, 0))))  # 49 = 3 * 16 + 1
    with no_grad():
        np.testing.assert_array_equal(model(x).numpy(), model(padded).numpy()[:, :40, :37])


# ---------------------------------------------------------------- derivatives and training


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("resnet18", {"output_stride": 8, "decoder": False}),
        ("resnet50", {"separable": True, "output_stride": 32}),
        ("xception41", {"output_stride": 8}),
        ("xception71", {"separable": False, "extra_relu": False}),
    ],
)
def test_the_gradient_of_a_whole_model(name, options):
    model = tiny(name, **options).astype(np.float64)
    rng = np.random.default_rng(1)
    for p in model.parameters():  # behind a ReLU that lets nothing pass batch norm gives its beta: no kink there
        p.data = p.data + 0.02 * rng.standard_normal(p.shape)
    x = images(2, 33, 40, np.float64)
    labels = rng.integers(0, 5, (2, 33, 40))
    labels[0, :5] = 255

    def loss():
        return model.reseed(0).loss(x, labels)

    check_direction(loss, model, step=1e-7)  # a step ten times as long meets a kink


@pytest.mark.parametrize("shape", [(2, 20, 20), (2, 49, 64), (2, 60, 49), (1, 49, 49)])
def test_the_loss_refuses_labels_of_another_size(shape):
    with pytest.raises(ValueError, match=r"loss: labels must have shape \(2, 49, 49\), got"):
        tiny("resnet18").loss(images(2, 49, 49), np.zeros(shape, np.uint8))


def test_an_image_without_a_batch_axis_is_refused():
    with pytest.raises(ValueError, match=r"images must be \(N, H, W, 3\), got shape \(49, 49, 3\)"):
        tiny("resnet18")(Tensor(np.zeros((49, 49, 3), np.float32)))


@pytest.mark.parametrize("side", [49, 55])  # 55: padded to 65
def test_the_loss_of_a_model_is_that_of_its_logits(side):
    model, weights = tiny("resnet18").astype(np.float64), np.linspace(0.5, 2, 5)
    x = images(2, side, 40, np.float64)  # 40: padded to 49
    labels = np.random.default_rng(1).integers(0, 5, (2, side, 40))
    labels[0, :5] = 255
    gradients = []
    for loss in (model.reseed(0).loss(x, labels, weights), cross_entropy(model.reseed(0)(x), labels, 255, weights)):
        for p in model.parameters():
            p.grad = None
        loss.backward()
        gradients.append((loss.item(), [p.grad for p in model.parameters()]))
    (fused, fused_grads), (apart, apart_grads) = gradients
    assert fused == pytest.approx(apart, rel=1e-12)
    for a, b in zip(fused_grads, apart_grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * abs(b).max() + 1e-15)


@pytest.mark.parametrize("name", ["resnet18", "xception41"])
def test_a_batch_of_one_image_trains_without_nan(name):
    """Image-level pooling has one value a channel there, which has no variance."""
    model = tiny(name)
    loss = model.loss(images(1, 33, 33), np.zeros((1, 33, 33), np.uint8))
    loss.backward()
    assert np.isfinite(loss.item())
    for parameter_name, p in model.named_parameters():
        assert p.grad is not None, parameter_name
        assert np.isfinite(p.grad).all(), parameter_name
    assert all(np.isfinite(array).all() for array in model.state_dict().values())


THREADS = """
import hashlib, numpy as np, kernels
from minideeplab import Tensor, models
from minideeplab.nn.optim import SGD
x = np.random.default_rng(0).standard_normal((2, 65, 65, 3)).astype(np.float32)
labels = np.random.default_rng(1).integers(0, 5, (2, 65, 65))
for threads in (1, 2, 4):
    kernels.set_num_threads(threads)
    model = models.build("deeplabv3plus", backbone="resnet18", width=1 / 4, head_width=24, num_classes=5)
    loss = model.loss(Tensor(x), labels)
    loss.backward()
    SGD(model, lr=0.1).step()
    state = b"".join(a.tobytes() for a in model.state_dict().values())
    print(threads, loss.item().hex(), hashlib.sha256(state).hexdigest())
"""


def run_python(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_training_step_has_the_same_bits_on_any_number_of_threads():
    lines = [line.split() for line in run_python(THREADS, NUMBA_NUM_THREADS="4")]
    assert [line[0] for line in lines] == ["1", "2", "4"]
    assert lines[0][1:] == lines[1][1:] == lines[2][1:]


@pytest.mark.parametrize("name", ["resnet18", "xception41"])
def test_checkpointed_activations_change_nothing_and_are_not_kept(name):
    """Two steps in float64: loss, gradients, running statistics and weights; only the order of some sums differs."""
    results, kept = [], []
    for checkpointed in (False, True):
        model = tiny(name).astype(np.float64)
        if checkpointed:
            model.checkpoint_activations()
        optimiser = SGD(model, 0.01)
        for _ in range(2):
            optimiser.zero_grad()
            loss = model(Tensor(images(2, 65, 65).data.astype(np.float64))).mean()
            kept.append(_arrays_kept(loss))
            loss.backward()
            optimiser.step()
        results.append({"loss": loss.data, **model.state_dict()} | {n: p.grad for n, p in model.named_parameters()})
    for key, value in results[0].items():
        np.testing.assert_allclose(value, results[1][key], rtol=1e-9, atol=1e-12, err_msg=key)
    assert kept[2] < 0.8 * kept[0]


def _arrays_kept(tensor):
    """Bytes of the arrays that a graph keeps for its backward pass."""
    seen, stack, arrays = set(), [tensor.node], {}
    while stack:
        function = stack.pop()
        if isinstance(function, Function) and function not in seen:
            seen.add(function)
            stack += function.parents
            arrays |= {id(a): a.nbytes for a in function.saved if isinstance(a, np.ndarray)}
    return sum(arrays.values())


def test_import_needs_neither_torch_nor_cuda():
    lines = run_python("import minideeplab, sys; print(*sys.modules, sep='\\n')")
    assert "minideeplab" in lines
    assert [name for name in lines if name.split(".")[0] == "torch" or name.startswith("numba.cuda")] == []


# ---------------------------------------------------------------- atrous and strided


def first_convs_keep_the_rate_before(resnet):
    """Make the stages dense versions of strided ones.

    A stage's first 3x3 reads the stage before, whose pixels have not moved apart yet: it keeps the rate from there.
    """
    rate = 1
    for stage in resnet.stages:
        first = stage.layers[0]
        conv = first.conv1.conv if first.expansion == 1 else first.conv2.conv
        conv.rate, rate = rate, stage.layers[-1].conv2.conv.rate


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "xception41", "xception71"])
@pytest.mark.parametrize("size", [(65, 65), (50, 71)])
def test_the_atrous_network_is_the_dense_version_of_the_strided_one(name, size):
    """Same weights: every k-th pixel of the atrous features is a pixel of the strided features, borders included.

    Symmetric zero padding makes position p of the strided network position 2p of the dense one, whatever the size, and
    a tap that leaves the coarse image leaves the fine one too.
    """
    multi_grid = (1,) * (3 if name != "resnet18" else 2)
    x = images(1, *size, np.float64)
    features = {}
    for output_stride in (8, 16, 32):
        model = backbone(name, output_stride=output_stride, multi_grid=multi_grid, width=1 / 16).initialise(0)
        if name.startswith("resnet"):
            first_convs_keep_the_rate_before(model)
        with no_grad():
            features[output_stride] = model.eval().astype(np.float64)(x)[0].numpy()
    strided = features[32]
    assert strided.std() > 1e-3
    for output_stride, step in ((16, 2), (8, 4)):
        dense = features[output_stride]
        assert dense.shape != strided.shape
        np.testing.assert_allclose(dense[:, ::step, ::step], strided, rtol=1e-9, atol=1e-12)


def rates(module):
    return [
        m.rate for _, m in module.named_modules() if isinstance(m, (Conv2d, DepthwiseConv2d)) and m.weight.shape[0] == 3
    ]


def test_multi_grid_multiplies_the_rates_of_the_last_stage():
    resnet = backbone("resnet50", output_stride=16, width=1 / 32)
    assert [rates(unit) for unit in resnet.stages[3].layers] == [[2], [4], [8]]
    assert [rates(unit) for unit in backbone("resnet50", output_stride=8).stages[3].layers] == [[4], [8], [16]]
    assert [rates(unit) for unit in backbone("resnet50", output_stride=32).stages[3].layers] == [[1], [1], [1]]
    xception = backbone("xception65", output_stride=16, multi_grid=(1, 2, 4), width=1 / 32)
    assert rates(xception.exit1) == [1, 1, 1]
    assert rates(xception.exit2) == [2, 4, 8]
    assert rates(backbone("xception65", output_stride=16).exit2) == [2, 2, 2]


@pytest.mark.parametrize("name", ["xception41", "xception65", "xception71"])
def test_low_level_features_are_of_the_block_that_leaves_stride_4(name):
    """Its second separable convolution ends stride 4 (block 3 of Xception-71 in the released code)."""
    model = backbone(name, output_stride=32)
    strides = [block.convs[2].depthwise.stride for block in model.entry]
    stride_before = np.cumprod([2, *strides[:-1]])
    leaving = [i for i, s in enumerate(strides) if stride_before[i] == 4 and s == 2]
    assert [model.low_level_block] == leaving


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"width": -1.0},
        {"width": "1"},
        {"num_classes": 0},
        {"num_classes": 2.5},
        {"num_classes": True},
        {"head_width": 0},
        {"head_width": "5"},
    ],
)
def test_options_that_no_network_can_have_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"deeplabv3plus: {name} must be a (whole number, 1 or more|number above 0)"):
        models.build("deeplabv3plus", **options)
