"""VGG-16: thirteen 3x3 convolutions in five blocks, and three fully connected layers, here convolutions.

Source: Simonyan and Zisserman 2014 (arXiv 1409.1556), table 1, configuration D; fully connected layers as convolutions:
the same paper, section 3.2, and FCN (arXiv 1411.4038).
"""

from minideeplab.autograd import ops
from minideeplab.nn import Conv2d, Dropout, Module, truncated_normal

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # output channels, convolutions


class ConvRelu(Module):
    """relu(conv(x) + bias)."""

    def __init__(self, c_in, c_out, kernel, stride=1, rate=1, padding="same"):
        self.conv = Conv2d(c_in, c_out, kernel, stride, rate, padding, bias=True)

    def forward(self, x):
        return ops.relu(self.conv(x))


class VGGFeatures(Module):
    """The convolutions; max poolings between blocks as the caller wants them.

    Args:
        pools: (size, stride, padding) after each of the five blocks, or None; rates: of each block's convolutions.
        width: factor on all channels. first_padding: of the very first convolution.

    `forward` returns the outputs after each block's pooling.
    """

    def __init__(self, pools, rates=(1,) * 5, width=1.0, ceil_mode=True, first_padding="same"):
        self.blocks, self.pools, self.ceil_mode, self.widths = [], pools, ceil_mode, []
        channels = 3
        for (c_out, count), rate in zip(BLOCKS, rates, strict=True):
            c_out = max(1, round(c_out * width))
            block = []
            for _ in range(count):
                padding = first_padding if channels == 3 and not self.blocks and not block else "same"
                block.append(ConvRelu(channels, c_out, 3, rate=rate, padding=padding))
                channels = c_out
            self.blocks.append(block)
            self.widths.append(c_out)
        self.blocks = [ConvBlock(*block) for block in self.blocks]
        self.channels = channels

    def forward(self, x):
        outputs = []
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x = block(x)
            if pool:
                size, stride, padding = pool
                x = ops.max_pool2d(x, size, stride, padding, self.ceil_mode)
            outputs.append(x)
        return outputs


class ConvBlock(Module):
    """Convolutions one after the other."""

    def __init__(self, *convs):
        self.convs = list(convs)

    def forward(self, x):
        for conv in self.convs:
            x = conv(x)
        return x


class Scores(Module):
    """fc6, fc7 with ReLU and dropout, and the class scores fc8, as convolutions.

    Args:
        kernel, rate, padding: of fc6; hidden: channels of fc6 and fc7.
    """

    def __init__(self, c_in, num_classes, kernel, rate=1, hidden=4096, padding="same", dropout=0.5):
        self.fc6 = ConvRelu(c_in, hidden, kernel, rate=rate, padding=padding)
        self.fc7 = ConvRelu(hidden, hidden, 1)
        self.fc8 = Conv2d(hidden, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.drop6, self.drop7 = Dropout(dropout), Dropout(dropout)

    def features(self, x):
        return self.drop7(self.fc7(self.drop6(self.fc6(x))))

    def forward(self, x):
        return self.fc8(self.features(x))
