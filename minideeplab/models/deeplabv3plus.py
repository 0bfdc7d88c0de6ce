"""DeepLab v3+: an atrous encoder with ASPP, and a decoder that recovers object borders from low-level features.

Source: Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation"
(arXiv 1802.02611), figure 2.
"""

from minideeplab.autograd import ops
from minideeplab.models.aspp import ASPP, RATES_AT_16, rates_at
from minideeplab.models.backbones import backbone as build_backbone
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, ConvNorm, Module, SeparableConv2d, truncated_normal


class Decoder(Module):
    """Enlarges the encoder's features, joins 48 channels of low-level features, refines by two 3x3 (v3+, section 3.1).

    Args:
        c_in, c_low: channels of encoder and low-level features; width: of the 3x3 (256); low_level_width: of the 1x1
            (48). refinements, align_corners, low_level_first: as of `DeepLabV3Plus`.
    """

    source = "DeepLab v3+ (arXiv 1802.02611), section 3.1, figure 2"

    def __init__(
        self, c_in, c_low, width=256, low_level_width=48, separable=False, refinements=2, align_corners=True,
        low_level_first=False,
    ):  # fmt: skip
        if refinements not in (1, 2, 3):
            raise ValueError(f"deeplabv3plus: refinements must be 1, 2 or 3, got {refinements}")
        conv = SeparableConv2d if separable else ConvNorm
        self.reduce = ConvNorm(c_low, low_level_width, 1)
        self.refine1 = conv(c_in + low_level_width, width, 3)
        self.refine2 = conv(width, width, 3) if refinements > 1 else None
        self.refine3 = conv(width, width, 3) if refinements > 2 else None
        self.align_corners, self.low_level_first = align_corners, low_level_first

    def forward(self, x, low_level):
        _, h, w, _ = low_level.shape
        enlarged = ops.resize_bilinear(x, h, w, self.align_corners)
        joined = [enlarged, self.reduce(low_level)]  # (N, H/4, W/4, 256) and 48
        y = self.refine1(ops.concat(joined[::-1] if self.low_level_first else joined))
        for further in (self.refine2, self.refine3):
            y = further(y) if further else y
        return y


class DeepLabV3Plus(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits, see `Segmenter`.

    Args:
        backbone: a name of `backbones.BACKBONES`; the paper has resnet101-beta and xception65.
        num_classes: channels of the logits (21 for VOC).
        output_stride: 8, 16 or 32, of the encoder.
        atrous_rates: of ASPP at output stride 16; the model derives those of other strides. A rate must be smaller than
            the feature map of the training crops, ceil(crop / output_stride), or its outer taps see only padding. ()
            leaves the 3x3 out, as with MobileNetV2 in its paper; 1x1 and image-level pooling stay.
        separable: depthwise separable 3x3 in ASPP and decoder; None for the paper's choice: with Xception, not with
            ResNet (`Backbone.separable_heads`).
        decoder: False leaves the decoder out: DeepLab v3's direct upsampling.
        width: factor on the backbone's channels.
        backbone_options: mapping of the backbone's own options, see there: multi_grid and first_rate of a ResNet,
            extra_relu and low_level of an Xception, and more. `models.build` takes them by their own names, too.
        head_width: channels of ASPP and decoder (256 in the paper).
        dropout: after ASPP's projection.
        refinements: 3x3 convolutions in the decoder: two in the paper, which tries one and three, too (table 2).
        align_corners: how features and logits are enlarged; without, images of any size are taken as they are.
        low_level_first: the order in which the decoder joins its two inputs: the released code has the encoder's
            features first, some reimplementations the low-level ones. The paper does not say.
        low_level_width: channels that the decoder's 1x1 makes of the low-level features; None for 48 of 256: 48 where
            `head_width` is 256, 3/16 of it elsewhere (table 1).
    """

    source = "DeepLab v3+ (arXiv 1802.02611), figure 2"

    def __init__(
        self, backbone="resnet18", num_classes=21, output_stride=16, atrous_rates=RATES_AT_16, separable=None,
        decoder=True, width=1.0, backbone_options=None, head_width=256, dropout=0.1, refinements=2, align_corners=True,
        low_level_first=False, low_level_width=None,
    ):  # fmt: skip
        self.backbone = build_backbone(backbone, output_stride=output_stride, width=width, **(backbone_options or {}))
        separable = self.backbone.separable_heads if separable is None else separable
        self.rates = rates_at(output_stride, atrous_rates)
        self.aspp = ASPP(self.backbone.channels, self.rates, head_width, separable, dropout)
        self.decoder = None
        if decoder:
            low_level_width = max(1, 48 * head_width // 256) if low_level_width is None else low_level_width
            c_low = self.backbone.low_level_channels
            self.decoder = Decoder(
                head_width, c_low, head_width, low_level_width, separable, refinements, align_corners, low_level_first
            )
        self.head = Conv2d(head_width, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.output_stride, self.align_corners = output_stride, align_corners

    def small_logits(self, x):
        features, low_level = self.backbone(x)
        y = self.aspp(features)  # (N, H/16, W/16, 256)
        if self.decoder:
            y = self.decoder(y, low_level)  # (N, H/4, W/4, 256)
        return self.head(y)
