"""MobileNetV3-Large and LR-ASPP: channels, rates, the formulas of their parts, derivatives."""

import numpy as np
import pytest
from op_cases import normal

from minideeplab import Tensor, models, no_grad
from minideeplab.autograd.gradcheck import check_direction
from minideeplab.models import at_output_stride
from minideeplab.models.backbones.mobilenetv3 import InvertedResidual, MobileNetV3, multiple_of_8
from minideeplab.models.lraspp import LRASPPHead
from minideeplab.nn import BatchNorm2d, SqueezeExcitation


def in_float64(layer):
    """Its first values, moved so that no bias hides what stands behind it."""
    layer.initialise(0).astype(np.float64)
    for i, p in enumerate(layer.parameters()):
        p.data = p.data + 0.1 * normal(*p.shape, seed=i)
    return layer


# ---------------------------------------------------------------- the table


def test_channels_of_the_table():
    net = MobileNetV3("mobilenet_v3_large")
    assert (net.channels, net.low_level_channels, net.eighth_channels) == (960, 24, 40)
    squeezed = [block.separable.gate.squeeze.weight.shape[2:] for block in net.blocks if block.separable.gate]
    assert squeezed == [(72, 24), (120, 32), (120, 32), (480, 120), (672, 168), (672, 168), (960, 240), (960, 240)]
    assert sum(block.adds for block in net.blocks) == 10 and net.blocks[0].expand is None
    assert {(m.eps, m.momentum) for _, m in net.named_modules() if isinstance(m, BatchNorm2d)} == {(1e-3, 0.01)}


@pytest.mark.parametrize(
    ("channels", "rounded"), [(1, 8), (8, 8), (12, 16), (11.9, 16), (18, 24), (17, 16), (20, 24), (160, 160), (84, 88)]
)
def test_channels_are_multiples_of_8_that_lose_at_most_a_tenth(channels, rounded):
    assert multiple_of_8(channels) == rounded and rounded % 8 == 0 and rounded >= 0.9 * channels


@pytest.mark.parametrize(
    ("output_stride", "first_rate", "rates"),
    [
        (32, "stage", [1] * 15),
        (16, "stage", [1] * 12 + [2] * 3),
        (16, "previous", [1] * 13 + [2] * 2),
        (8, "stage", [1] * 6 + [2] * 6 + [4] * 3),
        (8, "previous", [1] * 7 + [2] * 6 + [4] * 2),
    ],
)
def test_a_stride_that_is_given_up_is_the_rate_of_what_follows(output_stride, first_rate, rates):
    net = MobileNetV3("mobilenet_v3_large", output_stride, 0.25, first_rate)
    assert [block.separable.depthwise.rate for block in net.blocks] == rates


@pytest.mark.parametrize("width", [1 / 16, 1])
def test_the_same_blocks_add_their_input_at_each_output_stride(width):
    """Also where rounding makes the channels of a strided block equal."""
    strided, *atrous = (MobileNetV3("mobilenet_v3_large", stride, width) for stride in (32, 16, 8))
    for net in atrous:
        assert [block.adds for block in net.blocks] == [block.adds for block in strided.blocks]


def test_the_filters_see_the_same_pixels_at_each_output_stride():
    """With the rate before, and gates held open, each second position of the finer map is the coarser map."""
    model = models.build("deeplabv3", backbone="mobilenet_v3_large", width=0.25, head_width=8, first_rate="previous")
    for _, gate in model.named_modules():
        if isinstance(gate, SqueezeExcitation):
            gate.excite.bias.data[...] = 100
    coarse, fine = model.eval(), at_output_stride(model, 8)
    image = Tensor(normal(1, 65, 97, 3).astype(np.float32))
    with no_grad():
        a, b = (net.backbone(image)[0].numpy() for net in (coarse, fine))
    np.testing.assert_allclose(b[:, ::2, ::2], a, rtol=1e-4, atol=1e-5 * abs(a).max())
    assert abs(b[:, 1::2, 1::2] - a[:, :-1, :-1]).max() > 1e-3 * abs(a).max()


# ---------------------------------------------------------------- formulas and derivatives


def clipped(v):
    """hardsigmoid."""
    return np.clip(v + 3, 0, 6) / 6


def test_the_gate_sees_the_means_of_all_channels():
    layer, x = in_float64(SqueezeExcitation(6, 4)), normal(2, 3, 5, 6)
    weights = (layer.squeeze.weight, layer.squeeze.bias, layer.excite.weight, layer.excite.bias)
    u, a, v, b = (p.data for p in weights)
    hidden = np.maximum(x.mean(axis=(1, 2)) @ u[0, 0] + a, 0)
    expected = x * clipped(hidden @ v[0, 0] + b)[:, None, None]
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, rtol=1e-12)
    check_direction(lambda: (layer(Tensor(x)) * Tensor(normal(*x.shape, seed=1))).sum(), layer)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("stride", "rate"), [(1, 1), (1, 2), (2, 1)])
def test_the_derivative_of_a_block(gated, stride, rate):
    block = in_float64(InvertedResidual(4, 12, 4, 5, stride, rate, "hardswish", gated, adds=stride == 1))
    x, shape = normal(2, 7, 6, 4), (2, -(-7 // stride), -(-6 // stride), 4)
    check_direction(lambda: (block(Tensor(x)) * Tensor(normal(*shape, seed=1))).sum(), block)


def test_the_head_of_lraspp():
    """Two scores, of which the coarse one is gated by the mean; at 1 x 1 enlarging is a copy."""
    head = in_float64(LRASPPHead(6, 3, 2, width=4)).eval()
    x, low = normal(2, 1, 1, 6), normal(2, 3, 4, 3, seed=1)
    y = np.maximum(head.conv.norm(head.conv.conv(Tensor(x))).numpy(), 0)
    y = y / (1 + np.exp(-x @ head.gate.weight.data[0, 0]))
    expected = y @ head.score.weight.data[0, 0] + head.score.bias.data
    expected = expected + low @ head.low_score.weight.data[0, 0] + head.low_score.bias.data
    np.testing.assert_allclose(head(Tensor(x), Tensor(low)).numpy(), expected, rtol=1e-12)


def test_the_derivative_of_the_head_of_lraspp():
    head, x, low = in_float64(LRASPPHead(6, 3, 2, width=4)), normal(2, 3, 2, 6), normal(2, 5, 4, 3, seed=1)
    weight = Tensor(normal(2, 5, 4, 2, seed=2))
    check_direction(lambda: (head(Tensor(x), Tensor(low)) * weight).sum(), head)


def test_the_classifier_has_its_hidden_layer_behind_the_pooling():
    model = models.build("mobilenet_v3_large", width=0.25, num_classes=5).astype(np.float64).eval()
    image = Tensor(normal(2, 49, 33, 3))
    features = model.backbone(image)[0].numpy().mean(axis=(1, 2))
    hidden = features @ model.hidden.weight.data[0, 0] + model.hidden.bias.data
    expected = (hidden * clipped(hidden)) @ model.head.weight.data[0, 0] + model.head.bias.data
    np.testing.assert_allclose(model(image).numpy()[:, 0, 0], expected, rtol=1e-9, atol=1e-12)
    assert model.hidden.weight.shape == (1, 1, 240, 320) and model.dropout.rate == 0.2
