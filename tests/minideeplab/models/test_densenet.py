"""DenseNet: parameter counts of the paper, sizes, rates, dense connections, derivatives."""

import numpy as np
import pytest

from minideeplab import Tensor, no_grad
from minideeplab.autograd.gradcheck import check_direction
from minideeplab.models.backbones.densenet import DENSENETS, DenseNet
from minideeplab.nn import Conv2d

IMAGENET = [name for name in DENSENETS if "-bc-" not in name]
TINY = {**dict.fromkeys(IMAGENET, 1 / 16), "densenet-bc-100-12": 1 / 6}


def images(n, h, w, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal((n, h, w, 3)).astype(dtype))


def parameters_with_head(name, classes):
    model = DenseNet(name)
    return sum(p.data.size for p in model.parameters()) + (model.channels + 1) * classes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("densenet121", 7_978_856),
        ("densenet169", 14_149_480),
        ("densenet201", 20_013_928),
        ("densenet161", 28_681_000),
    ],
)
def test_parameters_with_a_head_of_1000_classes(name, expected):
    assert parameters_with_head(name, 1000) == expected


@pytest.mark.parametrize(
    ("name", "millions"), [("densenet-bc-100-12", 0.8), ("densenet-bc-250-24", 15.3), ("densenet-bc-190-40", 25.6)]
)
def test_parameters_with_a_head_of_10_classes(name, millions):
    """Table 2 of the paper has one digit after the point."""
    assert round(parameters_with_head(name, 10) / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("name", "channels", "low_level"),
    [("densenet121", 1024, 256), ("densenet161", 2208, 384), ("densenet-bc-100-12", 342, 342)],
)
def test_channels(name, channels, low_level):
    model = DenseNet(name)
    assert (model.channels, model.low_level_channels) == (channels, low_level)


# ---------------------------------------------------------------- sizes and rates


@pytest.mark.parametrize(
    ("name", "output_stride", "strides", "rates"),
    [
        ("densenet121", 32, [2, 2, 2], [1, 1, 1, 1]),
        ("densenet121", 16, [2, 2, 1], [1, 1, 1, 2]),
        ("densenet169", 8, [2, 1, 1], [1, 1, 2, 4]),
        ("densenet-bc-100-12", 4, [2, 2], [1, 1, 1]),
    ],
)
def test_a_pooling_that_is_dropped_is_the_rate_of_the_blocks_after_it(name, output_stride, strides, rates):
    model = DenseNet(name, output_stride=output_stride, width=TINY.get(name, 1))
    assert [transition.stride for transition in model.transitions] == strides
    for block, count, rate in zip(model.blocks, DENSENETS[name][1], rates, strict=True):
        found = [m.rate for _, m in block.named_modules() if isinstance(m, Conv2d) and m.weight.shape[0] == 3]
        assert found == [rate] * count


# ---------------------------------------------------------------- values and derivatives


def test_a_block_hands_its_input_on_and_each_layer_adds_k_channels():
    model = DenseNet("densenet121", width=1 / 16).initialise(0).eval()
    x = Tensor(np.random.default_rng(1).standard_normal((1, 5, 6, 4)).astype(np.float32))
    with no_grad():
        y = model.blocks[0](x)
        assert y.shape == (1, 5, 6, 4 + 6 * 2)
        before = x
        for layer in model.blocks[0].layers:
            after = layer(before)
            np.testing.assert_array_equal(after.numpy()[..., :-2], before.numpy())
            before = after
    np.testing.assert_array_equal(y.numpy(), before.numpy())


def test_a_layer_normalises_before_it_convolves():
    """y = [x, conv3x3(relu(bn(conv1x1(relu(bn(x))))))], here with NumPy and a 3x3 that has only its centre tap."""
    layer = DenseNet("densenet121", width=1 / 16).initialise(0).eval().astype(np.float64).blocks[0].layers[0]
    generator = np.random.default_rng(2)
    for norm in (layer.norm, layer.bottleneck.norm):
        for t in (norm.gamma, norm.beta, norm.running_mean):
            t.data[:] = generator.standard_normal(t.shape)
        norm.running_var.data[:] = generator.uniform(0.5, 2, norm.running_var.shape)
    layer.conv.weight.data[[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0

    def norm_relu(a, norm):
        scaled = (a - norm.running_mean.data) / np.sqrt(norm.running_var.data + 1e-5)
        return np.maximum(norm.gamma.data * scaled + norm.beta.data, 0)

    x = generator.standard_normal((1, 3, 4, 4))
    inner = norm_relu(norm_relu(x, layer.norm) @ layer.bottleneck.conv.weight.data[0, 0], layer.bottleneck.norm)
    expected = np.concatenate([x, inner @ layer.conv.weight.data[1, 1]], axis=3)
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "output_stride"), [("densenet121", 8), ("densenet121", 32), ("densenet-bc-100-12", 4)]
)
def test_the_gradient(name, output_stride):
    model = DenseNet(name, output_stride=output_stride, width=TINY[name]).initialise(0).astype(np.float64)
    x, generator = images(2, 33, 40, np.float64), np.random.default_rng(1)
    weights = [Tensor(generator.standard_normal(y.shape)) for y in model(x)]

    def loss():
        features, low_level = model(x)
        return (features * weights[0]).mean() + (low_level * weights[1]).mean()

    check_direction(loss, model)


# ---------------------------------------------------------------- errors


def test_wrong_options():
    with pytest.raises(ValueError, match="densenet121: output_stride must be 8, 16 or 32, got 4"):
        DenseNet("densenet121", output_stride=4)
    with pytest.raises(ValueError, match="densenet-bc-100-12: output_stride must be 4, got 8"):
        DenseNet("densenet-bc-100-12", output_stride=8)
    with pytest.raises(ValueError, match=r"densenet121: multi_grid must be None, got \(1, 2\)"):
        DenseNet("densenet121", multi_grid=(1, 2))
