"""How other programs name and store the weights of the networks that are here, too: one table for each source.

Rules go from our names to those of the file, so that the same table reads and writes. Sources of names and behaviours:
torchvision (github.com/pytorch/vision), jfzhang95/pytorch-deeplab-xception, VainF/DeepLabV3Plus-Pytorch,
kazuto1011/deeplab-pytorch.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minideeplab.data import IMAGE_MEAN, IMAGE_STD
from minideeplab.weights import layout_names, layout_options
from minideeplab.weights.layout_names import Rules, renamed
from minideeplab.weights.layout_options import CLASSIFIER, FC, Shapes, on_resnets


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


# ---------------------------------------------------------------- images of other programs

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
        describe=layout_options.deeplabv2,
        spellings=((r"^(base|scale)\.", ""), (r"^aspp\.stages\.", "aspp."), (r"\.proj\.", ".shortcut.")),
        fold=_from_caffe_images,
        typical=({"name": "deeplabv2-resnet101"},),
    ),
    Layout(
        "DeepLab v3+ on a ResNet of jfzhang95/pytorch-deeplab-xception",
        marks=(r"aspp\.aspp\d\.", r"decoder\.last_conv\."),
        rules=layout_names.JFZHANG_V3PLUS,
        describe=layout_options.segmenter("deeplabv3plus", "decoder.last_conv.8.weight", "aspp.conv1.weight"),
        typical=on_resnets("deeplabv3plus"),
    ),
    Layout(
        "DeepLab v3+ on MobileNetV2 of VainF/DeepLabV3Plus-Pytorch",
        marks=(r"backbone\.low_level_features\.", r"classifier\.aspp\."),
        rules=layout_names.VAINF_V3PLUS_MOBILENET,
        describe=layout_options.segmenter(
            "deeplabv3plus",
            "classifier.classifier.3.weight",
            "classifier.aspp.project.0.weight",
            on=layout_options.on_mobilenetv2(layout_names.VAINF_V3PLUS_MOBILENET),
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
        describe=layout_options.segmenter(
            "deeplabv3",
            "classifier.classifier.4.weight",
            "classifier.classifier.0.project.0.weight",
            on=layout_options.on_mobilenetv2(layout_names.VAINF_V3_MOBILENET),
            refine=True,
            **_VAINF_MOBILENET,
        ),
        typical=({"name": "deeplabv3", "backbone": "mobilenet_v2", "refine": True},),
    ),
    Layout(
        "DeepLab v3+ on a ResNet of VainF/DeepLabV3Plus-Pytorch",
        marks=(r"backbone\.", r"classifier\.aspp\."),
        rules=layout_names.VAINF_V3PLUS,
        describe=layout_options.segmenter(
            "deeplabv3plus",
            "classifier.classifier.3.weight",
            "classifier.aspp.project.0.weight",
            refinements=1,
            low_level_first=True,
            **_VAINF,
        ),
        typical=on_resnets("deeplabv3plus", refinements=1),
    ),
    Layout(
        "DeepLab v3 on a ResNet of VainF/DeepLabV3Plus-Pytorch",
        marks=(r"backbone\.", r"classifier\.classifier\.0\."),
        rules=layout_names.VAINF_V3,
        describe=layout_options.segmenter(
            "deeplabv3",
            "classifier.classifier.4.weight",
            "classifier.classifier.0.project.0.weight",
            refine=True,
            **_VAINF,
        ),
        typical=on_resnets("deeplabv3", refine=True),
    ),
    Layout(
        "torchvision's deeplabv3_mobilenet_v3_large",
        marks=(r"backbone\.\d+\.block\.", r"classifier\.0\.(convs|project)\."),
        rules=layout_names.DEEPLABV3_MOBILENETV3,
        describe=layout_options.deeplabv3_mobilenetv3,
        writes=r"torchvision-deeplabv3_mobilenet_v3_large$",
    ),
    Layout(
        "torchvision's lraspp_mobilenet_v3_large",
        marks=(r"backbone\.\d+\.block\.", r"classifier\.cbr\."),
        rules=layout_names.LRASPP_MOBILENETV3,
        describe=layout_options.lraspp_mobilenetv3,
        writes=r"torchvision-lraspp_mobilenet_v3_large$",
    ),
    Layout(
        "torchvision's deeplabv3_resnet50, 101",
        marks=(r"backbone\.", r"classifier\.0\.(convs|project)\."),
        rules=layout_names.DEEPLABV3,
        describe=layout_options.torchvision("deeplabv3"),
        writes=r"torchvision-deeplabv3_resnet",
    ),
    Layout(
        "torchvision's fcn_resnet50, 101",
        marks=(r"backbone\.layer\d\.", r"classifier\.\d\."),
        rules=layout_names.FCN,
        describe=layout_options.torchvision("fcn"),
        writes=r"torchvision-fcn_",
    ),
    Layout(
        "torchvision's resnet18 ... 152",
        marks=(r"conv1\.", r"layer1\.0\.conv1\."),
        rules=layout_names.CLASSIFIER,
        describe=layout_options.resnet,
        writes=r"resnet\d+$",
        head=FC,
        linear=r"fc\.weight",
    ),
    Layout(
        "torchvision's densenet121, 161, 169, 201",
        marks=(r"features\.denseblock1\.",),
        rules=layout_names.DENSENET,
        describe=layout_options.densenet,
        writes=r"densenet\d+$",
        head=CLASSIFIER,
        spellings=((r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2."),),
        linear=r"classifier\.weight",
    ),
    Layout(
        "torchvision's mobilenet_v2",
        marks=(r"features\.0\.0\.", r"features\.1\.conv\."),
        rules=layout_names.MOBILENETV2,
        describe=layout_options.mobilenetv2,
        writes=r"mobilenet_v2$",
        head=CLASSIFIER,
        linear=r"classifier\.1\.weight",
    ),
    Layout(
        "torchvision's mobilenet_v3_large",
        marks=(r"features\.\d+\.block\.",),
        rules=layout_names.MOBILENETV3,
        describe=layout_options.mobilenetv3,
        writes=r"mobilenet_v3_large$",
        head=CLASSIFIER,
        linear=r"classifier\.\d\.weight",
    ),
    Layout(
        "torchvision's vgg16",
        marks=(r"features\.0\.(weight|bias)$", r"features\.28\.(weight|bias)$"),
        rules=layout_names.VGG,
        describe=layout_options.vgg16,
        writes=r"vgg16$",
        head=CLASSIFIER,
        linear=r"classifier\.\d\.weight",
    ),
)
