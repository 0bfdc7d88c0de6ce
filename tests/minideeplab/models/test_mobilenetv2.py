"""MobileNetV2: channels, rates, the block against its formula, low-level features, padding, derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_cases import normal

from minideeplab import Tensor, models, no_grad
from minideeplab.autograd.gradcheck import check_direction
from minideeplab.models.backbones.base import multiple_of_8
from minideeplab.models.backbones.mobilenetv2 import InvertedResidual, MobileNetV2
from minideeplab.nn import BatchNorm2d, DepthwiseConv2d
from minideeplab.nn.optim import SGD

SIZE = (2, 41, 50, 3)


def drawn(module):
    """In float64, with batch norms whose channels all differ."""
    module.initialise(0).astype(np.float64)
    rng = np.random.default_rng(3)
    for _, layer in module.named_modules():
        if isinstance(layer, BatchNorm2d):
            for array, low, high in (
                (layer.gamma, 0.5, 1.5), (layer.beta, -0.5, 1), (layer.running_mean, -1, 1), (layer.running_var, 0.5, 2)
            ):  # fmt: skip
                array.data = rng.uniform(low, high, array.shape)
    return module


def features(*models, x=None):
    """(features, low-level features) of each in evaluation mode."""
    x = Tensor(normal(*SIZE) if x is None else x)
    with no_grad():
        return [tuple(y.numpy() for y in model.eval()(x)) for model in models]


# -------------------------------------------------------------------- its shape


@given(st.floats(0.01, 100))
def test_channels_are_rounded_to_multiples_of_8(channels):
    """To the nearest, but never to less than 0.9 of what is asked; then at most one further."""
    found = multiple_of_8(channels)
    assert found % 8 == 0 and found >= max(8, 0.9 * channels)
    assert abs(found - channels) <= 4 or (found == 8 and channels < 4) or found - 8 < 0.9 * channels < found


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1.0, [32, 16, 24, 32, 64, 96, 160, 320, 1280]),
        (0.35, [16, 8, 8, 16, 24, 32, 56, 112, 1280]),
        (1.4, [48, 24, 32, 48, 88, 136, 224, 448, 1792]),
    ],
)
def test_channels_of_the_table(width, expected):
    net = models.create("mobilenet_v2", width=width)
    ends = [stage.layers[-1].separable.pointwise.weight.shape[3] for stage in net.backbone.stages]
    assert [net.backbone.stem.conv.weight.shape[3], *ends, net.head.weight.shape[2]] == expected
    assert [len(stage.layers) for stage in net.backbone.stages] == [1, 2, 3, 4, 3, 3, 1]


@pytest.mark.parametrize(
    ("output_stride", "strides", "rates"),
    [
        (32, [1, 2, 2, 2, 1, 2, 1], [1] * 17),
        (16, [1, 2, 2, 2, 1, 1, 1], [1] * 14 + [2] * 3),
        (8, [1, 2, 2, 1, 1, 1, 1], [1] * 7 + [2] * 7 + [4] * 3),
    ],
)
def test_a_block_that_gives_up_its_stride_keeps_the_rate_before(output_stride, strides, rates):
    net = MobileNetV2("mobilenet_v2", output_stride, width=1 / 32)
    blocks = [[block.separable.depthwise for block in stage.layers] for stage in net.stages]
    assert [stage[0].stride for stage in blocks] == strides
    assert all(conv.stride == 1 for stage in blocks for conv in stage[1:])
    assert [conv.rate for stage in blocks for conv in stage] == rates


@pytest.mark.parametrize("size", [(65, 65), (50, 71)])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_the_atrous_network_is_the_dense_version_of_the_strided_one(output_stride, size):
    """Same weights: every k-th pixel of its features is a pixel of the strided ones, borders included."""
    strided, dense = (drawn(MobileNetV2("mobilenet_v2", stride, width=1 / 4)) for stride in (32, output_stride))
    (coarse, _), (fine, _) = features(strided, dense, x=normal(1, *size, 3))
    step = 32 // output_stride
    assert coarse.std() > 1e-3 and fine.shape[1] == -(-size[0] // output_stride)
    np.testing.assert_allclose(fine[:, ::step, ::step], coarse, rtol=1e-9, atol=1e-9 * abs(coarse).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low_level": "block2"}, "mobilenet_v2: low_level must be depthwise or block, got 'block2'"),
        ({"pad_before": "stem"}, "mobilenet_v2: pad_before must be depthwise or expansion, got 'stem'"),
        (
            {"multi_grid": (1, 2, 4)},
            "mobilenet_v2 has no option multi_grid; it has output_stride, width, low_level, pa",
        ),
    ],
)
def test_options_that_it_does_not_have(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("deeplabv3plus", backbone="mobilenet_v2", **options)


# -------------------------------------------------------------------- the block


@pytest.mark.parametrize("pad_before", ["depthwise", "expansion"])
@pytest.mark.parametrize(
    ("c_in", "c_out", "expansion", "stride", "rate"),
    [(4, 4, 6, 1, 1), (4, 5, 6, 2, 1), (4, 4, 3, 1, 2), (4, 6, 1, 1, 1)],
)
def test_a_block_is_its_formula(c_in, c_out, expansion, stride, rate, pad_before):
    """In NumPy, tap by tap, with running statistics."""
    block = drawn(InvertedResidual(c_in, c_out, expansion, stride, rate, pad_before)).eval()
    x = 3 * normal(2, 7, 9, c_in)

    def norm(layer, y):
        sd = np.sqrt(layer.running_var.data + layer.eps)
        return (y - layer.running_mean.data) / sd * layer.gamma.data + layer.beta.data

    def padded(y):
        return np.pad(y, ((0, 0), (rate, rate), (rate, rate), (0, 0)))

    def relu6(y):
        return np.clip(y, 0, 6)

    y = padded(x) if pad_before == "expansion" else x
    if expansion > 1:
        y = relu6(norm(block.expand.norm, y @ block.expand.conv.weight.data[0, 0]))
    y = padded(y) if pad_before == "depthwise" else y
    part, taps = block.separable, block.separable.depthwise.weight.data
    h, w = ((side - 1) // stride + 1 for side in (7, 9))
    inner = 0
    for i, j in np.ndindex(3, 3):
        rows, columns = slice(i * rate, i * rate + h * stride, stride), slice(j * rate, j * rate + w * stride, stride)
        inner = inner + y[:, rows, columns][:, :h, :w] * taps[i, j]
    inner = relu6(norm(part.depthwise_norm, inner))
    expected = norm(part.pointwise_norm, inner @ part.pointwise.weight.data[0, 0])
    expected = expected + x if stride == 1 and c_in == c_out else expected
    assert (inner == 0).any() and (inner == 6).any() and (expected < 0).any()  # both ends of relu6; a linear end
    recorded = block(Tensor(x)).numpy()
    with no_grad():
        folded, (output, shown) = block(Tensor(x)).numpy(), block.forward_with_inner(Tensor(x))
    for found in (recorded, folded, output.numpy()):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * abs(expected).max())
    np.testing.assert_allclose(shown.numpy(), inner, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"low_level": "block"}, {"pad_before": "expansion"}])
def test_inference_equals_the_recorded_forward_pass(options):
    """Both outputs, with running statistics that are not those of the start."""
    model = MobileNetV2("mobilenet_v2", 16, width=1 / 4, **options).initialise(0).astype(np.float64)
    x = Tensor(normal(*SIZE))
    model.train()(x)
    recorded = [y.numpy() for y in model.eval()(x)]
    (folded,) = features(model)
    for a, b in zip(recorded, folded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * abs(a).max())


# -------------------------------------------------------------------- its options


def test_low_level_features_of_the_released_code_and_of_others():
    """The features are the same; wide ones lie in the range of relu6, and make the thin ones by the last 1x1."""
    wide, thin = (drawn(MobileNetV2("mobilenet_v2", 16, low_level=each)) for each in ("depthwise", "block"))
    (last, inside), (other, outside) = features(wide, thin)
    np.testing.assert_allclose(last, other, rtol=0, atol=1e-11 * abs(last).max())
    assert inside.shape[3] == wide.low_level_channels == 144 and outside.shape[3] == thin.low_level_channels == 24
    assert inside.min() == 0 and inside.max() == 6 and outside.min() < 0
    end = thin.stages[1].layers[-1].separable
    with no_grad():
        first = thin.stages[1].layers[0](thin.stages[0](thin.stem(Tensor(normal(*SIZE)))))
        joined = end.pointwise_norm(end.pointwise(Tensor(inside)), first).numpy()
    np.testing.assert_allclose(joined, outside, rtol=0, atol=1e-11 * abs(outside).max())


def test_where_zeros_are_padded():
    """Away from the border it is all the same, and everywhere if the first 1x1 makes zeros of zeros."""
    usual, other = (drawn(MobileNetV2("mobilenet_v2", 8, 0.25, pad_before=e)) for e in ("depthwise", "expansion"))
    stem = other.stem.conv
    assert stem(Tensor(np.zeros((1, 513, 513, 3)))).shape[1:3] == (256, 256)  # as VainF's, which has no border there
    stem.padding = "same"
    (_, low), (_, low_other) = features(usual, other)
    np.testing.assert_allclose(low[:, 3:-3, 3:-3], low_other[:, 3:-3, 3:-3], rtol=0, atol=1e-11)
    assert abs(low - low_other)[:, 0].max() > 1e-2
    for net in (usual, other):
        for _, block in net.named_modules():
            if isinstance(block, InvertedResidual) and block.expand:
                norm = block.expand.norm
                norm.beta.data, norm.running_mean.data = 0 * norm.beta.data, 0 * norm.beta.data
    for a, b in zip(*features(usual, other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * abs(a).max())


# -------------------------------------------------------------------- in DeepLab

OPTIONS = {"backbone": "mobilenet_v2", "num_classes": 5, "width": 1 / 8, "head_width": 8}
FORMS = [
    ("deeplabv3plus", {}),
    ("deeplabv3plus", {"low_level": "block", "output_stride": 8, "pad_before": "expansion", "separable": False}),
    ("deeplabv3plus", {"decoder": False, "atrous_rates": ()}),
    ("deeplabv3", {"atrous_rates": (), "output_stride": 8}),
]


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_the_gradient_of_a_whole_network(name, options):
    model = models.build(name, **OPTIONS, **options).astype(np.float64)
    rng = np.random.default_rng(1)
    for p in model.parameters():
        p.data = p.data + 0.02 * rng.standard_normal(p.shape)
    x, labels = Tensor(normal(2, 33, 40, 3)), rng.integers(0, 5, (2, 33, 40))
    labels[0, :5] = 255
    check_direction(lambda: model.reseed(0).loss(x, labels), model, step=1e-7)


@pytest.mark.parametrize(("name", "options"), FORMS)
def test_a_step_lowers_the_loss_by_the_square_of_the_gradient(name, options):
    model, x = models.build(name, **OPTIONS, **options).astype(np.float64), Tensor(normal(2, 49, 49, 3))
    labels = np.random.default_rng(1).integers(0, 5, (2, 49, 49))
    before = model.reseed(0).loss(x, labels)
    before.backward()
    assert all(p.grad is not None and np.isfinite(p.grad).all() for p in model.parameters())
    slope = sum((p.grad**2).sum() for p in model.parameters())
    SGD(model, lr=1e-8, weight_decay=0).step()
    np.testing.assert_allclose(before.item() - model.reseed(0).loss(x, labels).item(), 1e-8 * slope, rtol=0.1)


def test_checkpointed_activations_change_nothing():
    """Loss, gradients and running statistics, with the low-level features inside a block."""
    results = []
    for checkpointed in (False, True):
        model = models.build("deeplabv3plus", **OPTIONS).astype(np.float64)
        if checkpointed:
            model.checkpoint_activations()
        loss = model.reseed(0).loss(Tensor(normal(2, 65, 65, 3)), np.ones((2, 65, 65), np.uint8))
        loss.backward()
        results.append({"loss": loss.data, **model.state_dict()} | {n: p.grad for n, p in model.named_parameters()})
    for key, value in results[0].items():
        np.testing.assert_allclose(value, results[1][key], rtol=1e-9, atol=1e-12, err_msg=key)


def test_the_decoder_is_separable_and_takes_the_wide_features():
    model = models.create("deeplabv3plus", backbone="mobilenet_v2")
    assert isinstance(model.decoder.refine1.depthwise, DepthwiseConv2d)
    assert model.decoder.reduce.conv.weight.shape == (1, 1, 144, 48)
    plain = models.create("deeplabv3plus", backbone="mobilenet_v2", low_level="block", separable=False)
    assert plain.decoder.reduce.conv.weight.shape == (1, 1, 24, 48)
    assert plain.decoder.refine1.conv.weight.shape == (3, 3, 304, 256)
