"""torchvision's FCN and DeepLab v3 on ResNets and MobileNetV3, as they are, so that their weights give their results.

What differs from the paper: output stride 8 with rates 12, 24, 36, the first unit of an atrous stage keeps the rate
before, no multi-grid, a further 3x3 after ASPP, logits enlarged without aligned corners, an auxiliary loss of weight
0.5 on the third stage. MobileNetV3 has output stride 16 with the same rates, and its auxiliary loss at stride 8.

Source: https://github.com/pytorch/vision, torchvision/models/segmentation.
"""

from minideeplab.models.aspp import ASPP
from minideeplab.models.auxiliary import AuxiliaryHead
from minideeplab.models.backbones import backbone as build_backbone
from minideeplab.models.backbones.mobilenetv3 import MOBILENETV3S
from minideeplab.models.backbones.resnet import RESNETS
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, ConvNorm, Module, truncated_normal


class ASPPHead(Module):
    """ASPP, 3x3, class scores."""

    source = "torchvision, models/segmentation/deeplabv3.py"

    def __init__(self, c_in, num_classes, width):
        self.aspp = ASPP(c_in, (12, 24, 36), width, dropout=0.5)
        self.conv = ConvNorm(width, width, 3)
        self.score = Conv2d(width, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def forward(self, x):
        return self.score(self.conv(self.aspp(x)))


class TorchvisionSegmenter(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits.

    Args:
        head: "fcn" or "deeplabv3"; backbone: resnet50, resnet101 or mobilenet_v3_large.
        auxiliary: the second head, on the third stage of a ResNet, on the first block at stride 8 of a MobileNetV3.
        width, head_width: factor on the backbone's channels; channels of ASPP.
    """

    align_corners, source = False, "torchvision, models/segmentation"

    def __init__(
        self, head="deeplabv3", backbone="resnet50", num_classes=21, auxiliary=True, width=1.0, head_width=256
    ):
        if backbone not in (*RESNETS, *MOBILENETV3S):
            raise ValueError(f"torchvision: backbone must be a ResNet or a MobileNetV3, got {backbone!r}")
        if backbone in RESNETS:
            options = {"output_stride": 8, "multi_grid": (1, 1, 1), "first_rate": "previous"}
        else:
            options = {"output_stride": 16}
        self.backbone = build_backbone(backbone, width=width, **options)
        self.output_stride, c_in = self.backbone.output_stride, self.backbone.channels
        self.auxiliary_stage = -2 if backbone in RESNETS else self.backbone.eighth
        c_auxiliary = c_in // 2 if backbone in RESNETS else self.backbone.eighth_channels
        if head not in ("fcn", "deeplabv3"):
            raise ValueError(f"torchvision: head must be fcn or deeplabv3, got {head!r}")
        self.head = AuxiliaryHead(c_in, num_classes) if head == "fcn" else ASPPHead(c_in, num_classes, head_width)
        self.rates = (12, 24, 36) if head == "deeplabv3" else ()
        self.auxiliary = AuxiliaryHead(c_auxiliary, num_classes) if auxiliary else None

    def small_logits(self, x):
        return self.head(self.backbone(x)[0])

    def training_logits(self, x):
        stages = self.backbone.stages_of(x)
        heads = [(1.0, self.head(stages[-1]))]
        return [*heads, (0.5, self.auxiliary(stages[self.auxiliary_stage]))] if self.auxiliary else heads
