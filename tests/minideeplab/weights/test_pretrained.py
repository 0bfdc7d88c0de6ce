"""Weights of other programs: their networks, rebuilt here in PyTorch with their names, give the same logits."""

import json
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab import Tensor, models, no_grad
from minideeplab.data import IMAGE_MEAN, IMAGE_STD
from minideeplab.errors import CheckpointError
from minideeplab.models.backbones.mobilenetv2 import MULTIPLIERS
from minideeplab.weights import Checkpoint, initialise, load_pretrained, save_torchvision_npz
from minideeplab.weights.layouts import LAYOUTS

TOLERANCE = 1e-4  # of the largest logit; float32 through a hundred layers in two orders of summation


# -------------------------------------------------------------------- the sources' networks


class Reference:
    """Layers of PyTorch that draw their weights when they are first used, under the names that they are given.

    Attributes:
        state: as `state_dict()` of the source's module.
    """

    def __init__(self, torch, width):
        self.torch, self.F, self.width, self.state = torch, torch.nn.functional, width, {}
        self.generator = torch.Generator().manual_seed(0)

    def drawn(self, name, shape, scale, centre=0.0):
        if name not in self.state:
            self.state[name] = centre + scale * self.torch.randn(shape, generator=self.generator)
        return self.state[name]

    def scaled(self, channels):
        return max(1, round(channels * self.width))

    def conv(self, name, x, c_out, kernel=1, stride=1, rate=1, bias=False, groups=1, padding=None):
        c_in = x.shape[1] // groups
        weight = self.drawn(f"{name}.weight", (c_out, c_in, kernel, kernel), (2 / c_in / kernel**2) ** 0.5)
        bias = self.drawn(f"{name}.bias", (c_out,), 0.3) if bias else None
        padding = rate * (kernel - 1) // 2 if padding is None else padding
        return self.F.conv2d(x, weight, bias, stride, padding, rate, groups)

    def norm(self, name, x, eps=1e-5):
        weight, bias, mean, var = (
            self.drawn(f"{name}.{part}", x.shape[1:2], 0.1, centre)
            for part, centre in (("weight", 0.8), ("bias", 0.1), ("running_mean", 0.0), ("running_var", 1.0))
        )
        self.state[f"{name}.num_batches_tracked"] = self.torch.tensor(7)
        return self.F.batch_norm(x, mean, var, weight, bias, eps=eps)

    def unit(self, conv, norm, x, *shape, **options):
        return self.norm(norm, self.conv(conv, x, *shape, **options)).relu()

    def linear(self, name, x, c_out):
        weight = self.drawn(f"{name}.weight", (c_out, x.shape[1]), (2 / x.shape[1]) ** 0.5)
        return self.F.linear(x, weight, self.drawn(f"{name}.bias", (c_out,), 0.3))

    def resized(self, x, like, align_corners=False):
        return self.F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=align_corners)


UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
DILATED = {  # (strides, rate of the first unit and of the others) of the four stages
    "torchvision 32": ((1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)),
    "torchvision 16": ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2)),
    "torchvision 8": ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)),
    "jfzhang95 16": ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 2, (2, 4, 8))),
    "jfzhang95 8": ((1, 1, 1), (2, 1, 1), (1, 2, 2), (1, 4, (4, 8, 16))),
}


def resnet(net, x, depth, form, prefix=""):
    """The outputs of the four stages."""
    x = net.unit(f"{prefix}conv1", f"{prefix}bn1", x, net.scaled(64), 7, 2)
    x, outputs = net.F.max_pool2d(x, 3, 2, 1), []
    for stage, (stride, first, others) in enumerate(DILATED[form]):
        width = net.scaled(64) * 2**stage
        for i in range(UNITS[depth][stage]):
            rate = others[i] if isinstance(others, tuple) else others if i else first
            x = residual(net, x, f"{prefix}layer{stage + 1}.{i}.", width, depth >= 50, 1 if i else stride, rate)
        outputs.append(x)
    return outputs


def residual(net, x, name, width, bottleneck, stride, rate):
    c_out, shortcut = width * (4 if bottleneck else 1), x
    if stride > 1 or x.shape[1] != c_out:
        shortcut = net.norm(f"{name}downsample.1", net.conv(f"{name}downsample.0", x, c_out, 1, stride))
    if bottleneck:
        x = net.unit(f"{name}conv1", f"{name}bn1", x, width)
        x = net.unit(f"{name}conv2", f"{name}bn2", x, width, 3, stride, rate)
        x = net.norm(f"{name}bn3", net.conv(f"{name}conv3", x, c_out))
    else:
        x = net.unit(f"{name}conv1", f"{name}bn1", x, width, 3, stride, rate)
        x = net.norm(f"{name}bn2", net.conv(f"{name}conv2", x, c_out, 3, 1, rate))
    return (x + shortcut).relu()


def resnet_classifier(net, x, depth=18):
    return net.linear("fc", resnet(net, x, depth, "torchvision 32")[-1].mean((2, 3)), 11)


def vgg16(net, x):
    position = 0
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = net.conv(f"features.{position}", x, net.scaled(width), 3, bias=True).relu()
            position += 2
        x, position = net.F.max_pool2d(x, 2), position + 1
    x = net.F.adaptive_avg_pool2d(x, 7).flatten(1)
    x = net.linear("classifier.0", x, net.scaled(4096)).relu()
    return net.linear("classifier.6", net.linear("classifier.3", x, net.scaled(4096)).relu(), 11)


def densenet(net, x, blocks, growth=32, dot=""):
    growth = net.scaled(growth)
    x = net.F.max_pool2d(net.unit("features.conv0", "features.norm0", x, 2 * growth, 7, 2), 3, 2, 1)
    for i, count in enumerate(blocks, 1):
        for j in range(1, count + 1):
            name = f"features.denseblock{i}.denselayer{j}."
            y = net.conv(f"{name}conv{dot}1", net.norm(f"{name}norm{dot}1", x).relu(), 4 * growth)
            y = net.conv(f"{name}conv{dot}2", net.norm(f"{name}norm{dot}2", y).relu(), growth, 3)
            x = net.torch.cat([x, y], 1)
        if i < len(blocks):
            name = f"features.transition{i}."
            x = net.conv(f"{name}conv", net.norm(f"{name}norm", x).relu(), x.shape[1] // 2)
            x = net.F.avg_pool2d(x, 2)
    return net.linear("classifier", net.norm("features.norm5", x).relu().mean((2, 3)), 11)


def mobilenetv2(net, x, names, output_stride=32, pads_block=False):
    """The outputs of the stem and of all blocks, which have those names; the width is a multiple of 1 / 8.

    pads_block: VainF's, network/backbone/mobilenetv2.py: each convolution has padding 0, also the first; a block pads
    its input.
    """

    def scaled(channels):
        return max(8, 8 * round(channels * net.width / 8 + 1e-9))

    x = net.norm(f"{names[0]}.1", net.conv(f"{names[0]}.0", x, scaled(32), 3, 2, padding=1 - pads_block)).clamp(0, 6)
    outputs, reached, rate, before = [x], 2, 1, 1
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, c_out, count, step in rows:
        before = rate
        kept = 1 if reached == output_stride else step
        rate, reached = rate * step // kept, reached * kept
        for i in range(count):
            name, stride, r = f"{names[len(outputs)]}.conv", 1 if i else kept, rate if i else before
            y, wide, k = net.F.pad(x, (r,) * 4) if pads_block else x, x.shape[1] * expansion, 0
            if expansion > 1:
                y, k = net.norm(f"{name}.0.1", net.conv(f"{name}.0.0", y, wide)).clamp(0, 6), 1
            padding = 0 if pads_block else r
            y = net.conv(f"{name}.{k}.0", y, wide, 3, stride, r, groups=wide, padding=padding)
            y = net.norm(f"{name}.{k}.1", y).clamp(0, 6)
            y = net.norm(f"{name}.{k + 2}", net.conv(f"{name}.{k + 1}", y, scaled(c_out)))
            x = x + y if (i or step == 1) and x.shape == y.shape else y
            outputs.append(x)
    return outputs


def mobilenetv2_classifier(net, x):
    x = mobilenetv2(net, x, [f"features.{i}" for i in range(18)])[-1]
    x = net.norm("features.18.1", net.conv("features.18.0", x, 1280)).clamp(0, 6)
    return net.linear("classifier.1", x.mean((2, 3)), 11)


MOBILENETV3 = (  # kernel, expansion, channels, gated, activation, stride: arXiv 1905.02244, table 1
    (3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2), (3, 200, 80, False, "hardswish", 1), (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1), (3, 480, 112, True, "hardswish", 1), (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2), (5, 960, 160, True, "hardswish", 1), (5, 960, 160, True, "hardswish", 1),
)  # fmt: skip


def mobilenet_v3(net, x, prefix, dilated):
    """The outputs of the stem, the blocks and the last 1x1."""

    def scaled(channels):
        nearest = max(8, int(channels + 4) // 8 * 8)
        return nearest + 8 if nearest < 0.9 * channels else nearest

    def unit(name, x, activation, *shape, **options):
        y = net.norm(f"{name}.1", net.conv(f"{name}.0", x, *shape, **options), eps=1e-3)
        return getattr(net.F, activation)(y) if activation else y

    x = unit(f"{prefix}0", x, "hardswish", scaled(16 * net.width), 3, 2)
    outputs, rate = [x], 1
    for i, (kernel, expanded, c_out, gated, activation, stride) in enumerate(MOBILENETV3):
        name, position, y = f"{prefix}{i + 1}.block.", 0, x
        expanded, c_out = scaled(expanded * net.width), scaled(c_out * net.width)
        if dilated and i == 12:
            stride, rate = 1, 2
        if expanded != x.shape[1]:
            y, position = unit(f"{name}0", y, activation, expanded), 1
        y = unit(f"{name}{position}", y, activation, expanded, kernel, stride, rate, groups=expanded)
        if gated:
            position, mean = position + 1, y.mean((2, 3), keepdim=True)
            s = net.conv(f"{name}{position}.fc1", mean, scaled(expanded // 4), bias=True).relu()
            y = y * net.F.hardsigmoid(net.conv(f"{name}{position}.fc2", s, expanded, bias=True))
        y = unit(f"{name}{position + 1}", y, None, c_out)
        x = x + y if stride == 1 and x.shape == y.shape and i != 12 else y
        outputs.append(x)
    return [*outputs, unit(f"{prefix}{len(outputs)}", x, "hardswish", 6 * x.shape[1])]


def mobilenet_v3_classifier(net, x):
    x = mobilenet_v3(net, x, "features.", False)[-1].mean((2, 3))
    x = net.F.hardswish(net.linear("classifier.0", x, int(1280 * net.width)))
    return net.linear("classifier.3", x, 11)


def deeplabv3_mobilenet_v3(net, image, auxiliary=False):
    outputs = mobilenet_v3(net, image, "backbone.", True)
    x = aspp(net, outputs[-1], "classifier.0", (12, 24, 36))
    x = net.unit("classifier.1", "classifier.2", x, x.shape[1], 3)
    if auxiliary:
        fcn_head(net, outputs[4], "aux_classifier")
    return net.resized(net.conv("classifier.4", x, 21, bias=True), image)


def lraspp_mobilenet_v3(net, image):
    outputs = mobilenet_v3(net, image, "backbone.", True)
    low, x, width = outputs[4], outputs[-1], net.scaled(128)
    gate = net.conv("classifier.scale.1", x.mean((2, 3), keepdim=True), width).sigmoid()
    x = net.resized(net.unit("classifier.cbr.0", "classifier.cbr.1", x, width) * gate, low)
    low = net.conv("classifier.low_classifier", low, 21, bias=True)
    return net.resized(low + net.conv("classifier.high_classifier", x, 21, bias=True), image)


def aspp(net, x, name, rates):
    """torchvision's and VainF's."""
    width = net.scaled(256)
    outputs = [net.unit(f"{name}.convs.0.0", f"{name}.convs.0.1", x, width)]
    for i, rate in enumerate(rates, 1):
        outputs.append(net.unit(f"{name}.convs.{i}.0", f"{name}.convs.{i}.1", x, width, 3, rate=rate))
    pooled = net.unit(f"{name}.convs.4.1", f"{name}.convs.4.2", x.mean((2, 3), keepdim=True), width)
    outputs.append(net.resized(pooled, x))
    return net.unit(f"{name}.project.0", f"{name}.project.1", net.torch.cat(outputs, 1), width)


def fcn_head(net, x, name):
    x = net.unit(f"{name}.0", f"{name}.1", x, x.shape[1] // 4, 3)
    return net.conv(f"{name}.4", x, 21, bias=True)


def torchvision_fcn(net, image, depth=50):
    *_, third, x = resnet(net, image, depth, "torchvision 8", "backbone.")
    fcn_head(net, third, "aux_classifier")
    return net.resized(fcn_head(net, x, "classifier"), image)


def torchvision_deeplabv3(net, image, depth=50, auxiliary=False):
    *_, third, x = resnet(net, image, depth, "torchvision 8", "backbone.")
    x = aspp(net, x, "classifier.0", (12, 24, 36))
    x = net.unit("classifier.1", "classifier.2", x, x.shape[1], 3)
    if auxiliary:
        fcn_head(net, third, "aux_classifier")
    return net.resized(net.conv("classifier.4", x, 21, bias=True), image)


def vainf_rates(output_stride):
    return {16: (6, 12, 18), 8: (12, 24, 36)}[output_stride]


def vainf_backbone(net, image, depth, output_stride):
    """(low-level features, features); a depth of None is MobileNetV2.

    network/modeling.py slices that one's `features` in two, and a slice of a Sequential keeps its numbers.
    """
    if depth:
        low, *_, x = resnet(net, image, depth, f"torchvision {output_stride}", "backbone.")
        return low, x
    names = [f"backbone.{'low' if i < 4 else 'high'}_level_features.{i}" for i in range(18)]
    outputs = mobilenetv2(net, image, names, output_stride, pads_block=True)
    return outputs[3], outputs[-1]


def vainf_v3(net, image, depth=50, output_stride=16):
    _, x = vainf_backbone(net, image, depth, output_stride)
    x = aspp(net, x, "classifier.classifier.0", vainf_rates(output_stride))
    x = net.unit("classifier.classifier.1", "classifier.classifier.2", x, x.shape[1], 3)
    return net.resized(net.conv("classifier.classifier.4", x, 21, bias=True), image)


def vainf_v3plus(net, image, depth=50, output_stride=16):
    low, x = vainf_backbone(net, image, depth, output_stride)
    low = net.unit("classifier.project.0", "classifier.project.1", low, net.scaled(48))
    x = net.resized(aspp(net, x, "classifier.aspp", vainf_rates(output_stride)), low)
    x = net.torch.cat([low, x], 1)
    x = net.unit("classifier.classifier.0", "classifier.classifier.1", x, net.scaled(256), 3)
    return net.resized(net.conv("classifier.classifier.3", x, 21, bias=True), image)


def jfzhang95(net, image, depth=50, output_stride=16):
    low, *_, x = resnet(net, image, depth, f"jfzhang95 {output_stride}", "backbone.")
    width, outputs = net.scaled(256), []
    for i, rate in enumerate((1, *vainf_rates(output_stride)), 1):
        name, kernel = f"aspp.aspp{i}.", 1 if i == 1 else 3
        outputs.append(net.unit(f"{name}atrous_conv", f"{name}bn", x, width, kernel, rate=rate))
    pooled = net.unit("aspp.global_avg_pool.1", "aspp.global_avg_pool.2", x.mean((2, 3), keepdim=True), width)
    outputs.append(net.resized(pooled, x, True))
    x = net.unit("aspp.conv1", "aspp.bn1", net.torch.cat(outputs, 1), width)
    low = net.unit("decoder.conv1", "decoder.bn1", low, net.scaled(48))
    x = net.torch.cat([net.resized(x, low, True), low], 1)
    x = net.unit("decoder.last_conv.0", "decoder.last_conv.1", x, width, 3)
    x = net.unit("decoder.last_conv.4", "decoder.last_conv.5", x, width, 3)
    return net.resized(net.conv("decoder.last_conv.8", x, 21, bias=True), image, True)


def kazuto1011(net, image, prefix="base.", aspp="aspp.", shortcut="shortcut"):
    """Three scales of one network; the largest score."""

    def unit(name, x, *shape, relu=True, **options):
        y = net.norm(f"{prefix}{name}.bn", net.conv(f"{prefix}{name}.conv", x, *shape, **options))
        return y.relu() if relu else y

    def scores(x):
        x = net.F.max_pool2d(unit("layer1.conv1", x, net.scaled(64), 7, 2), 3, 2, 1, ceil_mode=True)
        for stage, (count, stride, rate) in enumerate(((3, 1, 1), (4, 2, 1), (23, 1, 2), (3, 1, 4))):
            width = net.scaled(64) * 2**stage
            for i in range(count):
                name, step = f"layer{stage + 2}.block{i + 1}", 1 if i else stride
                y = unit(f"{name}.conv3x3", unit(f"{name}.reduce", x, width, 1, step), width, 3, rate=rate)
                y = unit(f"{name}.increase", y, 4 * width, relu=False)
                x = (y + (x if i else unit(f"{name}.{shortcut}", x, 4 * width, 1, step, relu=False))).relu()
        rates = enumerate((6, 12, 18, 24))
        return sum(net.conv(f"{prefix}{aspp}c{i}", x, 21, 3, rate=rate, bias=True) for i, rate in rates)

    logits = scores(image)
    for scale in (0.5, 0.75):
        size = [int(side * scale) for side in image.shape[2:]]
        smaller = net.F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        logits = net.torch.maximum(logits, net.resized(scores(smaller), logits))
    return net.resized(logits, image)


CASES = {
    "resnet18": (resnet_classifier, {"depth": 18}, (97, 81), {}),
    "resnet34": (resnet_classifier, {"depth": 34}, (65, 65), {}),
    "resnet50": (resnet_classifier, {"depth": 50}, (97, 81), {}),
    "resnet101": (resnet_classifier, {"depth": 101}, (65, 65), {}),
    "resnet152": (resnet_classifier, {"depth": 152}, (65, 65), {}),
    "vgg16": (vgg16, {}, (224, 224), {}),
    "densenet121": (densenet, {"blocks": (6, 12, 24, 16)}, (96, 64), {}),
    "densenet169, old names": (densenet, {"blocks": (6, 12, 32, 32), "dot": "."}, (64, 64), {}),
    "densenet201": (densenet, {"blocks": (6, 12, 48, 32)}, (64, 64), {}),
    "densenet161": (densenet, {"blocks": (6, 12, 36, 24), "growth": 48}, (64, 64), {}),
    "fcn_resnet50": (torchvision_fcn, {}, (97, 81), {}),
    "fcn_resnet101": (torchvision_fcn, {"depth": 101}, (65, 65), {}),
    "deeplabv3_resnet50": (torchvision_deeplabv3, {}, (97, 81), {}),
    "deeplabv3_resnet101, auxiliary": (torchvision_deeplabv3, {"depth": 101, "auxiliary": True}, (65, 70), {}),
    "mobilenet_v3_large": (mobilenet_v3_classifier, {}, (97, 81), {}),
    "deeplabv3_mobilenet_v3_large": (deeplabv3_mobilenet_v3, {}, (65, 70), {}),
    "deeplabv3_mobilenet_v3_large, auxiliary": (deeplabv3_mobilenet_v3, {"auxiliary": True}, (97, 81), {}),
    "lraspp_mobilenet_v3_large": (lraspp_mobilenet_v3, {}, (97, 81), {}),
    "jfzhang95 resnet50": (jfzhang95, {}, (97, 81), {}),
    "jfzhang95 resnet101": (jfzhang95, {"depth": 101}, (65, 65), {}),
    "jfzhang95 at 8": (jfzhang95, {"output_stride": 8}, (65, 73), {"output_stride": 8}),
    "vainf v3plus resnet50": (vainf_v3plus, {}, (97, 82), {}),
    "vainf v3plus resnet101 at 8": (vainf_v3plus, {"depth": 101, "output_stride": 8}, (65, 70), {"output_stride": 8}),
    "vainf v3 resnet50": (vainf_v3, {}, (97, 82), {}),
    "vainf v3 resnet101 at 8": (vainf_v3, {"depth": 101, "output_stride": 8}, (65, 70), {"output_stride": 8}),
    "mobilenet_v2": (mobilenetv2_classifier, {}, (97, 81), {}),
    "vainf v3plus mobilenet": (vainf_v3plus, {"depth": None}, (97, 82), {}),
    "vainf v3plus mobilenet at 8": (
        vainf_v3plus, {"depth": None, "output_stride": 8}, (65, 70), {"output_stride": 8},
    ),
    "vainf v3 mobilenet": (vainf_v3, {"depth": None}, (97, 82), {}),
    "vainf v3 mobilenet at 8": (vainf_v3, {"depth": None, "output_stride": 8}, (65, 70), {"output_stride": 8}),
    "kazuto1011": (kazuto1011, {}, (97, 82), {"source_images": True}),
    "kazuto1011, old names": (
        kazuto1011, {"prefix": "scale.", "aspp": "aspp.stages.", "shortcut": "proj"}, (65, 65), {"source_images": True},
    ),
}  # fmt: skip
QUICK = (
    "resnet18", "resnet50", "vgg16", "densenet121", "fcn_resnet50", "deeplabv3_resnet50", "jfzhang95 resnet50",
    "vainf v3plus resnet50", "vainf v3 resnet50", "kazuto1011", "mobilenet_v2", "vainf v3plus mobilenet at 8",
    "vainf v3 mobilenet", "mobilenet_v3_large", "lraspp_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large, auxiliary",
)  # fmt: skip


def narrow(name):
    """A width for quick tests; with 1/8 some blocks of a MobileNet would have nothing to expand."""
    return 1 / 4 if "mobilenet" in name else 1 / 8


RUNS = [
    *(pytest.param(name, narrow(name), marks=() if name in QUICK else pytest.mark.long) for name in CASES),
    *(pytest.param(name, 1, marks=pytest.mark.long) for name in CASES),
]


def reference(name, width):
    """(Reference, image (1, H, W, 3), logits (1, H, W, C), options for load_pretrained)."""
    torch = pytest.importorskip("torch")
    network, options, size, load_options = CASES[name]
    net = Reference(torch, width)
    image = np.random.default_rng(1).standard_normal((1, *size, 3)).astype(np.float32)
    with torch.no_grad():
        logits = network(net, torch.from_numpy(image.transpose(0, 3, 1, 2)), **options).numpy()
    shape = logits.shape if logits.ndim == 4 else (*logits.shape, 1, 1)
    return net, image, logits.reshape(shape).transpose(0, 2, 3, 1), load_options


def deviation(model, image, logits):
    """The largest difference to the logits, as a share of the largest logit; and that there is something to see."""
    with no_grad():
        ours = model(Tensor(image)).numpy()
    assert ours.shape == logits.shape
    assert np.std(logits, axis=3).mean() > 0.01 * abs(logits).max()
    return abs(ours - logits).max() / abs(logits).max()


@pytest.mark.parametrize(("name", "width"), RUNS)
def test_logits_are_those_of_the_source(tmp_path, name, width):
    net, image, logits, options = reference(name, width)
    net.torch.save(net.state, tmp_path / "weights.pth")
    model = load_pretrained(tmp_path / "weights.pth", **options)
    assert deviation(model, image, logits) < TOLERANCE
    assert not model.training
    again = models.build(**json.loads(json.dumps(model.config)))
    assert again.state_dict().keys() == model.state_dict().keys()
    assert again.config == model.config


@pytest.mark.parametrize("name", ["resnet18", "deeplabv3_resnet50"])
def test_logits_at_full_width(tmp_path, name):
    net, image, logits, _ = reference(name, 1)
    net.torch.save({"model": net.state}, tmp_path / "weights.pth")
    assert deviation(load_pretrained(tmp_path / "weights.pth"), image, logits) < TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        "resnet18", "vgg16", "densenet121", "mobilenet_v2", "fcn_resnet50", "deeplabv3_resnet101, auxiliary",
        "mobilenet_v3_large", "deeplabv3_mobilenet_v3_large, auxiliary", "lraspp_mobilenet_v3_large",
    ],
)  # fmt: skip
def test_written_arrays_are_those_of_torchvision(tmp_path, name):
    net, *_ = reference(name, narrow(name))
    net.torch.save(net.state, tmp_path / "weights.pth")
    save_torchvision_npz(tmp_path / "weights.npz", load_pretrained(tmp_path / "weights.pth"))
    expected = {key: array for key, array in net.state.items() if not key.endswith("num_batches_tracked")}
    with np.load(tmp_path / "weights.npz") as written:
        assert set(written) == set(expected)
        for key, array in expected.items():
            np.testing.assert_array_equal(written[key], array.numpy())


def test_the_first_layer_takes_our_images(tmp_path):
    """Inside; at the border the zeros around the image are another colour, by less than 1 of 255."""
    net, image, *_ = reference("kazuto1011", 1 / 8)
    net.torch.save(net.state, tmp_path / "weights.pth")
    theirs = load_pretrained(tmp_path / "weights.pth", source_images=True)
    ours = load_pretrained(tmp_path / "weights.pth")
    source = (255 * (image * IMAGE_STD + IMAGE_MEAN))[..., ::-1] - np.float32([104.008, 116.669, 122.675])
    with no_grad():
        expected = theirs.backbone.stem(Tensor(np.ascontiguousarray(source))).numpy()
        found = ours.backbone.stem(Tensor(image)).numpy()
    assert abs(found - expected)[:, 2:-2, 2:-2].max() < 1e-5 * expected.max()
    assert abs(found - expected).max() < 2e-2 * expected.max()


# -------------------------------------------------------------------- without PyTorch

SMALL = {"num_classes": 5, "width": 1 / 16}
WRITTEN = {
    "resnet18": SMALL,
    "resnet50": SMALL | {"dense": True},
    "densenet161": SMALL,
    "vgg16": SMALL,
    "mobilenet_v2": SMALL | {"dense": True},
    "torchvision-fcn_resnet50": SMALL | {"auxiliary": False},
    "torchvision-deeplabv3_resnet101": SMALL | {"head_width": 12},
    "mobilenet_v3_large": SMALL | {"width": 1 / 4},
    "torchvision-deeplabv3_mobilenet_v3_large": {"num_classes": 5, "width": 1.25, "head_width": 12},
    "torchvision-lraspp_mobilenet_v3_large": {"num_classes": 5, "width": 0.75, "head_width": 12},
}


def statistics_drawn(model):
    generator = np.random.default_rng(2)
    state = {name: generator.random(array.shape, np.float32) for name, array in model.state_dict().items()}
    model.load_state_dict(state)
    return model


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read_bit_for_bit(tmp_path, name):
    model, path = statistics_drawn(models.build(name, **WRITTEN[name])), tmp_path / "weights.npz"
    save_torchvision_npz(path, model)
    again = load_pretrained(path)
    equal(again, model)
    assert again.config["name"] == name
    save_torchvision_npz(tmp_path / "again.npz", again)
    equal(load_pretrained(tmp_path / "again.npz"), model)


def shapes_of(model):
    return {name: array.shape for name, array in model.state_dict().items()}


@pytest.mark.parametrize(("name", "least"), [("mobilenet_v2", 1 / 64), ("mobilenet_v3_large", 1 / 4)])
@given(data=st.data())
def test_a_width_is_found_behind_rounded_channels(name, least, data):
    """A MobileNet is rebuilt from its shapes alone, whatever its width; of a published width, with that width."""
    # at 1.1112, 16 of 17.78 channels would be more than 10 % less: there are 24
    width = data.draw(st.floats(least, 2) | st.sampled_from((*MULTIPLIERS, 1.1112)))
    layout = next(layout for layout in LAYOUTS if layout.writes_model(name))
    model = models.create(name, width=width)
    stored = {layout.stored_name(ours): shape[::-1] for ours, shape in shapes_of(model).items()}  # (K, ...) as there
    found, options = layout.describe(stored)
    assert found == name and shapes_of(models.create(name, **options)) == shapes_of(model)
    assert width not in MULTIPLIERS or options.get("width", 1.0) == width


def test_mobilenet_v3_small_is_not_taken_for_large(tmp_path):
    save_torchvision_npz(tmp_path / "weights.npz", models.build("mobilenet_v3_large", num_classes=5, width=0.25))
    with np.load(tmp_path / "weights.npz") as file:
        small = {name: array for name, array in file.items() if not re.match(r"features\.1[2-5]\.", name)}
    assert "has 11 blocks, as MobileNetV3-Small has; only MobileNetV3-Large, with 15" in refusal(tmp_path, small)


def test_another_backbone_of_a_known_head(tmp_path):
    names = "aspp.aspp1.bn.weight", "aspp.conv1.weight", "backbone.features.0.0.weight", "decoder.last_conv.8.weight"
    arrays = {name: np.ones((4, 4, 1, 1), np.float32) for name in names}
    assert "no backbone.layer1 to backbone.layer4, so its backbone is no ResNet" in refusal(tmp_path, arrays)


def test_channels_of_no_width(tmp_path):
    save_torchvision_npz(tmp_path / "weights.npz", models.build("mobilenet_v2", **SMALL))
    with np.load(tmp_path / "weights.npz") as file:
        wrong = dict(file) | {"features.17.conv.2.weight": np.zeros((4, 1, 1, 1), np.float32)}
    assert "layers have [8, 8, 8, 8, 8, 8, 16, 4, 1280] channels, which no width of this network gives" in refusal(
        tmp_path, wrong
    )


def test_options_of_the_constructor(tmp_path):
    save_torchvision_npz(tmp_path / "weights.npz", models.build("resnet18", **SMALL))
    model = load_pretrained(tmp_path / "weights.npz", dense=True, output_stride=8)
    with no_grad():
        assert model(Tensor(np.zeros((1, 41, 33, 3), np.float32))).shape == (1, 41, 33, 5)
    with pytest.raises(ValueError, match="resnet18 has no option depth; it has num_classes, dense"):
        load_pretrained(tmp_path / "weights.npz", depth=50)


def test_an_own_checkpoint(tmp_path):
    model = models.build("deeplabv3plus", num_classes=3, width=1 / 16, head_width=8)
    palette = np.zeros((256, 3), np.uint8)
    Checkpoint(model.config, model.state_dict(), ["a", "b", "c"], palette).save(tmp_path / "best.npz")
    equal(load_pretrained(tmp_path / "best.npz"), model)
    with pytest.raises(ValueError, match="a checkpoint of this project, it takes no width"):
        load_pretrained(tmp_path / "best.npz", width=1)


@pytest.fixture
def arrays(tmp_path):
    """The arrays of a small ResNet-18."""
    save_torchvision_npz(tmp_path / "weights.npz", models.build("resnet18", **SMALL))
    with np.load(tmp_path / "weights.npz") as file:
        return dict(file)


def refusal(tmp_path, arrays):
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(tmp_path / "weights.npz")
    assert str(caught.value).startswith(f"{tmp_path / 'weights.npz'}: ")
    return str(caught.value)


def test_arrays_that_do_not_fit(tmp_path, arrays):
    del arrays["layer3.1.conv2.weight"]
    arrays["layer2.0.bn1.bias"] = np.zeros(3, np.float32)
    arrays["se.weight"] = np.zeros((4, 2), np.float32)
    message = refusal(tmp_path, arrays)
    assert "recognised as torchvision's resnet18 ... 152" in message
    assert "but 1 arrays are missing, 1 are unknown and 1 have another shape" in message
    assert "  layer3.1.conv2.weight: (16, 16, 3, 3) / nothing\n" in message
    assert "  layer2.0.bn1.bias: (8,) / (3,)\n" in message
    assert "  se.weight: nothing / (4, 2)\n" in message
    assert "give options that fit the file" in message


def test_a_long_table_is_cut(tmp_path, arrays):
    message = refusal(tmp_path, {name: array for name, array in arrays.items() if ".bn" not in name})
    assert len(re.findall(r"\n  layer.* / nothing|\n  bn1.* / nothing", message)) == 20 and re.search(
        r"\n  \.\.\. and \d+ more\n", message
    )


def test_where_nothing_fits_the_message_is_short(tmp_path, arrays):
    message = refusal(tmp_path, {name: np.zeros((*a.shape, 1)) for name, a in arrays.items() if "conv" in name})
    assert "recognised as torchvision's resnet18 ... 152, but none of the 17 arrays has" in message
    assert len(message) < 1000 and "give options that fit the file" in message


def test_a_wanted_array_that_is_none_is_named(tmp_path, arrays):
    for name in ("conv1.weight", "layer3.0.bn1.bias"):
        message = refusal(tmp_path, arrays | {name: np.array(None)})
        assert f"'{name}' is an array of type object, which is not read; nothing was run; if you trust it" in message
    np.savez(tmp_path / "weights.npz", **arrays, note=np.array("hello"))
    load_pretrained(tmp_path / "weights.npz")


def test_a_shape_that_asks_for_a_giant_costs_nothing(tmp_path, arrays):
    """The first layer's channels are the width of the whole network."""
    np.savez(tmp_path / "weights.npz", **arrays | {"conv1.weight": np.zeros((40000, 1), np.float32)})
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"resnet18 with .*'width': 625.* is much larger than the arrays"):
        load_pretrained(tmp_path / "weights.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


# -------------------------------------------------------------------- backbones alone

BACKBONES = {  # name: (prefix of the classifier's arrays, how many, options)
    "resnet18": ("fc.", 2, SMALL),
    "densenet121": ("classifier.", 2, SMALL),
    "vgg16": ("classifier.", 6, SMALL),
    "mobilenet_v2": ("classifier.", 2, SMALL | {"width": 0.25}),  # whose 1280 channels are those of any width
}


def without_classifier(tmp_path, name):
    """(a model, the path of its file without the classifier)."""
    model = statistics_drawn(models.build(name, **BACKBONES[name][2]))
    save_torchvision_npz(tmp_path / "whole.npz", model)
    with np.load(tmp_path / "whole.npz") as file:
        kept = {key: array for key, array in file.items() if not key.startswith(BACKBONES[name][0])}
    np.savez(tmp_path / "backbone.npz", **kept)
    return model, tmp_path / "backbone.npz"


@pytest.mark.parametrize("name", BACKBONES)
def test_without_a_classifier_a_file_is_a_backbone(tmp_path, name):
    model, path = without_classifier(tmp_path, name)
    with pytest.warns(UserWarning, match=r"backbone\.npz: a backbone without a classifier.*train them"):
        found = load_pretrained(path)
    equal(found.backbone, model.backbone)
    assert found.config["num_classes"] == 1000 and not found.training
    with pytest.warns(UserWarning, match="without a classifier"):
        found = load_pretrained(path, num_classes=7)
    state, given = found.state_dict(), model.state_dict()
    last = [key for key in given if key.startswith("last.")]  # before the pooling
    assert len(last) == (5 if name == "mobilenet_v2" else 0)
    assert all((state[key] == given[key]).all() for key in last)
    scores = [array for key, array in state.items() if not key.startswith(("backbone.", "last."))]
    assert len(scores) == BACKBONES[name][1] and sum(array.any() for array in scores) == len(scores) // 2  # no bias


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("mobilenet_v2", {"name": "deeplabv3plus", "backbone": "mobilenet_v2", "head_width": 8, "num_classes": 5}),
        ("resnet18", {"name": "deeplabv3plus", "backbone": "resnet18", "head_width": 8, "num_classes": 5}),
        ("resnet18", {"name": "resnet18", "dense": True, "num_classes": 5}),
        ("resnet18", {"name": "resnet18", "num_classes": 1000}),
        ("densenet121", {"name": "densenet121", "num_classes": 1000}),
        ("vgg16", {"name": "fcn-32s", "num_classes": 5}),
    ],
)
def test_training_starts_from_a_backbone(tmp_path, recwarn, name, trained):
    source, path = without_classifier(tmp_path, name)
    width = BACKBONES[name][2]["width"]
    model, other = (models.build(**trained, width=width, seed=3) for _ in range(2))
    note = initialise(model, path)
    given, untouched = source.state_dict(), other.state_dict()
    taken = [key for key in untouched if key.startswith("backbone.")]
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, (given if key in taken else untouched)[key], err_msg=key)
    assert f"{len(taken)} of {len(untouched)} arrays" in note and not recwarn.list


def test_half_a_classifier_is_no_backbone(tmp_path, arrays):
    del arrays["fc.bias"]
    assert "1 arrays are missing" in refusal(tmp_path, arrays)


def test_an_unknown_layout(tmp_path):
    message = refusal(tmp_path, {f"encoder.{i}.kernel": np.zeros(2) for i in range(7)})
    assert "no known layout has its 7 arrays\n  'encoder.0.kernel', " in message and " and 4 more\n" in message
    assert all(layout.title in message for layout in LAYOUTS)
    assert "numpy.savez" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": None}, "it has no 'fc.weight', from whose shape the number of classes is read"),
        ({"layer4.2.conv1.weight": np.zeros(1)}, r"its stages have (2, 2, 2, 3) units of two convolutions, only"),
        ({"fc.bias": np.full(5, np.nan, np.float32)}, "'fc.bias' holds values that are not finite"),
        ({"fc.weight": np.zeros((2**40, 0), np.float32)}, "it has no 'fc.weight'"),
    ],
)
def test_other_faults(tmp_path, arrays, change, message):
    changed = {name: array for name, array in (arrays | change).items() if array is not None}
    assert message in refusal(tmp_path, changed)


def test_two_spellings_of_one_array(tmp_path):
    save_torchvision_npz(tmp_path / "weights.npz", models.build("densenet121", **SMALL))
    with np.load(tmp_path / "weights.npz") as file:
        arrays = dict(file)
    name = "features.denseblock1.denselayer1.conv1.weight"
    assert f"two of its names mean '{name}'" in refusal(tmp_path, arrays | {name.replace("1.w", ".1.w"): arrays[name]})


def test_what_torchvision_does_not_have(tmp_path):
    for model in (models.build("resnet18", width=1 / 32).backbone, models.build("segnet", width=1 / 32)):
        with pytest.raises(ValueError, match=r"torchvision has no .*; it has torchvision-fcn_resnet50, .*vgg16"):
            save_torchvision_npz(tmp_path / "weights.npz", model)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deeplabv3plus", {"refinements": 1, "align_corners": False, "first_rate": "previous", "head_width": 8}),
        ("deeplabv3", {"refine": True, "align_corners": False, "first_rate": "previous", "head_width": 8}),
        ("deeplabv2-aspp-s", {"align_corners": False, "multi_scale": True}),
    ],
)
def test_the_sources_forms_can_be_trained_further(name, options):
    model = models.build(name, num_classes=3, width=1 / 32, **options)
    image = Tensor(np.random.default_rng(0).standard_normal((2, 41, 38, 3)).astype(np.float32))
    model.loss(image, np.ones((2, 41, 38), np.uint8)).backward()
    assert all(np.isfinite(p.grad).all() for p in model.parameters())


def test_a_decoder_has_one_to_three_refinements():
    with pytest.raises(ValueError, match="refinements must be 1, 2 or 3, got 4"):
        models.create("deeplabv3plus", refinements=4, width=1 / 32)
