"""MobileNetV3-Large: inverted residuals with squeeze-and-excitation, hardswish, and 5x5 depthwise filters.

Source: Howard et al. 2019, "Searching for MobileNetV3" (arXiv 1905.02244), table 1 and section 5. Batch norm has eps
0.001 and takes 0.01 of each batch into its running statistics, as the authors' code and torchvision have it.
"""

from minideeplab.models.backbones.base import Backbone, check_option, multiple_of_8
from minideeplab.nn import BatchNorm2d, ConvNorm, Module, SeparableConv2d, SqueezeExcitation

_LARGE = (  # table 1: kernel, channels of the expansion and of the result, squeeze-and-excitation?, activation, stride
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)
MOBILENETV3S = {"mobilenet_v3_large": _LARGE}
_EPS, _MOMENTUM = 1e-3, 0.01


class InvertedResidual(Module):
    """1x1 up to `expanded` channels, depthwise, gate, 1x1 down without activation; and x, where it `adds`.

    Args:
        gated: squeeze-and-excitation between the depthwise filter and the 1x1, with a quarter of the channels.
    """

    source = "MobileNetV3 (arXiv 1905.02244), figure 4"

    def __init__(self, c_in, expanded, c_out, kernel, stride, rate, activation, gated, adds):
        self.expand = ConvNorm(c_in, expanded, 1, activation=activation) if expanded != c_in else None
        gate = SqueezeExcitation(expanded, multiple_of_8(expanded // 4)) if gated else None
        self.separable = SeparableConv2d(expanded, c_out, kernel, stride, rate, None, activation, gate=gate)
        self.adds = adds

    def forward(self, x):
        y = self.expand(x) if self.expand else x
        return self.separable(y, x if self.adds else None)


class MobileNetV3(Backbone):
    """Stem (3x3 stride 2), fifteen inverted residuals, and a 1x1 to six times their last channels.

    Args:
        name: of MOBILENETV3S.
        output_stride: 8, 16 or 32.
        width: factor on all channels, which are rounded to multiples of 8 (`multiple_of_8`).
        first_rate: rate of a block that gives up its stride: "stage", that of the blocks after it, as in torchvision;
            "previous", that of the block before, so that its filter sees the same pixels at each output stride.

    Low-level features: the last block's output at stride 4, 24 channels.

    Stages: the blocks up to each change of the stride; at stride 8 the first block is a stage of its own, which LR-ASPP
    and torchvision's auxiliary head read; the last 1x1.

    Attributes:
        eighth: number of that stage; eighth_channels: its channels, 40 in the paper.
    """

    source = "MobileNetV3 (arXiv 1905.02244), table 1; atrous blocks: torchvision, models/mobilenetv3.py"

    def __init__(self, name, output_stride=32, width=1.0, first_rate="stage"):
        check_option(name, "output_stride", output_stride, (8, 16, 32))
        check_option(name, "first_rate", first_rate, ("stage", "previous"))
        rows = MOBILENETV3S[name]
        channels = multiple_of_8(16 * width)
        self.stem = ConvNorm(3, channels, 3, stride=2, activation="hardswish")
        self.blocks, self.ends, reached, rate, of_table = [], [], 2, 1, 2
        for i, (kernel, expanded, c_out, gated, activation, stride) in enumerate(rows):
            kept = stride if reached * stride <= output_stride else 1
            before, rate = rate, rate * stride // kept
            reached, of_table = reached * kept, of_table * stride
            expanded, c_out = multiple_of_8(expanded * width), multiple_of_8(c_out * width)
            own = rate if first_rate == "stage" else before
            adds = stride == 1 and channels == c_out  # by the table's stride, at every output stride
            self.blocks.append(InvertedResidual(channels, expanded, c_out, kernel, kept, own, activation, gated, adds))
            channels = c_out
            if of_table == 8 and stride == 2:
                self.eighth, self.eighth_channels = len(self.ends), channels
                self.ends.append(i)
            if i + 1 == len(rows) or rows[i + 1][-1] == 2:
                self.ends.append(i)
                if of_table == 4:
                    self.low_level_block, self.low_level_channels = i, channels
        self.channels, self.output_stride = 6 * channels, output_stride
        self.last = ConvNorm(channels, self.channels, 1, activation="hardswish")
        for _, layer in self.named_modules():
            if isinstance(layer, BatchNorm2d):
                layer.eps, layer.momentum = _EPS, _MOMENTUM

    def run(self, x):
        x, outputs, low_level = self.stem(x), [], None
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                outputs.append(x)
            if i == self.low_level_block:
                low_level = x
        return [*outputs, self.last(x)], low_level
