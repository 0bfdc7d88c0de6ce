"""DenseNet-121/169/201/161 and the CIFAR forms DenseNet-BC, with atrous blocks for segmentation.

Source: Huang, Liu, van der Maaten and Weinberger 2017 (arXiv 1608.06993), table 1 (ImageNet), section 3 and table 2
(CIFAR). Atrous blocks as in DeepLab v3 (arXiv 1706.05587), section 3: a pooling that is given up becomes the rate of
the blocks after it.
"""

from typing import ClassVar

from minideeplab.autograd import ops
from minideeplab.models.backbones.base import Backbone, check_option
from minideeplab.nn import BatchNorm2d, Conv2d, ConvNorm, Module, Sequential

DENSENETS = {  # name: (growth rate k, layers in each dense block): four blocks for ImageNet, three for CIFAR
    "densenet121": (32, (6, 12, 24, 16)),
    "densenet169": (32, (6, 12, 32, 32)),
    "densenet201": (32, (6, 12, 48, 32)),
    "densenet161": (48, (6, 12, 36, 24)),
    "densenet-bc-100-12": (12, (16,) * 3),  # depth 100 = 3 * 16 * 2 + 4
    "densenet-bc-250-24": (24, (41,) * 3),
    "densenet-bc-190-40": (40, (31,) * 3),
}


class DenseLayer(Module):
    """x -> [x, f(x)]: BN, ReLU, 1x1 to 4 k channels, BN, ReLU, 3x3 to k (section 3, "DenseNet-B").

    Cost: c (4 k) + 9 (4 k) k multiply-adds a pixel for c input channels. The copy of x makes a block's traffic grow
    with the square of its layers.
    """

    source = "DenseNet (arXiv 1608.06993), section 3"

    def __init__(self, c_in, growth, rate):
        self.norm = BatchNorm2d(c_in, activation="relu")
        self.bottleneck = ConvNorm(c_in, 4 * growth, 1)
        self.conv = Conv2d(4 * growth, growth, 3, rate=rate)

    def forward(self, x):
        return ops.concat([x, self.conv(self.bottleneck(self.norm(x)))])  # (N, H, W, c + k)


class Transition(Module):
    """BN, ReLU, 1x1 to half the channels ("-C", theta = 0.5), 2x2 average pool unless `stride` is 1 (section 3)."""

    source = "DenseNet (arXiv 1608.06993), section 3"

    def __init__(self, c_in, c_out, stride, ceil_mode):
        self.norm = BatchNorm2d(c_in, activation="relu")
        self.conv = Conv2d(c_in, c_out, 1)
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, x):
        x = self.conv(self.norm(x))
        return ops.average_pool2d(x, 2, ceil_mode=self.ceil_mode) if self.stride == 2 else x


class DenseNet(Backbone):
    """Stem, dense blocks with transitions between them, and a last BN and ReLU.

    Args:
        name: of DENSENETS.
        output_stride: 8, 16 or 32 of the ImageNet forms, whose stem is a 7x7 and a 3x3 max pool, both at stride 2; 4 of
            the CIFAR forms, whose stem is a 3x3. None for the paper's: 32 or 4.
        multi_grid: None; there is no such form.
        width: factor on the growth rate, to which all channels are proportional.
        ceil_mode: of the transitions' poolings. True: sizes are rounded up, so that features have
            ceil(H / output_stride) rows as those of the other backbones; a window at the border is the mean of its
            pixels inside. False, of the paper's classifier: rounded down. Both are the same where all maps that are
            pooled have even sides: at multiples of 32 of the ImageNet forms, of 4 of the CIFAR forms.

    Low-level features: what the last block at stride 4 made, before its transition: the first block of the ImageNet
    forms, the third of the CIFAR forms.
    """

    source = "DenseNet (arXiv 1608.06993), table 1; atrous blocks: DeepLab v3 (arXiv 1706.05587), section 3"
    classifier_options: ClassVar[dict] = {"ceil_mode": False}

    def __init__(self, name, output_stride=None, multi_grid=None, width=1.0, ceil_mode=True):
        growth, blocks = DENSENETS[name]
        self.imagenet = len(blocks) == 4
        strides = (8, 16, 32) if self.imagenet else (4,)
        output_stride = strides[-1] if output_stride is None else output_stride
        check_option(name, "output_stride", output_stride, strides)
        if multi_grid is not None:
            raise ValueError(f"{name}: multi_grid must be None, got {multi_grid}")
        growth = max(1, round(growth * width))
        channels = 2 * growth
        self.stem = ConvNorm(3, channels, 7, stride=2) if self.imagenet else Conv2d(3, channels, 3)
        self.blocks, self.transitions = [], []
        reached, rate = 4 if self.imagenet else 1, 1
        for i, count in enumerate(blocks):
            if i > 0:
                stride = 2 if reached < output_stride else 1
                self.transitions.append(Transition(channels, channels // 2, stride, ceil_mode))
                channels, reached, rate = channels // 2, reached * stride, rate * 2 // stride
            self.blocks.append(Sequential(*(DenseLayer(channels + j * growth, growth, rate) for j in range(count))))
            channels += count * growth
            if reached <= 4:
                self.low_level_block, self.low_level_channels = i, channels
        self.norm = BatchNorm2d(channels, activation="relu")
        self.channels, self.output_stride = channels, output_stride

    def run(self, x):
        x, outputs = self.stem(x), []
        if self.imagenet:
            x = ops.max_pool2d(x, 3, stride=2, padding=1)  # (N, H/4, W/4, 2 k)
        for i, block in enumerate(self.blocks):
            x = block(self.transitions[i - 1](x) if i > 0 else x)
            outputs.append(x)
        return [*outputs[:-1], self.norm(x)], outputs[self.low_level_block]
