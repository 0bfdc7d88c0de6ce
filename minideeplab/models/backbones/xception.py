"""The modified aligned Xception-41/65/71 of DeepLab v3+.

Source: DeepLab v3+ (arXiv 1802.02611), section 3.2 and figure 4: max pooling is replaced by strided separable
convolution, and batch norm and ReLU follow every depthwise 3x3. The released code has that ReLU in the last block only
(`extra_relu=False`), and takes the low-level features that the paper does not name.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.base import Backbone, check_option
from minideeplab.nn import ConvNorm, Module, SeparableConv2d, Sequential

# (output channels of the three separable convolutions, stride) of the entry blocks; number of middle blocks
_ENTRY_41_65 = (((128,) * 3, 2), ((256,) * 3, 2), ((728,) * 3, 2))
_ENTRY_71 = (((128,) * 3, 2), ((256,) * 3, 1), ((256,) * 3, 2), ((728,) * 3, 1), ((728,) * 3, 2))
XCEPTIONS = {"xception41": (_ENTRY_41_65, 8), "xception65": (_ENTRY_41_65, 16), "xception71": (_ENTRY_71, 16)}
_LOW_LEVEL_BLOCK = {"xception41": 1, "xception65": 1, "xception71": 2}  # the entry block from stride 4 to 8


class XceptionBlock(Module):
    """Three separable convolutions, each after a ReLU, the last one strided, and a shortcut.

    Args:
        shortcut: "conv" (strided 1x1), "sum" (identity) or None.
        relu_inside: ReLU after every part instead of before every convolution: the exit block without shortcut.
        extra_relu: ReLU after every depthwise part in any case.
        grid: factors on the rate of the three.
        shows_inner: the second convolution's output is read before its ReLU, too, by `forward_with_inner`.

    A ReLU that alone reads a batch norm's output runs in the same pass.
    """

    source = "DeepLab v3+ (arXiv 1802.02611), figure 4"

    def __init__(
        self, c_in, widths, stride, rate, shortcut, relu_inside=False, extra_relu=True, grid=(1, 1, 1),
        shows_inner=False,
    ):  # fmt: skip
        channels = (c_in, *widths)
        after = "relu", None if shows_inner else "relu", "relu" if relu_inside else None  # the pointwise parts
        between = "relu" if relu_inside or extra_relu else None  # after the depthwise part
        self.convs = [
            SeparableConv2d(channels[i], channels[i + 1], 3, stride if i == 2 else 1, rate * grid[i], after[i], between)
            for i in range(3)
        ]
        self.shortcut = ConvNorm(c_in, widths[-1], 1, stride, activation=None) if shortcut == "conv" else None
        self.adds_input, self.relu_inside, self.shows_inner = shortcut == "sum", relu_inside, shows_inner

    def forward(self, x):
        return self.forward_with_inner(x)[0]

    def forward_with_inner(self, x):
        """The output, and the second convolution's, which is still at the input's resolution."""
        first, second, third = self.convs
        shortcut = self.shortcut(x) if self.shortcut else x if self.adds_input else None
        inner = second(first(x if self.relu_inside else ops.relu(x)))
        return third(ops.relu(inner) if self.shows_inner else inner, shortcut), inner


class Xception(Backbone):
    """Stem of two 3x3, entry flow, middle flow, exit flow.

    Args:
        name: of XCEPTIONS.
        output_stride: 8, 16 or 32.
        multi_grid: factors on the rates of the last block's three convolutions; None for ones, as in the paper.
        width: factor on all channels of the paper.
        extra_relu: ReLU after every depthwise 3x3, as in the paper; False: in the last block only, as in its code.
        low_level: "block2", the second separable convolution of the block from stride 4 to 8, 256 channels, as in the
            paper's code; "block1", the output of the first block, 128 channels, as in some reimplementations.

    Stages: the entry blocks, the middle flow, the exit flow.
    """

    separable_heads, source = True, "Xception as modified by DeepLab v3+ (arXiv 1802.02611), section 3.2 and figure 4"

    def __init__(self, name, output_stride=32, multi_grid=None, width=1.0, extra_relu=True, low_level="block2"):
        check_option(name, "low_level", low_level, ("block1", "block2"))
        entry, middle = XCEPTIONS[name]
        check_option(name, "output_stride", output_stride, (8, 16, 32))
        multi_grid = (1, 1, 1) if multi_grid is None else tuple(multi_grid)
        if len(multi_grid) != 3:
            raise ValueError(
                f"{name}: multi_grid needs 3 factors, one a convolution of the last block, got {multi_grid}"
            )

        def scaled(*channels):
            return tuple(max(1, round(c * width)) for c in channels)

        c1, c2 = scaled(32, 64)
        self.stem = Sequential(ConvNorm(3, c1, 3, stride=2), ConvNorm(c1, c2, 3))
        self.entry, channels, reached, rate = [], c2, 2, 1

        def add(widths, stride, shortcut, **options):
            nonlocal channels, reached, rate
            kept = stride if reached * stride <= output_stride else 1
            block = XceptionBlock(channels, scaled(*widths), kept, rate, shortcut, extra_relu=extra_relu, **options)
            rate *= stride // kept  # a stride that is given up becomes the rate of the blocks after
            reached *= kept
            channels = scaled(widths[-1])[0]
            return block

        self.low_level_block = _LOW_LEVEL_BLOCK[name] if low_level == "block2" else 0
        self.low_level_inside = low_level == "block2"
        self.entry = [
            add(widths, stride, "conv", shows_inner=self.low_level_inside and i == self.low_level_block)
            for i, (widths, stride) in enumerate(entry)
        ]
        self.middle = Sequential(*(add((728,) * 3, 1, "sum") for _ in range(middle)))
        self.exit1 = add((728, 1024, 1024), 2, "conv")
        self.exit2 = add((1536, 1536, 2048), 1, None, relu_inside=True, grid=multi_grid)
        self.channels, self.low_level_channels = channels, scaled(256 if low_level == "block2" else 128)[0]
        self.output_stride = output_stride

    def run(self, x):
        x, outputs, low_level = self.stem(x), [], None
        for i, block in enumerate(self.entry):
            x, inner = block.forward_with_inner(x)
            outputs.append(x)
            if i == self.low_level_block:
                low_level = inner if self.low_level_inside else x
        middle = self.middle(x)
        return [*outputs, middle, self.exit2(self.exit1(middle))], low_level
