"""DRN: published parameter counts, sizes, rates, derivatives, and DRN-A against the strided ResNet."""

import numpy as np
import pytest

from minideeplab import Tensor, no_grad
from minideeplab.autograd.gradcheck import check_direction
from minideeplab.models.backbones.drn import DRN, DRNS
from minideeplab.models.backbones.resnet import ResNet
from minideeplab.nn import Conv2d


def images(n, h, w, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal((n, h, w, 3)).astype(dtype))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("drn-a-18", 11_689_512),
        ("drn-a-34", 21_797_672),
        ("drn-a-50", 25_557_032),
        ("drn-b-26", 21_126_584),
        ("drn-c-26", 21_126_584),
        ("drn-c-42", 31_234_744),
        ("drn-c-58", 41_591_608),
        ("drn-d-22", 16_393_752),
        ("drn-d-38", 26_501_912),
        ("drn-d-54", 35_809_176),
        ("drn-d-105", 54_801_304),
    ],
)
def test_parameters_with_a_head_of_1000_classes(name, expected):
    model = DRN(name)
    assert sum(p.data.size for p in model.parameters()) + (model.channels + 1) * 1000 == expected


def test_the_unused_projection_of_c_58_is_the_only_one():
    """1,049,600 of its 41,591,608 parameters, in level 7."""
    unused = {
        name: sum(p.data.size for p in stage.layers[0].shortcut.parameters())
        for name in DRNS
        for stage in DRN(name, width=1 if name == "drn-c-58" else 1 / 32).stages
        if type(stage.layers[0]).__name__ == "Plain" and stage.layers[0].shortcut
    }
    assert unused == {"drn-c-58": 2048 * 512 + 2 * 512}


@pytest.mark.parametrize(
    ("name", "channels", "low_level"),
    [("drn-a-18", 512, 64), ("drn-a-50", 2048, 256), ("drn-c-26", 512, 64), ("drn-d-54", 512, 256)],
)
def test_channels(name, channels, low_level):
    model = DRN(name)
    assert (model.channels, model.low_level_channels) == (channels, low_level)


# ---------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("drn-a-18", [[1] * 4, [1] * 4, [1, 2, 2, 2], [2, 4, 4, 4]]),
        ("drn-a-50", [[1] * 3, [1] * 4, [1] + [2] * 5, [2, 4, 4]]),
        ("drn-b-26", [[1] * 2, [1] * 2, [1] * 4, [1] * 4, [2] * 4, [4] * 4, [2] * 2, [1] * 2]),
        ("drn-c-26", [[1] * 2, [1] * 2, [1] * 4, [1] * 4, [2] * 4, [4] * 4, [2] * 2, [1] * 2]),
        ("drn-c-58", [[1] * 2, [1] * 2, [1] * 3, [1] * 4, [2] * 6, [4] * 3, [2] * 2, [1] * 2]),
        ("drn-d-22", [[1], [1], [1] * 4, [1] * 4, [2] * 4, [4] * 4, [2], [1]]),
    ],
)
def test_rates_of_the_3x3_convolutions_of_each_stage(name, expected):
    stages = DRN(name, width=1 / 32).stages
    rates = [
        [m.rate for _, m in stage.named_modules() if isinstance(m, Conv2d) and m.weight.shape[0] == 3]
        for stage in stages
    ]
    assert rates == expected


@pytest.mark.parametrize(("name", "strided"), [("drn-a-18", "resnet18"), ("drn-a-50", "resnet50")])
@pytest.mark.parametrize("size", [(65, 65), (50, 71)])
def test_drn_a_is_the_dense_version_of_resnet(name, strided, size):
    """Same weights: every fourth pixel of DRN-A's features is a pixel of ResNet's, borders included (section 2)."""
    x, resnet = images(1, *size, np.float64), ResNet(strided, width=1 / 16).initialise(0)
    model = DRN(name, width=1 / 16)
    model.load_state_dict(resnet.state_dict())
    with no_grad():
        dense, coarse = (m.eval().astype(np.float64)(x)[0].numpy() for m in (model, resnet))
    assert coarse.std() > 1e-3
    np.testing.assert_allclose(dense[:, ::4, ::4], coarse, rtol=1e-9, atol=1e-12)


def test_c_drops_the_shortcuts_of_levels_7_and_8_only():
    """Without its convolutions, a level that has a shortcut passes its input on."""

    def passes(name):
        model = DRN(name, width=1 / 16).initialise(0).eval().astype(np.float64)
        found = []
        for stage in model.stages[2:]:
            unit = stage.layers[-1]
            x = Tensor(np.abs(np.random.default_rng(1).standard_normal((1, 5, 5, unit.conv2.conv.weight.shape[3]))))
            unit.conv2.norm.gamma.data[:] = 0
            with no_grad():
                found.append(bool(np.array_equal(unit(x).numpy(), x.numpy())))
        return found

    assert passes("drn-b-26") == [True] * 6
    assert passes("drn-c-26") == [True] * 4 + [False] * 2


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name", ["drn-a-18", "drn-b-26", "drn-c-58", "drn-d-22"])
def test_the_gradient(name):
    model = DRN(name, width=1 / 16).initialise(0).astype(np.float64)
    x, generator = images(2, 33, 40, np.float64), np.random.default_rng(1)
    weights = [Tensor(generator.standard_normal(y.shape)) for y in model(x)]

    def loss():
        features, low_level = model(x)
        return (features * weights[0]).mean() + (low_level * weights[1]).mean()

    check_direction(loss, model)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("name", ["drn-a-18", "drn-d-22"])
def test_wrong_options(name):
    for output_stride in (16, 32, None):
        with pytest.raises(ValueError, match=f"{name}: output_stride must be 8, got {output_stride}"):
            DRN(name, output_stride=output_stride)
    with pytest.raises(ValueError, match=rf"{name}: multi_grid must be None, the rates are fixed, got \(1, 2\)"):
        DRN(name, multi_grid=(1, 2))
