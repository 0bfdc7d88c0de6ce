"""The names of weights in other programs: rules that make them of ours, one table for each part of a network.

A rule is (pattern, replacement) as of `re.sub`; the rules of a table are applied one after the other. Sources as of
`layouts`.
"""

import re
from collections.abc import Callable

from minideeplab.models.backbones.mobilenetv2 import STAGES
from minideeplab.models.backbones.mobilenetv3 import MOBILENETV3S

Rules = tuple[tuple[str, str | Callable], ...]


def renamed(name: str, rules: Rules) -> str:
    """The name after all rules."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def unit(ours, conv, norm) -> Rules:
    """A ConvNorm, whose convolution and batch norm the source names each by itself."""
    return ((rf"\b{ours}\.conv\b", conv), (rf"\b{ours}\.norm\b", norm))


def _from_one(text):
    """Counts that begin at 0 here and at 1 there."""
    return lambda match: text.format(*(int(group) + 1 for group in match.groups()))


def aspp(ours, theirs) -> Rules:
    """torchvision's ASPP, which others have taken over; convs.4.0 is the pooling, without weights."""
    return (
        *unit(rf"{ours}\.branches\.(\d)", rf"{theirs}.convs.\1.0", rf"{theirs}.convs.\1.1"),
        *unit(rf"{ours}\.image_pooling", f"{theirs}.convs.4.1", f"{theirs}.convs.4.2"),
        *unit(rf"{ours}\.project", f"{theirs}.project.0", f"{theirs}.project.1"),
    )


def fcn_head(ours, theirs) -> Rules:
    return (*unit(rf"{ours}\.conv", f"{theirs}.0", f"{theirs}.1"), (rf"\b{ours}\.score\b", f"{theirs}.4"))


LEAVES = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
RESNET = (
    (r"\bstages\.(\d)\.layers", _from_one("layer{}")),
    *unit("stem", "conv1", "bn1"),
    *unit(r"conv(\d)", r"conv\1", r"bn\1"),
    *unit("shortcut", "downsample.0", "downsample.1"),
)
FCN = (*RESNET, *fcn_head("head", "classifier"), *fcn_head("auxiliary", "aux_classifier"), *LEAVES)
DEEPLABV3_HEADS = (
    *aspp(r"head\.aspp", "classifier.0"),
    *unit(r"head\.conv", "classifier.1", "classifier.2"),
    (r"^head\.score\b", "classifier.4"),
    *fcn_head("auxiliary", "aux_classifier"),
)
DEEPLABV3 = (*RESNET, *DEEPLABV3_HEADS, *LEAVES)
CLASSIFIER = (*RESNET, (r"^backbone\.", ""), (r"^head\b", "fc"), *LEAVES)
DENSENET = (
    (r"\bblocks\.(\d+)\.layers\.(\d+)", _from_one("denseblock{}.denselayer{}")),
    (r"(denselayer\d+\.)(norm|conv)\b", lambda match: match[1] + {"norm": "norm1", "conv": "conv2"}[match[2]]),
    *unit("bottleneck", "conv1", "norm2"),
    (r"\btransitions\.(\d+)", _from_one("transition{}")),
    *unit("stem", "conv0", "norm0"),
    (r"^backbone\.norm\b", "features.norm5"),
    (r"^backbone\b", "features"),
    (r"^head\b", "classifier"),
    *LEAVES,
)


def _in_block(features):
    """A part of one of our blocks -> features.N.block.P, P counting the parts that this block has."""

    def place(match):
        i, part = int(match[1]), match[2]
        *_, gated, _, _ = MOBILENETV3S["mobilenet_v3_large"][i]
        depthwise = 1 if i else 0  # the first block does not expand
        gate, pointwise = depthwise + 1, depthwise + (2 if gated else 1)
        places = {
            "expand.conv": "0.0",
            "expand.norm": "0.1",
            "separable.depthwise": f"{depthwise}.0",
            "separable.depthwise_norm": f"{depthwise}.1",
            "separable.gate.squeeze": f"{gate}.fc1",
            "separable.gate.excite": f"{gate}.fc2",
            "separable.pointwise": f"{pointwise}.0",
            "separable.pointwise_norm": f"{pointwise}.1",
        }
        return f"{features}.{i + 1}.block.{places[part]}"

    return place


def mobilenet_v3(features) -> Rules:
    """The backbone, under the name `features`; the stem is the first of its parts, the last 1x1 the last."""
    last = len(MOBILENETV3S["mobilenet_v3_large"]) + 1
    return (
        *unit(r"backbone\.stem", f"{features}.0.0", f"{features}.0.1"),
        *unit(r"backbone\.last", f"{features}.{last}.0", f"{features}.{last}.1"),
        (r"^backbone\.blocks\.(\d+)\.(expand\.(?:conv|norm)|separable\.(?:gate\.)?\w+)", _in_block(features)),
    )


MOBILENETV3 = (*mobilenet_v3("features"), (r"^hidden\b", "classifier.0"), (r"^head\b", "classifier.3"), *LEAVES)
DEEPLABV3_MOBILENETV3 = (*mobilenet_v3("backbone"), *DEEPLABV3_HEADS, *LEAVES)
LRASPP_MOBILENETV3 = (
    *mobilenet_v3("backbone"),
    *unit(r"head\.conv", "classifier.cbr.0", "classifier.cbr.1"),
    (r"^head\.gate\b", "classifier.scale.1"),
    (r"^head\.low_score\b", "classifier.low_classifier"),
    (r"^head\.score\b", "classifier.high_classifier"),
    *LEAVES,
)
_VGG_FEATURES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # of each block; ReLU and pooling between
VGG = (
    *(
        (rf"^backbone\.blocks\.{i}\.convs\.{j}\.conv\b", f"features.{position}")
        for i, block in enumerate(_VGG_FEATURES)
        for j, position in enumerate(block)
    ),
    (r"^scores\.fc6\.conv\b", "classifier.0"),
    (r"^scores\.fc7\.conv\b", "classifier.3"),
    (r"^scores\.fc8\b", "classifier.6"),
)
JFZHANG_V3PLUS = (
    *RESNET,
    (r"^aspp\.branches\.(\d)", _from_one("aspp.aspp{}")),
    *unit(r"aspp(\d)", r"aspp\1.atrous_conv", r"aspp\1.bn"),
    *unit(r"aspp\.image_pooling", "aspp.global_avg_pool.1", "aspp.global_avg_pool.2"),
    *unit(r"aspp\.project", "aspp.conv1", "aspp.bn1"),
    *unit(r"decoder\.reduce", "decoder.conv1", "decoder.bn1"),
    *unit(r"decoder\.refine1", "decoder.last_conv.0", "decoder.last_conv.1"),
    *unit(r"decoder\.refine2", "decoder.last_conv.4", "decoder.last_conv.5"),
    (r"^head\b", "decoder.last_conv.8"),
    *LEAVES,
)
_VAINF_V3PLUS_HEAD = (
    *aspp("aspp", "classifier.aspp"),
    *unit(r"decoder\.reduce", "classifier.project.0", "classifier.project.1"),
    *unit(r"decoder\.refine1", "classifier.classifier.0", "classifier.classifier.1"),
    (r"^head\b", "classifier.classifier.3"),
    *LEAVES,
)
VAINF_V3PLUS = (*RESNET, *_VAINF_V3PLUS_HEAD)
_VAINF_V3_HEAD = (
    *aspp("aspp", "classifier.classifier.0"),
    *unit("refine", "classifier.classifier.1", "classifier.classifier.2"),
    (r"^head\b", "classifier.classifier.4"),
    *LEAVES,
)
VAINF_V3 = (*RESNET, *_VAINF_V3_HEAD)


def _in_one_row(match):
    """(stage, block) -> a number among all blocks; the stem is 0."""
    stage, block = map(int, match.groups())
    return f"features.{1 + sum(count for *_, count, _ in STAGES[:stage]) + block}"


def _in_two_parts(match):
    """VainF's backbone: what reaches stride 4, and the rest, which keeps its numbers (a slice of a Sequential does)."""
    return f"{'low' if int(match[1]) < 4 else 'high'}_level_features.{match[1]}"


_MOBILENETV2 = (
    (r"\bstages\.(\d)\.layers\.(\d)", _in_one_row),
    *unit("stem", "features.0.0", "features.0.1"),
    *unit("expand", "conv.0.0", "conv.0.1"),
    (r"\bseparable\.depthwise\b", "conv.1.0"),
    (r"\bseparable\.depthwise_norm\b", "conv.1.1"),
    (r"\bseparable\.pointwise\b", "conv.2"),
    (r"\bseparable\.pointwise_norm\b", "conv.3"),
    (r"\bfeatures\.1\.conv\.(\d)", lambda match: f"features.1.conv.{int(match[1]) - 1}"),  # it has no first 1x1
)
MOBILENETV2 = (
    *_MOBILENETV2,
    *unit("last", "features.18.0", "features.18.1"),
    (r"^backbone\.", ""),
    (r"^head\b", "classifier.1"),
    *LEAVES,
)
_VAINF_MOBILENET = (*_MOBILENETV2, (r"\bfeatures\.(\d+)", _in_two_parts))
VAINF_V3PLUS_MOBILENET = (*_VAINF_MOBILENET, *_VAINF_V3PLUS_HEAD)
VAINF_V3_MOBILENET = (*_VAINF_MOBILENET, *_VAINF_V3_HEAD)
KAZUTO_V2 = (
    (r"\bstages\.(\d)\.layers\.(\d+)", lambda match: f"layer{int(match[1]) + 2}.block{int(match[2]) + 1}"),
    (r"\bstem\b", "layer1.conv1"),
    (r"(block\d+)\.conv1\b", r"\1.reduce"),
    (r"(block\d+)\.conv2\b", r"\1.conv3x3"),
    (r"(block\d+)\.conv3\b", r"\1.increase"),
    (r"\.norm\b", ".bn"),
    (r"^backbone\.", ""),
    (r"^branches\.(\d)", r"aspp.c\1"),
    *LEAVES,
)
