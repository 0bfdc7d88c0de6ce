"""VGG-16: thirteen 3x3 convolutions in five blocks, then three fully connected layers, which are convolutions here.

Source: Simonyan and Zisserman 2014 (arXiv 1409.1556), table 1, configuration D; fully connected layers as convolutions:
the same paper, section 3.2, and FCN (arXiv 1411.4038).
"""

import math

from minideeplab.autograd import ops
from minideeplab.models.backbones.base import Backbone
from minideeplab.nn import Conv2d, Dropout, Module, truncated_normal

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # output channels, convolutions


class ConvRelu(Module):
    """relu(conv(x) + bias)."""

    def __init__(self, c_in, c_out, kernel, stride=1, rate=1, padding="same"):
        self.conv = Conv2d(c_in, c_out, kernel, stride, rate, padding, bias=True)

    def forward(self, x):
        return ops.relu(self.conv(x))


class VGGFeatures(Backbone):
    """The convolutions of VGG-16, with max poolings after its blocks as the caller wants them.

    Args:
        pools: (size, stride, padding) of the pooling after each of the five blocks.
        rates: of the convolutions of each block.
        width: factor on all channels.
        ceil_mode: whether poolings round sizes up.
        first_padding: of the very first convolution.

    Stages: the outputs of the five poolings; `widths` are their channels. Low-level features: the output of the last
    pooling that reaches stride 4. Sizes are those that the poolings give: DeepLab v1's padded windows of 2 x 2 make
    maps of one row and column more.
    """

    source = "VGG-16 (arXiv 1409.1556), table 1, configuration D"

    def __init__(self, pools, rates=(1,) * 5, width=1.0, ceil_mode=True, first_padding="same"):
        self.blocks, self.pools, self.ceil_mode, self.widths = [], pools, ceil_mode, []
        channels = 3
        for (c_out, count), rate in zip(BLOCKS, rates, strict=True):
            c_out = max(1, round(c_out * width))
            block = []
            for _ in range(count):
                padding = "same" if self.blocks or block else first_padding
                block.append(ConvRelu(channels, c_out, 3, rate=rate, padding=padding))
                channels = c_out
            self.blocks.append(ConvBlock(*block))
            self.widths.append(c_out)
        strides = [math.prod(stride for _, stride, _ in pools[: i + 1]) for i in range(len(pools))]
        self.low_level_stage = max(i for i, stride in enumerate(strides) if stride <= 4)
        self.channels, self.low_level_channels = channels, self.widths[self.low_level_stage]
        self.output_stride = strides[-1]

    def run(self, x):
        outputs = []
        for block, (size, stride, padding) in zip(self.blocks, self.pools, strict=True):
            x = ops.max_pool2d(block(x), size, stride, padding, self.ceil_mode)
            outputs.append(x)
        return outputs, outputs[self.low_level_stage]


class ConvBlock(Module):
    """Convolutions one after the other."""

    def __init__(self, *convs):
        self.convs = list(convs)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x)
        return x


class Scores(Module):
    """fc6 and fc7 with ReLU and dropout, then the class scores fc8: fully connected layers as convolutions.

    Args:
        kernel, rate, padding: of fc6.
        hidden: channels of fc6 and fc7.
    """

    source = "VGG-16 (arXiv 1409.1556), section 3.2; FCN (arXiv 1411.4038), section 3.1"

    def __init__(self, c_in, num_classes, kernel, rate=1, hidden=4096, padding="same", dropout=0.5):
        self.fc6 = ConvRelu(c_in, hidden, kernel, rate=rate, padding=padding)
        self.fc7 = ConvRelu(hidden, hidden, 1)
        self.fc8 = Conv2d(hidden, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.drop6, self.drop7 = Dropout(dropout), Dropout(dropout)

    def features(self, x):
        return self.drop7(self.fc7(self.drop6(self.fc6(x))))

    def forward(self, x):
        return self.fc8(self.features(x))
