"""From the shapes in a file to the name of our network and the options of its constructor: one function for each kind.

Each takes `Shapes`; what a file lacks, and shapes that no network here has, raise Refusal.
"""

import re
from collections import Counter

from minideeplab.files.refusal import Refusal, shown
from minideeplab.models.backbones.base import multiple_of_8
from minideeplab.models.backbones.densenet import DENSENETS
from minideeplab.models.backbones.mobilenetv2 import MULTIPLIERS, STAGES
from minideeplab.models.backbones.mobilenetv3 import MOBILENETV3S
from minideeplab.models.backbones.resnet import RESNETS
from minideeplab.weights import layout_names
from minideeplab.weights.formats import RESAVE_PLAIN
from minideeplab.weights.layout_names import renamed

Shapes = dict[str, tuple[int, ...] | str]  # a text is what stands there instead of an array of numbers


def not_read(name: str, what: str) -> Refusal:
    """Of an array that is wanted, and is something else."""
    return Refusal(f"{shown(name)} is {what}, which is not read; nothing was run; {RESAVE_PLAIN}")


def _channels(shapes, name, what):
    """The number of output channels of an array."""
    shape = shapes.get(name, ())
    if isinstance(shape, str):
        raise not_read(name, shape)
    if not shape or 0 in shape:
        raise Refusal(f"it has no {name!r}, from whose shape {what} is read; give a file of a whole network")
    return shape[0]


def _classes(shapes, name, head=""):
    """The option `num_classes`; none for a backbone, which has nothing of the head."""
    if head and not any(re.match(head, each) for each in shapes):
        return {}
    return {"num_classes": _channels(shapes, name, "the number of classes")}


def _width(shapes, name, full=64):
    """The option `width` of networks whose stem does not have the paper's number of channels."""
    channels = _channels(shapes, name, "the width")
    return {} if channels == full else {"width": channels / full}


def _head_width(shapes, name, full=256):
    channels = _channels(shapes, name, "the width of the head")
    return {} if channels == full else {"head_width": channels}


def _counts(shapes, pattern):
    """(stage, unit) in the names -> the number of units in each stage."""
    found = {match.groups() for name in shapes if (match := re.match(pattern, name))}
    return tuple(count for _, count in sorted(Counter(stage for stage, _ in found).items()))


PLAIN_RESNETS = tuple(name for name in RESNETS if "-" not in name)


def on_resnets(name, **options) -> tuple[dict, ...]:
    """Configurations of a network whose backbone is an option."""
    return tuple({"name": name, "backbone": backbone, **options} for backbone in PLAIN_RESNETS)


def _resnet(shapes, prefix=""):
    units = _counts(shapes, rf"{re.escape(prefix)}layer([1-4])\.(\d+)\.")
    bottleneck = any(re.match(rf"{re.escape(prefix)}layer1\.\d+\.conv3\.", name) for name in shapes)
    for name in PLAIN_RESNETS:
        if RESNETS[name] == (bottleneck, units):
            return name
    known = f"only {', '.join(PLAIN_RESNETS)} can be loaded, by themselves or as backbone"
    if not units:
        raise Refusal(f"it has no {prefix}layer1 to {prefix}layer4, so its backbone is no ResNet; {known}")
    raise Refusal(f"its stages have {units} units of {'three' if bottleneck else 'two'} convolutions, {known}")


FC, CLASSIFIER = r"fc\.", r"classifier\."


def resnet(shapes):
    return _resnet(shapes), {**_classes(shapes, "fc.weight", FC), **_width(shapes, "conv1.weight")}


def densenet(shapes):
    layers = _counts(shapes, r"features\.denseblock(\d+)\.denselayer(\d+)\.")
    named = {known: (name, 2 * growth) for name, (growth, known) in DENSENETS.items()}
    if layers not in named:
        raise Refusal(f"its blocks have {layers} layers, as none of {', '.join(DENSENETS)} has")
    name, full = named[layers]
    return name, {**_classes(shapes, "classifier.weight", CLASSIFIER), **_width(shapes, "features.conv0.weight", full)}


def _multiplier(shapes, rules, layers, of_classifier=()):
    """The option `width` of a MobileNet: as its channels are rounded, many fit; a published one is preferred.

    Args:
        rules: of the layout; layers: {our name of a weight: its output channels at width 1}.
        of_classifier: (our name, channels, the least width that counts) of the layer that a classifier has besides.
    """
    rows = [(renamed(ours, rules), channels, 0) for ours, channels in layers.items()]
    if of_classifier and (stored := renamed(of_classifier[0], rules)) in shapes:
        rows.append((stored, *of_classifier[1:]))
    found = [_channels(shapes, stored, "the width") for stored, *_ in rows]
    # `multiple_of_8` gives c channels from (c - 4) / full on, or from (c - 8) / (0.9 full) on where that is later; the
    # largest of these begins fits all layers, if any width does
    begins = [
        (c - less) / part / full
        for c, (_, full, _) in zip(found, rows, strict=True)
        for less, part in ((4, 1), (8, 0.9))
    ]
    exact = [c / full for c, (_, full, _) in zip(found, rows, strict=True)]
    for width in (*MULTIPLIERS, *exact, *(begin * (1 + 1e-9) for begin in begins)):
        if [multiple_of_8(full * max(least, width)) for _, full, least in rows] == found:
            return {} if width == 1 else {"width": width}
    raise Refusal(f"its layers have {found} channels, which no width of this network gives")


_MOBILENETV2 = {
    "backbone.stem.conv.weight": 32,
    **{f"backbone.stages.{i}.layers.0.separable.pointwise.weight": c for i, (_, c, _, _) in enumerate(STAGES)},
}


def _mobilenetv2_width(shapes, rules):
    return _multiplier(shapes, rules, _MOBILENETV2, ("last.conv.weight", 1280, 1))


def mobilenetv2(shapes):
    classes = _classes(shapes, "classifier.1.weight", CLASSIFIER)
    return "mobilenet_v2", {**classes, **_mobilenetv2_width(shapes, layout_names.MOBILENETV2)}


_MOBILENETV3 = {
    f"backbone.blocks.{i}.separable.{part}.weight": c
    for i, row in enumerate(MOBILENETV3S["mobilenet_v3_large"])
    for part, c in (("depthwise", row[1]), ("pointwise", row[2]))
}


def _mobilenetv3_width(shapes, rules, features):
    blocks = {match[1] for name in shapes if (match := re.match(rf"{features}\.(\d+)\.block\.", name))}
    if len(blocks) != len(MOBILENETV3S["mobilenet_v3_large"]):
        kind = ", as MobileNetV3-Small has" if len(blocks) == 11 else ""
        raise Refusal(f"its MobileNetV3 has {len(blocks)} blocks{kind}; only MobileNetV3-Large, with 15, can be loaded")
    return _multiplier(shapes, rules, _MOBILENETV3, ("hidden.weight", 1280, 0))


def mobilenetv3(shapes):
    classes = _classes(shapes, "classifier.3.weight", CLASSIFIER)
    return "mobilenet_v3_large", {**classes, **_mobilenetv3_width(shapes, layout_names.MOBILENETV3, "features")}


def deeplabv3_mobilenetv3(shapes):
    return "torchvision-deeplabv3_mobilenet_v3_large", {
        **_classes(shapes, "classifier.4.weight"),
        "auxiliary": any(name.startswith("aux_classifier.") for name in shapes),
        **_head_width(shapes, "classifier.0.project.0.weight"),
        **_mobilenetv3_width(shapes, layout_names.DEEPLABV3_MOBILENETV3, "backbone"),
    }


def lraspp_mobilenetv3(shapes):
    return "torchvision-lraspp_mobilenet_v3_large", {
        **_classes(shapes, "classifier.high_classifier.weight"),
        **_head_width(shapes, "classifier.cbr.0.weight", 128),
        **_mobilenetv3_width(shapes, layout_names.LRASPP_MOBILENETV3, "backbone"),
    }


def vgg16(shapes):
    return "vgg16", {**_classes(shapes, "classifier.6.weight", CLASSIFIER), **_width(shapes, "features.0.weight")}


def torchvision(head):
    def describe(shapes):
        options = {"auxiliary": any(name.startswith("aux_classifier.") for name in shapes)}
        if head == "deeplabv3":
            options |= _head_width(shapes, "classifier.0.project.0.weight")
        options |= _width(shapes, "backbone.conv1.weight")
        classes = _classes(shapes, "classifier.4.weight")
        return f"torchvision-{head}_{_resnet(shapes, 'backbone.')}", {**classes, **options}

    return describe


def _on_resnet(shapes):
    return {"backbone": _resnet(shapes, "backbone."), **_width(shapes, "backbone.conv1.weight")}


def on_mobilenetv2(rules):
    return lambda shapes: {"backbone": "mobilenet_v2", **_mobilenetv2_width(shapes, rules)}


def segmenter(name, score, project, on=_on_resnet, **options):
    """A model whose backbone is an option, which `on` reads from the shapes."""

    def describe(shapes):
        return name, {**_classes(shapes, score), **_head_width(shapes, project), **on(shapes), **options}

    return describe


def deeplabv2(shapes):
    options = {**_classes(shapes, "aspp.c0.weight"), **_width(shapes, "layer1.conv1.conv.weight")}
    return "deeplabv2-resnet101", {**options, "align_corners": False}  # and three scales, as that source always has
