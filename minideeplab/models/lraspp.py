"""LR-ASPP: scores of coarse features behind a gate, and scores of fine features, added.

Source: Howard et al. 2019, "Searching for MobileNetV3" (arXiv 1905.02244), section 6.4, figure 10. torchvision's form
differs in the gate: it pools the whole map, where the paper pools 49 x 49 at stride (16, 20).
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones import backbone as build_backbone
from minideeplab.models.backbones.mobilenetv3 import MOBILENETV3S
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, ConvNorm, Module, truncated_normal


class LRASPPHead(Module):
    """scores(low) + scores(enlarged(relu(BN(W x)) sigmoid(V pool(x)))), of the size of the low-level features.

    Args:
        c_in, c_low: channels of the features x and of the low-level features; width: of W and V (128).
    """

    source = "MobileNetV3 (arXiv 1905.02244), section 6.4, figure 10"

    def __init__(self, c_in, c_low, num_classes, width=128):
        self.conv = ConvNorm(c_in, width, 1)
        self.gate = Conv2d(c_in, width, 1)
        self.low_score = Conv2d(c_low, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.score = Conv2d(width, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def forward(self, x, low_level):
        gate = ops.activate(self.gate(ops.global_average_pool(x)), "sigmoid")  # (N, 1, 1, width)
        _, h, w, _ = low_level.shape
        y = ops.resize_bilinear(self.conv(x) * gate, h, w, align_corners=False)
        return self.low_score(low_level) + self.score(y)  # (N, H/8, W/8, num_classes)


class LRASPP(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits, as torchvision's lraspp_mobilenet_v3_large.

    The features have output stride 16, the low-level features stride 8.

    Args:
        backbone: mobilenet_v3_large; width, head_width: factor on its channels; channels of the head.
    """

    output_stride, align_corners = 16, False
    source = "MobileNetV3 (arXiv 1905.02244), section 6.4; torchvision, models/segmentation/lraspp.py"

    def __init__(self, backbone="mobilenet_v3_large", num_classes=21, width=1.0, head_width=128):
        if backbone not in MOBILENETV3S:
            raise ValueError(f"lraspp: backbone must be {', '.join(MOBILENETV3S)}, got {backbone!r}")
        self.backbone = build_backbone(backbone, output_stride=16, width=width)
        self.head = LRASPPHead(self.backbone.channels, self.backbone.eighth_channels, num_classes, head_width)

    def small_logits(self, x):
        stages = self.backbone.stages_of(x)
        return self.head(stages[-1], stages[self.backbone.eighth])
