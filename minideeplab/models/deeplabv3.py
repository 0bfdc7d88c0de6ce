"""DeepLab v3: ASPP with image-level pooling, or a cascade of atrous blocks.

Source: Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation" (arXiv 1706.05587).
"""

from minideeplab.models.aspp import ASPP, RATES_AT_16, rates_at
from minideeplab.models.backbones import backbone as build_backbone
from minideeplab.models.backbones.resnet import Bottleneck, check_bottleneck
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, ConvNorm, Sequential, truncated_normal


class DeepLabV3(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits, see `Segmenter`. Section 3.3, figure 5.

    Args:
        backbone, output_stride, atrous_rates, width, backbone_options, head_width, dropout, align_corners: as of
            `DeepLabV3Plus`.
        refine: a further 3x3 after ASPP, as in torchvision.
    """

    source = "DeepLab v3 (arXiv 1706.05587), section 3.3, figure 5"

    def __init__(
        self, backbone="resnet50", num_classes=21, output_stride=16, atrous_rates=RATES_AT_16, width=1.0,
        backbone_options=None, head_width=256, dropout=0.1, refine=False, align_corners=True,
    ):  # fmt: skip
        self.backbone = build_backbone(backbone, output_stride=output_stride, width=width, **(backbone_options or {}))
        self.rates = rates_at(output_stride, atrous_rates)
        self.aspp = ASPP(self.backbone.channels, self.rates, head_width, False, dropout)
        self.refine = ConvNorm(head_width, head_width, 3) if refine else None
        self.head = Conv2d(head_width, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.output_stride, self.align_corners = output_stride, align_corners

    def small_logits(self, x):
        y = self.aspp(self.backbone(x)[0])
        return self.head(self.refine(y) if self.refine else y)


class DeepLabV3Cascade(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits, see `Segmenter`. Section 3.2, figure 3.

    Blocks 5 to 7 repeat block 4 of a ResNet with bottlenecks. Without atrous convolution each halves the resolution,
    down to output stride 256; where the wanted output stride is reached, a block takes its stride as rate: with 16 the
    blocks 4 to 7 have the rates 2, 4, 8, 16.

    Args:
        backbone: resnet50, resnet101 or resnet152; output_stride: 8, 16, ..., 256; blocks: 4 to 7, the last one.
        multi_grid: factors on the rate of the three units of blocks 4 to 7; (1, 2, 1) was best (table 3).
        width: factor on all channels.
        backbone_options: mapping of the ResNet's further options, see there.
    """

    source = "DeepLab v3 (arXiv 1706.05587), section 3.2, figure 3"

    def __init__(
        self, backbone="resnet50", num_classes=21, output_stride=16, blocks=7, multi_grid=(1, 2, 1), width=1.0,
        backbone_options=None,
    ):  # fmt: skip
        if not 4 <= blocks <= 7:
            raise ValueError(f"deeplabv3-cascade: blocks must be 4 to 7, got {blocks}")
        if output_stride not in (8, 16, 32, 64, 128, 256):
            raise ValueError(f"deeplabv3-cascade: output_stride must be 8, 16, ... 256, got {output_stride}")
        check_bottleneck("deeplabv3-cascade", backbone)
        options = {**(backbone_options or {}), "multi_grid": tuple(multi_grid)}
        self.backbone = build_backbone(backbone, output_stride=min(output_stride, 32), width=width, **options)
        channels, reached = self.backbone.channels, min(output_stride, 32)
        rate, self.blocks = 32 // reached, []
        for _ in range(5, blocks + 1):
            stride = 2 if reached < output_stride else 1
            reached, rate = reached * stride, rate * (2 // stride)
            units = (
                Bottleneck(channels, channels // 4, stride if j == 0 else 1, rate * multi_grid[j]) for j in range(3)
            )
            self.blocks.append(Sequential(*units))
        self.head = Conv2d(channels, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.output_stride = output_stride
        self.rates = tuple(unit.conv2.conv.rate for block in self.blocks for unit in block.layers)

    def small_logits(self, x):
        x, _ = self.backbone(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)
