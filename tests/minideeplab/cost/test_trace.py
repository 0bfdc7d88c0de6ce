"""The trace of a network: costs as counted, outputs as computed, and nothing changed by it."""

import time
from dataclasses import asdict

import numpy as np
import pytest
from strategies import SIMULATED

import kernels
from minideeplab import Tensor, models, nn, no_grad, ops
from minideeplab.cost import cost_of, trace
from minideeplab.nn.module import observing

MODELS = {
    "deeplabv3plus": {"backbone": "xception41", "head_width": 8},
    "deeplabv3": {"backbone": "densenet121", "head_width": 8},
    "deeplabv1-largefov-msc": {},
    "deeplabv2-aspp-s": {"multi_scale": True},
    "pspnet": {},
    "fcn-8s": {},
    "segnet": {},
    "unet": {"padding": "valid"},
    "resnet18": {},
    "drn-c-26": {"dense": True},
    "vgg16": {},
    "spp-net": {},
}


def images(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def built(name, **options):
    return models.build(name, num_classes=3, width=1 / 32, **options)


def plain(layer):
    return {key: value for key, value in asdict(layer).items() if key not in ("seconds", "values")}


@pytest.mark.parametrize("name", MODELS)
def test_a_trace_says_what_cost_says(name):
    model = built(name, **MODELS[name])
    traced = model.trace(images(1, 65, 50, 3), channels=0)
    counted = cost_of(model, (65, 50))
    assert [plain(layer) for layer in traced] == [plain(layer) for layer in counted.layers]
    assert sum(layer.macs for layer in traced) == counted.macs > 0
    assert sum(layer.parameters for layer in traced) == counted.parameters
    assert all(layer.seconds > 0 and layer.values is None for layer in traced)
    assert all(layer.seconds is None and layer.values is None for layer in counted.layers)


@pytest.mark.parametrize("name", ["deeplabv3plus", "segnet", "fcn-8s", "pspnet"])
def test_names_classes_and_sources_are_those_of_modules(name):
    model = built(name, **MODELS[name])
    modules = dict(model.named_modules())
    for layer in model.trace(images(1, 65, 50, 3), channels=0):
        assert type(modules[layer.name]).__name__ == layer.class_name
        assert layer.source and "(arXiv" in layer.source
    sources = {layer.name: layer.source for layer in trace(model, images(1, 33, 33, 3), 0)}
    assert sources["head" if name != "fcn-8s" else "enlarge"] == model.source


def test_a_part_says_where_it_comes_from():
    layers = {
        layer.name: layer for layer in built("deeplabv3plus", **MODELS["deeplabv3plus"]).trace(images(1, 33, 33, 3))
    }
    assert "v3+ (arXiv 1802.02611), figure 4" in layers["backbone.entry.0.convs.1.pointwise"].source
    assert "v3 (arXiv 1706.05587), section 3.3" in layers["aspp.branches.1.depthwise"].source
    assert (layers["aspp.branches.1.depthwise"].rate, layers["backbone.stem.layers.0.conv"].stride) == (6, 2)
    assert layers["backbone.stem.layers.0.conv"].input == (33, 33, 3)


# -------------------------------------------------------------------- outputs


@pytest.mark.parametrize("name", ["deeplabv3plus", "deeplabv3", "segnet", "unet"])
def test_outputs_are_those_of_the_modules(name):
    """Where batch norm is folded, that of the unit around the convolution; a bias belongs to its layer."""
    model, x = built(name, **MODELS[name]).eval(), images(2, 49, 40, 3)
    found, units = {}, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ConvNorm)

    def observe(module, inputs):
        y = module.forward(*inputs)
        if isinstance(module, units):
            found[f"{names[id(module)]}.conv" if isinstance(module, nn.ConvNorm) else names[id(module)]] = y.numpy()
        return y

    names = {id(module): key for key, module in model.named_modules()}
    with no_grad(), observing(observe):
        logits = model(x).numpy()
    layers = model.trace(x)
    np.testing.assert_array_equal(layers[-1].values[:, :49, :40], logits)
    compared = 0
    for layer in layers:
        assert layer.values.shape[1:] == layer.output
        if layer.name in found and layer.parameters:
            np.testing.assert_array_equal(layer.values, found[layer.name], err_msg=layer.name)
            compared += 1
    assert compared > 10


def test_channels_are_copies_that_free_the_rest():
    model, x = built("deeplabv3plus", **MODELS["deeplabv3plus"]), images(1, 33, 33, 3)
    whole = model.trace(x)
    for one, two, layer in zip(model.trace(x, channels=1), model.trace(x, channels=2), whole, strict=True):
        assert one.values.base is None and one.values.shape == (1, *layer.output[:2], 1)
        np.testing.assert_array_equal(one.values, layer.values[..., :1])
        np.testing.assert_array_equal(two.values, layer.values[..., :2])


def test_a_trace_changes_nothing():
    model, x = built("deeplabv3plus", **MODELS["deeplabv3plus"]), images(1, 33, 33, 3)
    model.decoder.eval()
    modes, before = [module.training for _, module in model.named_modules()], model.state_dict()
    assert True in modes and False in modes
    model.trace(x)
    assert [module.training for _, module in model.named_modules()] == modes
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ValueError, match="at least 33x33"):
        model.trace(images(1, 5, 5, 3))
    assert [module.training for _, module in model.named_modules()] == modes
    assert model(x).requires_grad, "the observers are gone, and gradients are recorded again"


def test_times_add_up_to_less_than_the_whole():
    model, x = built("deeplabv3plus", **MODELS["deeplabv3plus"]), images(1, 65, 65, 3)
    model.trace(x, 0)
    began = time.perf_counter()
    layers = model.trace(x, 0)
    assert 0 < sum(layer.seconds for layer in layers) < time.perf_counter() - began


# -------------------------------------------------------------------- modules of other kinds


class Odd(nn.Module):
    """A layer used twice, a scale that belongs to no layer, weights in a dict, a batch norm before its convolution."""

    source = "nowhere"

    def __init__(self):
        self.again = nn.Conv2d(3, 3, 3, bias=True)
        self.tables = {"scale": nn.Parameter((3,), nn.ones), "parts": [(nn.BatchNorm2d(3), nn.ConvNorm(3, 4, 1))]}

    def forward(self, x):
        x = self.again(self.again(x)) * self.tables["scale"]
        norm, unit = self.tables["parts"][0]
        return unit(norm(x))


def test_parameters_go_to_the_layers_that_own_them():
    model = Odd().initialise(0)
    layers = trace(model, images(1, 9, 9, 3))
    rows = [(layer.name, layer.kind, layer.parameters) for layer in layers]
    assert rows == [
        ("again", "conv 3x3", 81 + 3),
        ("again", "conv 3x3", 0),
        ("", "multiply", 3),
        ("tables.parts.0.0", "batch norm", 6),
        ("tables.parts.0.1.conv", "conv 1x1", 12 + 8),
    ]
    assert [layer.source for layer in layers] == ["nowhere"] * 5
    assert [layer.macs for layer in layers] == [81 * 81, 81 * 81, 0, 0, 81 * 12]
    assert cost_of(model, 9).parameters == sum(layer.parameters for layer in layers)


def test_an_array_that_is_freed_takes_its_note_along():
    """Another array in the same place is not taken for one that saw the image."""

    class Fresh(nn.Module):
        def forward(self, x):
            shape = x.shape
            del x
            return ops.max_pool2d(Tensor(np.zeros(shape, np.float32)), 2)

    class Net(nn.Module):
        def __init__(self):
            self.conv, self.fresh = nn.Conv2d(3, 3, 3), Fresh()

        def forward(self, x):
            return self.fresh(self.conv(x))

    (_, pool) = trace(Net().initialise(0), images(1, 8, 8, 3))
    assert pool.receptive_field is None


def test_observers_are_put_back():
    seen = []

    def note(name):
        def observe(module, inputs):
            seen.append((name, type(module).__name__))
            return module.forward(*inputs)

        return observe

    model, x = nn.Sequential(nn.MaxPool2d(2)), images(1, 4, 4, 1)
    with observing(note("outer")):
        with pytest.raises(ValueError), observing(note("inner")):
            model(images(4, 4))
        model(x)
    model(x)
    layers = ["Sequential", "MaxPool2d"]
    assert seen == [("inner", layer) for layer in layers] + [("outer", layer) for layer in layers]


def test_backends_are_put_back():
    before = kernels.load("cpu").conv2d
    trace(nn.Sequential(nn.Conv2d(3, 3, 1)).initialise(0), images(1, 4, 4, 3))
    assert kernels.load("cpu").conv2d is before


@pytest.mark.skipif(not SIMULATED, reason="runs in the CUDA simulator: NUMBA_ENABLE_CUDASIM=1")
def test_a_trace_on_cuda_is_that_of_the_cpu():
    net = nn.Sequential(
        nn.ConvNorm(3, 4, 3, stride=2), nn.MaxPool2d(2), nn.SeparableConv2d(4, 3), nn.Conv2d(3, 2, 1, bias=True)
    )
    net.initialise(0).astype(np.float64)
    x = images(1, 7, 6, 3, dtype=np.float64)
    here, there = trace(net, x), trace(net.to("cuda"), x.to("cuda"))
    for one, two in zip(here, there, strict=True):
        assert plain(one) == plain(two) and two.seconds > 0
        np.testing.assert_allclose(two.values, one.values, rtol=1e-10, atol=1e-12)


def test_a_negative_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="channels must be None, or 0 or more, got -1"):
        models.build("unet", width=1 / 16).trace(Tensor(np.zeros((1, 33, 33, 3), np.float32)), channels=-1)
