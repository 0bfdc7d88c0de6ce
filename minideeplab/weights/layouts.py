"""How other programs name and store the weights of the networks that are here, too: one table for each source.

Rules go from our names to those of the file, so that the same table reads and writes. Sources of names and behaviours:
torchvision (github.com/pytorch/vision), jfzhang95/pytorch-deeplab-xception, VainF/DeepLabV3Plus-Pytorch,
kazuto1011/deeplab-pytorch.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minideeplab.data import IMAGE_MEAN, IMAGE_STD
from minideeplab.files.refusal import Refusal, shown
from minideeplab.models.backbones.base import multiple_of_8
from minideeplab.models.backbones.densenet import DENSENETS
from minideeplab.models.backbones.mobilenetv2 import MULTIPLIERS, STAGES
from minideeplab.models.backbones.resnet import RESNETS
from minideeplab.weights import layout_names
from minideeplab.weights.formats import RESAVE_PLAIN
from minideeplab.weights.layout_names import Rules, renamed

Shapes = dict[str, tuple[int, ...] | str]  # a text is what stands there instead of an array of numbers


@dataclass(frozen=True)
class Layout:
    """How one source stores one kind of network.

    Attributes:
        title: for messages.
        marks: patterns of names; a file in which each of them begins some name has this layout.
        rules: (pattern, replacement) pairs, applied one after the other to our names.
        describe: from the shapes of a file to the name of our model and the options of its constructor.
        writes: pattern of the names of the models that can be written in this layout.
        spellings: (pattern, replacement) pairs that bring other spellings in a file to that of the rules.
        head: pattern of the file's names that make class scores: a file without any of them is a backbone.
        linear: pattern of the file's names that are fully connected layers, (K, inputs), and convolutions here.
        fold: from our state, for the source's images, to that for our images; None where they are the same.
        typical: configurations of networks with this layout, whose names are compared with those of a file that has no
            known layout; empty: the networks that `writes` names.
    """

    title: str
    marks: tuple[str, ...]
    rules: Rules
    describe: Callable[[Shapes], tuple[str, dict]]
    writes: str = ""
    spellings: Rules = ()
    head: str = ""
    linear: str = ""
    fold: Callable[[dict], dict] | None = None
    typical: tuple[dict, ...] = field(default=(), compare=False)

    def recognises(self, names) -> bool:
        return all(any(re.match(mark, name) for name in names) for mark in self.marks)

    def writes_model(self, name: str) -> bool:
        return bool(self.writes and re.match(self.writes, name))

    def stored_name(self, ours: str) -> str:
        """The file's name for ours."""
        return renamed(ours, self.rules)

    def spelled(self, name: str) -> str:
        """A name of the file in the spelling of the rules."""
        return renamed(name, self.spellings)

    def is_head(self, stored: str) -> bool:
        return bool(self.head and re.match(self.head, stored))

    def is_linear(self, stored: str) -> bool:
        return bool(self.linear and re.match(self.linear, stored))


# ---------------------------------------------------------------- from shapes to models


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


_PLAIN_RESNETS = tuple(name for name in RESNETS if "-" not in name)


def _on_resnets(name, **options) -> tuple[dict, ...]:
    """Configurations of a network whose backbone is an option."""
    return tuple({"name": name, "backbone": backbone, **options} for backbone in _PLAIN_RESNETS)


def _resnet(shapes, prefix=""):
    units = _counts(shapes, rf"{re.escape(prefix)}layer([1-4])\.(\d+)\.")
    bottleneck = any(re.match(rf"{re.escape(prefix)}layer1\.\d+\.conv3\.", name) for name in shapes)
    for name in _PLAIN_RESNETS:
        if RESNETS[name] == (bottleneck, units):
            return name
    raise Refusal(
        f"its stages have {units or 'no'} units of {'three' if bottleneck else 'two'} convolutions, "
        f"only {', '.join(_PLAIN_RESNETS)} can be loaded, by themselves or as backbone"
    )


_FC, _CLASSIFIER = r"fc\.", r"classifier\."


def _classifier(shapes):
    return _resnet(shapes), {**_classes(shapes, "fc.weight", _FC), **_width(shapes, "conv1.weight")}


def _densenet(shapes):
    layers = _counts(shapes, r"features\.denseblock(\d+)\.denselayer(\d+)\.")
    named = {known: (name, 2 * growth) for name, (growth, known) in DENSENETS.items()}
    if layers not in named:
        raise Refusal(f"its blocks have {layers} layers, as none of {', '.join(DENSENETS)} has")
    name, full = named[layers]
    return name, {**_classes(shapes, "classifier.weight", _CLASSIFIER), **_width(shapes, "features.conv0.weight", full)}


def _multiplier(shapes, rules):
    """The option `width` of a MobileNetV2: as its channels are rounded, many fit; a published one is preferred."""
    layers = {f"backbone.stages.{i}.layers.0.separable.pointwise.weight": c for i, (_, c, _, _) in enumerate(STAGES)}
    layers = {renamed(ours, rules): c for ours, c in ({"backbone.stem.conv.weight": 32} | layers).items()}
    if (last := renamed("last.conv.weight", rules)) in shapes:
        layers[last] = 1280  # at least
    full = list(layers.values())
    found = [_channels(shapes, name, "the width") for name in layers]
    # all widths that fit lie between two numbers; the lower is where one layer begins to have its channels: at 4 less,
    # or above 10/9 of 8 less, see `multiple_of_8`
    begins = [(c - below) / part / of for c, of in zip(found, full, strict=True) for below, part in ((4, 1), (8, 0.9))]
    exact = [c / of for c, of in zip(found, full, strict=True)]
    for width in (*MULTIPLIERS, *exact, *(begin * (1 + 1e-9) for begin in begins)):
        if [multiple_of_8(c * (max(1, width) if c == 1280 else width)) for c in full] == found:
            return {} if width == 1 else {"width": width}
    raise Refusal(f"its stem and stages have {found} channels, which no width of MobileNetV2 gives")


def _mobilenetv2(shapes):
    classes = _classes(shapes, "classifier.1.weight", _CLASSIFIER)
    return "mobilenet_v2", {**classes, **_multiplier(shapes, layout_names.MOBILENETV2)}


def _vgg16(shapes):
    return "vgg16", {**_classes(shapes, "classifier.6.weight", _CLASSIFIER), **_width(shapes, "features.0.weight")}


def _mobilenet_v3_width(shapes, features):
    """From the largest expansion, whose rounding to multiples of 8 matters least."""
    return _width(shapes, f"{features}.15.block.0.0.weight", 960)


def _mobilenet_v3(shapes):
    classes = _classes(shapes, "classifier.3.weight", _CLASSIFIER)
    return "mobilenet_v3_large", {**classes, **_mobilenet_v3_width(shapes, "features")}


def _deeplabv3_mobilenet_v3(shapes):
    return "torchvision-deeplabv3_mobilenet_v3_large", {
        **_classes(shapes, "classifier.4.weight"),
        "auxiliary": any(name.startswith("aux_classifier.") for name in shapes),
        **_head_width(shapes, "classifier.0.project.0.weight"),
        **_mobilenet_v3_width(shapes, "backbone"),
    }


def _lraspp_mobilenet_v3(shapes):
    return "torchvision-lraspp_mobilenet_v3_large", {
        **_classes(shapes, "classifier.high_classifier.weight"),
        **_head_width(shapes, "classifier.cbr.0.weight", 128),
        **_mobilenet_v3_width(shapes, "backbone"),
    }


def _torchvision(head):
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


def _on_mobilenetv2(rules):
    return lambda shapes: {"backbone": "mobilenet_v2", **_multiplier(shapes, rules)}


def _segmenter(name, score, project, on=_on_resnet, **options):
    """A model whose backbone is an option, which `on` reads from the shapes."""

    def describe(shapes):
        return name, {**_classes(shapes, score), **_head_width(shapes, project), **on(shapes), **options}

    return describe


def _deeplabv2(shapes):
    options = {**_classes(shapes, "aspp.c0.weight"), **_width(shapes, "layer1.conv1.conv.weight")}
    return "deeplabv2-resnet101", {**options, "align_corners": False}  # and three scales, as that source always has


_CAFFE_MEAN_BGR = np.array([104.008, 116.669, 122.675])


def _from_caffe_images(state):
    """The first convolution for our images instead of BGR in 0 ... 255 minus a mean.

    With x = (c / 255 - mean) / std in RGB, the source's image is 255 std x + d, d = 255 mean - mean'. The factor goes
    into the weight, what the convolution makes of d into the running mean. Exact but for the zeros around the image,
    which now mean a colour that is off by |d| <= 1 of 255.
    """
    weight, mean = "backbone.stem.conv.weight", "backbone.stem.norm.running_mean"
    rgb = state[weight][:, :, ::-1].astype(np.float64)
    shift = 255 * IMAGE_MEAN.astype(np.float64) - _CAFFE_MEAN_BGR[::-1]
    return state | {
        weight: (rgb * 255 * IMAGE_STD[:, None]).astype(np.float32),
        mean: (state[mean] - np.einsum("hwck,c->k", rgb, shift)).astype(np.float32),
    }


# ---------------------------------------------------------------- all layouts; the first that recognises a file has it

_VAINF = {"align_corners": False, "first_rate": "previous", "multi_grid": (1, 1, 1)}  # its ResNet is torchvision's
_VAINF_MOBILENET = {"align_corners": False, "low_level": "block", "pad_before": "expansion"}

LAYOUTS = (
    Layout(
        "DeepLab v2 of kazuto1011/deeplab-pytorch",
        marks=(r"(base\.|scale\.)?layer1\.conv1\.conv\.",),
        rules=layout_names.KAZUTO_V2,
        describe=_deeplabv2,
        spellings=((r"^(base|scale)\.", ""), (r"^aspp\.stages\.", "aspp."), (r"\.proj\.", ".shortcut.")),
        fold=_from_caffe_images,
        typical=({"name": "deeplabv2-resnet101"},),
    ),
    Layout(
        "DeepLab v3+ on a ResNet of jfzhang95/pytorch-deeplab-xception",
        marks=(r"aspp\.aspp\d\.", r"decoder\.last_conv\."),
        rules=layout_names.JFZHANG_V3PLUS,
        describe=_segmenter("deeplabv3plus", "decoder.last_conv.8.weight", "aspp.conv1.weight"),
        typical=_on_resnets("deeplabv3plus"),
    ),
    Layout(
        "DeepLab v3+ on MobileNetV2 of VainF/DeepLabV3Plus-Pytorch",
        marks=(r"backbone\.low_level_features\.", r"classifier\.aspp\."),
        rules=layout_names.VAINF_V3PLUS_MOBILENET,
        describe=_segmenter(
            "deeplabv3plus",
            "classifier.classifier.3.weight",
            "classifier.aspp.project.0.weight",
            on=_on_mobilenetv2(layout_names.VAINF_V3PLUS_MOBILENET),
            separable=False,
            refinements=1,
            low_level_first=True,
            **_VAINF_MOBILENET,
        ),
        typical=(
            {
                "name": "deeplabv3plus",
                "backbone": "mobilenet_v2",
                "separable": False,
                "refinements": 1,
                "low_level": "block",
            },
        ),
    ),
    Layout(
        "DeepLab v3 on MobileNetV2 of VainF/DeepLabV3Plus-Pytorch",
        marks=(r"backbone\.low_level_features\.", r"classifier\.classifier\.0\."),
        rules=layout_names.VAINF_V3_MOBILENET,
        describe=_segmenter(
            "deeplabv3",
            "classifier.classifier.4.weight",
            "classifier.classifier.0.project.0.weight",
            on=_on_mobilenetv2(layout_names.VAINF_V3_MOBILENET),
            refine=True,
            **_VAINF_MOBILENET,
        ),
        typical=({"name": "deeplabv3", "backbone": "mobilenet_v2", "refine": True},),
    ),
    Layout(
        "DeepLab v3+ on a ResNet of VainF/DeepLabV3Plus-Pytorch",
        marks=(r"backbone\.", r"classifier\.aspp\."),
        rules=layout_names.VAINF_V3PLUS,
        describe=_segmenter(
            "deeplabv3plus",
            "classifier.classifier.3.weight",
            "classifier.aspp.project.0.weight",
            refinements=1,
            low_level_first=True,
            **_VAINF,
        ),
        typical=_on_resnets("deeplabv3plus", refinements=1),
    ),
    Layout(
        "DeepLab v3 on a ResNet of VainF/DeepLabV3Plus-Pytorch",
        marks=(r"backbone\.", r"classifier\.classifier\.0\."),
        rules=layout_names.VAINF_V3,
        describe=_segmenter(
            "deeplabv3",
            "classifier.classifier.4.weight",
            "classifier.classifier.0.project.0.weight",
            refine=True,
            **_VAINF,
        ),
        typical=_on_resnets("deeplabv3", refine=True),
    ),
    Layout(
        "torchvision's deeplabv3_mobilenet_v3_large",
        marks=(r"backbone\.\d+\.block\.", r"classifier\.0\.(convs|project)\."),
        rules=layout_names.DEEPLABV3_MOBILENETV3,
        describe=_deeplabv3_mobilenet_v3,
        writes=r"torchvision-deeplabv3_mobilenet_v3_large$",
    ),
    Layout(
        "torchvision's lraspp_mobilenet_v3_large",
        marks=(r"backbone\.\d+\.block\.", r"classifier\.cbr\."),
        rules=layout_names.LRASPP_MOBILENETV3,
        describe=_lraspp_mobilenet_v3,
        writes=r"torchvision-lraspp_mobilenet_v3_large$",
    ),
    Layout(
        "torchvision's deeplabv3_resnet50, 101",
        marks=(r"backbone\.", r"classifier\.0\.(convs|project)\."),
        rules=layout_names.DEEPLABV3,
        describe=_torchvision("deeplabv3"),
        writes=r"torchvision-deeplabv3_resnet",
    ),
    Layout(
        "torchvision's fcn_resnet50, 101",
        marks=(r"backbone\.layer\d\.", r"classifier\.\d\."),
        rules=layout_names.FCN,
        describe=_torchvision("fcn"),
        writes=r"torchvision-fcn_",
    ),
    Layout(
        "torchvision's resnet18 ... 152",
        marks=(r"conv1\.", r"layer1\.0\.conv1\."),
        rules=layout_names.CLASSIFIER,
        describe=_classifier,
        writes=r"resnet\d+$",
        head=_FC,
        linear=r"fc\.weight",
    ),
    Layout(
        "torchvision's densenet121, 161, 169, 201",
        marks=(r"features\.denseblock1\.",),
        rules=layout_names.DENSENET,
        describe=_densenet,
        writes=r"densenet\d+$",
        head=_CLASSIFIER,
        spellings=((r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2."),),
        linear=r"classifier\.weight",
    ),
    Layout(
        "torchvision's mobilenet_v2",
        marks=(r"features\.0\.0\.", r"features\.1\.conv\."),
        rules=layout_names.MOBILENETV2,
        describe=_mobilenetv2,
        writes=r"mobilenet_v2$",
        head=_CLASSIFIER,
        linear=r"classifier\.1\.weight",
    ),
    Layout(
        "torchvision's mobilenet_v3_large",
        marks=(r"features\.\d+\.block\.",),
        rules=layout_names.MOBILENETV3,
        describe=_mobilenet_v3,
        writes=r"mobilenet_v3_large$",
        head=_CLASSIFIER,
        linear=r"classifier\.\d\.weight",
    ),
    Layout(
        "torchvision's vgg16",
        marks=(r"features\.0\.(weight|bias)$", r"features\.28\.(weight|bias)$"),
        rules=layout_names.VGG,
        describe=_vgg16,
        writes=r"vgg16$",
        head=_CLASSIFIER,
        linear=r"classifier\.\d\.weight",
    ),
)
