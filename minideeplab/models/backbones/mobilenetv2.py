"""MobileNetV2: blocks that are wide inside and thin between, for phones.

Source: Sandler, Howard, Zhu, Zhmoginov and Chen 2018 (arXiv 1801.04381), section 3 and table 2; as a backbone of
DeepLab: section 6.3. Rates and low-level features: DeepLab's released code, github.com/tensorflow/models,
research/slim/nets/mobilenet and research/deeplab/core/feature_extractor.py.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.base import Backbone, check_option, multiple_of_8
from minideeplab.nn import ConvNorm, Module, SeparableConv2d, Sequential

MOBILENETV2S = ("mobilenet_v2",)
STAGES = (  # table 2: expansion t, output channels c, blocks n, stride s of the first block
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
MULTIPLIERS = (1.0, 0.75, 0.5, 0.35, 1.3, 1.4)  # whose weights the authors publish
_LOW_LEVEL_STAGE = 1  # the last one at stride 4


class InvertedResidual(Module):
    """x + W2 relu6(D relu6(W1 x)), a batch norm after each part: 1x1 to t C channels, depthwise 3x3, linear 1x1.

    The shortcut joins the thin ends. The last part has no activation, because ReLU would lose what few channels hold
    (section 3.2). A block whose stride is 2 in the table, or whose ends differ in channels, has no shortcut.

    Args:
        c_in, c_out: channels of the ends; expansion: t; with 1 there is no first 1x1.
        stride, rate: of the 3x3; pad_before: as of `MobileNetV2`.
        halves: whether the stride is 2 in the table; it may be given up.

    Cost: H W t C (C + 9 + K) multiply-adds at stride 1 for K outputs.
    """

    source = "MobileNetV2 (arXiv 1801.04381), section 3.3, table 1"

    def __init__(self, c_in, c_out, expansion, stride, rate, pad_before="depthwise", halves=False):
        wide = c_in * expansion
        self.margin = rate if pad_before == "expansion" else 0
        padding = 0 if self.margin else "same"
        self.expand = ConvNorm(c_in, wide, 1, activation="relu6") if expansion > 1 else None
        self.separable = SeparableConv2d(wide, c_out, 3, stride, rate, None, "relu6", padding)
        self.adds_input = stride == 1 and c_in == c_out and not halves

    def forward(self, x):
        return self.separable(self._wide(x), x if self.adds_input else None)

    def forward_with_inner(self, x):
        """The output, and that of the 3x3 after its batch norm and relu6."""
        return self.separable.forward_with_inner(self._wide(x), x if self.adds_input else None)

    def _wide(self, x):
        x = ops.pad(x, *(self.margin,) * 4) if self.margin else x
        return self.expand(x) if self.expand else x


class MobileNetV2(Backbone):
    """A strided 3x3, then seven stages of inverted residuals up to 320 channels (table 2).

    The 1x1 to 1280 channels belongs to the classifier. Where a stage gives up its stride, its first block keeps the
    rate before, as in the released code: rates 1, 2, 2, 2 of the last blocks at output stride 16.

    Args:
        name: of MOBILENETV2S.
        output_stride: 8, 16 or 32.
        width: the paper's multiplier, 0.35 to 1.4; the products are rounded to multiples of 8, see `multiple_of_8`.
        low_level: "depthwise", what the 3x3 of the last block at stride 4 makes, 144 channels, as in the released code
            ("layer_4/depthwise_output"); "block", that block's output, 24 channels, as in some reimplementations.
        pad_before: "depthwise", the input of each 3x3 is padded; "expansion", that of the block, so that the first 1x1
            makes relu6(beta - gamma mean / sd) of the zeros outside, and the strided 3x3 is not padded: a side of 513
            gives 256. So VainF/DeepLabV3Plus-Pytorch has it (network/backbone/mobilenetv2.py).

    Stages: the seven of table 2. Separable heads: the released model that has a decoder (for ADE20K) has a separable
    one, by the flags' defaults and the size of its file. The paper's ASPP is that of DeepLab v3, with full 3x3.
    """

    separable_heads = True
    source = "MobileNetV2 (arXiv 1801.04381), table 2; as a backbone: section 6.3"

    def __init__(self, name, output_stride=32, width=1.0, low_level="depthwise", pad_before="depthwise"):
        check_option(name, "output_stride", output_stride, (8, 16, 32))
        check_option(name, "low_level", low_level, ("depthwise", "block"))
        check_option(name, "pad_before", pad_before, ("depthwise", "expansion"))
        channels, reached, rate = multiple_of_8(32 * width), 2, 1
        stem_padding = 0 if pad_before == "expansion" else "same"
        self.stem = ConvNorm(3, channels, 3, stride=2, activation="relu6", padding=stem_padding)
        self.stages = []
        for expansion, c_out, count, first in STAGES:
            blocks, c_out = [], multiple_of_8(c_out * width)
            for stride in (first, *(1,) * (count - 1)):
                kept = stride if reached * stride <= output_stride else 1
                blocks.append(InvertedResidual(channels, c_out, expansion, kept, rate, pad_before, stride == 2))
                rate *= stride // kept  # a stride that is given up becomes the rate of the blocks after
                reached, channels = reached * kept, c_out
            self.stages.append(Sequential(*blocks))
        self.low_level_inside = low_level == "depthwise"
        thin = multiple_of_8(STAGES[_LOW_LEVEL_STAGE][1] * width)
        self.low_level_channels = 6 * thin if self.low_level_inside else thin
        self.channels, self.output_stride, self.width = channels, output_stride, width

    def run(self, x):
        x, outputs, low_level = self.stem(x), [], None
        for i, stage in enumerate(self.stages):
            if i == _LOW_LEVEL_STAGE and self.low_level_inside:
                x, low_level = stage.layers[-1].forward_with_inner(stage.part(x, 0, -1))
            else:
                x = stage(x)
            if i == _LOW_LEVEL_STAGE and not self.low_level_inside:
                low_level = x
            outputs.append(x)
        return outputs, low_level

    def classifier_conv(self):
        """1x1 to 1280 channels, more where `width` is above 1, never fewer (section 4)."""
        channels = multiple_of_8(1280 * max(1, self.width))
        return ConvNorm(self.channels, channels, 1, activation="relu6"), channels
