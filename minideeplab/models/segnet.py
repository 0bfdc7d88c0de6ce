"""SegNet: an encoder that remembers where its maxima were, and a decoder that puts values back there.

Source: Badrinarayanan, Kendall and Cipolla 2015 (arXiv 1511.00561), section 3, figure 2.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.vgg import BLOCKS, ConvBlock
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import BatchNorm2d, Conv2d, Module, truncated_normal


class BiasedConvNorm(Module):
    """3x3 convolution with a bias, batch norm, ReLU; the bias, which batch norm undoes, is in the authors' network."""

    def __init__(self, c_in, c_out):
        self.conv, self.norm = Conv2d(c_in, c_out, 3, bias=True), BatchNorm2d(c_out, activation="relu")

    def forward(self, x):
        return self.norm(self.conv(x))


class SegNet(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits; images are padded to multiples of 32.

    Args:
        width: factor on all channels.
    """

    output_stride, corner, source = 32, 0, "SegNet (arXiv 1511.00561), section 3, figure 2"

    def __init__(self, num_classes=21, width=1.0):
        self.encoder, self.decoder, channels = [], [], 3
        widths = [(max(1, round(c * width)), count) for c, count in BLOCKS]
        for c, count in widths:
            self.encoder.append(ConvBlock(*(BiasedConvNorm(channels if i == 0 else c, c) for i in range(count))))
            channels = c
        for i in reversed(range(len(widths))):
            c, count = widths[i]
            below = widths[i - 1][0] if i else c
            outputs = [c] * (count - 1) + ([below] if i else [])
            self.decoder.append(ConvBlock(*(BiasedConvNorm(c, out) for out in outputs)))
        self.head = Conv2d(widths[0][0], num_classes, 3, bias=True, initialiser=truncated_normal(0.01))

    def small_logits(self, x):
        stack = []
        for block in self.encoder:
            x, indices = ops.max_pool2d_with_indices(block(x), 2)
            stack.append(indices)
        for block in self.decoder:
            x = block(ops.max_unpool2d(x, stack.pop()))
        return self.head(x)
