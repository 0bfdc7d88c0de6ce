"""torchvision's FCN and DeepLab v3 on ResNets, as they are, so that their weights give their results.

What differs from the paper: output stride 8 with rates 12, 24, 36, the first unit of an atrous stage keeps the rate
before, no multi-grid, a further 3x3 after ASPP, logits enlarged without aligned corners, an auxiliary loss of weight
0.5 on the third stage.

Source: https://github.com/pytorch/vision, torchvision/models/segmentation.
"""

from minideeplab.models.aspp import ASPP
from minideeplab.models.auxiliary import AuxiliaryHead
from minideeplab.models.backbones.resnet import ResNet
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
        head: "fcn" or "deeplabv3"; backbone: resnet50 or resnet101; auxiliary: the head on the third stage.
        width, head_width: factor on the backbone's channels; channels of ASPP.
    """

    output_stride, align_corners, source = 8, False, "torchvision, models/segmentation"

    def __init__(
        self, head="deeplabv3", backbone="resnet50", num_classes=21, auxiliary=True, width=1.0, head_width=256
    ):
        self.backbone = ResNet(backbone, 8, (1, 1, 1), width, first_rate="previous")
        c_in = self.backbone.channels
        if head not in ("fcn", "deeplabv3"):
            raise ValueError(f"torchvision: head must be fcn or deeplabv3, got {head!r}")
        self.head = AuxiliaryHead(c_in, num_classes) if head == "fcn" else ASPPHead(c_in, num_classes, head_width)
        self.rates = (12, 24, 36) if head == "deeplabv3" else ()
        self.auxiliary = AuxiliaryHead(c_in // 2, num_classes) if auxiliary else None

    def small_logits(self, x):
        return self.head(self.backbone(x)[0])

    def training_logits(self, x):
        *_, third, fourth = self.backbone.stages_of(x)
        heads = [(1.0, self.head(fourth))]
        return [*heads, (0.5, self.auxiliary(third))] if self.auxiliary else heads
