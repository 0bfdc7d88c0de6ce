"""U-Net: contracting and expanding paths with copies of the features between them.

Source: Ronneberger, Fischer and Brox 2015 (arXiv 1505.04597), section 2, figure 1.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.vgg import ConvBlock, ConvRelu
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, ConvTranspose2d, truncated_normal

_MARGIN = 92  # pixels on each side that valid convolutions lose: 572 -> 388


class UNet(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits.

    Args:
        padding: "same" (images are padded to multiples of 16), or "valid" as in the paper: the image is surrounded by
            92 zeros, the mean colour, where the paper mirrors it, so that logits come out for all of it.
        width: factor on all channels (64 to 1024).
    """

    source = "U-Net (arXiv 1505.04597), section 2, figure 1"

    def __init__(self, num_classes=21, padding="same", width=1.0):
        if padding not in ("same", "valid"):
            raise ValueError(f"unet: padding must be same or valid, got {padding!r}")
        self.valid, self.output_stride = padding == "valid", 16
        self.corner = 4 if self.valid else 0  # sides of 16 k + 4 and twice the margin keep all maps even
        pad, channels = 0 if self.valid else "same", 3
        widths = [max(1, round(64 * width)) * 2**i for i in range(5)]

        def pair(c_in, c_out):
            return ConvBlock(ConvRelu(c_in, c_out, 3, padding=pad), ConvRelu(c_out, c_out, 3, padding=pad))

        self.down = [pair(c_in, c_out) for c_in, c_out in zip((channels, *widths), widths, strict=False)]
        self.enlarge = [ConvTranspose2d(2 * c, c, 2, 2, bias=True) for c in reversed(widths[:-1])]
        self.up = [pair(2 * c, c) for c in reversed(widths[:-1])]
        self.head = Conv2d(widths[0], num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def small_logits(self, x):
        if self.valid:
            x = ops.pad(x, _MARGIN, _MARGIN, _MARGIN, _MARGIN)
        copies = []
        for block in self.down[:-1]:
            x = block(x)
            copies.append(x)
            x = ops.max_pool2d(x, 2)
        x = self.down[-1](x)
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x, copy = enlarge(x), copies.pop()
            top, left = ((a - b) // 2 for a, b in zip(copy.shape[1:3], x.shape[1:3], strict=True))
            if copy.shape != x.shape:
                copy = ops.crop(copy, top, left, *x.shape[1:3])
            x = block(ops.concat([copy, x]))
        return self.head(x)
