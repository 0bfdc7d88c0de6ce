"""Atrous spatial pyramid pooling: the same features seen at several rates at once, and as a whole.

Source: DeepLab v3 (arXiv 1706.05587), section 3.3; separable branches: DeepLab v3+ (arXiv 1802.02611), section 3.1.
"""

from minideeplab.autograd import ops
from minideeplab.nn import ConvNorm, Dropout, Module, SeparableConv2d

RATES_AT_16 = (6, 12, 18)


def rates_at(output_stride, rates_at_16=RATES_AT_16):
    """Rates for an output stride: (6, 12, 18) at 16 is doubled at 8, halved at 32: one field of view in image pixels.

    An empty tuple gives an empty tuple.

    Raises:
        ValueError: rates that are not whole at this stride.
    """
    if any(rate < 1 for rate in rates_at_16):
        raise ValueError(f"atrous_rates must be whole numbers, 1 or more, got {tuple(rates_at_16)}")
    rates = tuple(rate * 16 // output_stride for rate in rates_at_16)
    if any(rate * 16 % output_stride for rate in rates_at_16):
        raise ValueError(f"atrous_rates {tuple(rates_at_16)} at output stride 16 are not whole at {output_stride}")
    return rates


def rates_for_crops(crop_size, output_stride=16):
    """(6, 12, 18), chosen for crops of 513 and their maps of 33 x 33, in proportion to the map of smaller crops.

    Returns:
        Rates as if at output stride 16, as `rates_at` takes them: [3, 6, 9] for crops of 257.
    """
    step = max(1, output_stride // 16)  # at output stride 32 they will be halved
    share = min(1, -(-crop_size // 16) / 33)
    return [step * max(1, round(share * rate / step)) for rate in RATES_AT_16]


class ASPP(Module):
    """1x1, three atrous 3x3 and image-level pooling side by side, joined and projected by a 1x1, then dropout.

    Without rates 1x1 and pooling are left: half of the multiply-adds of a network on MobileNetV2 are those of the 3x3
    (arXiv 1801.04381, section 6.3, table 7).

    Args:
        c_in: channels of the features; width: channels of each branch and of the result (256 in the paper).
        rates: of the 3x3 branches, of any number; separable: depthwise + pointwise instead of full 3x3.
    """

    source = "DeepLab v3 (arXiv 1706.05587), section 3.3, figure 5"

    def __init__(self, c_in, rates, width=256, separable=False, dropout=0.1):
        conv = SeparableConv2d if separable else ConvNorm
        self.branches = [ConvNorm(c_in, width, 1), *(conv(c_in, width, 3, rate=rate) for rate in rates)]
        self.image_pooling = ConvNorm(c_in, width, 1)
        self.project = ConvNorm(width * (len(self.branches) + 1), width, 1)
        self.dropout = Dropout(dropout)

    def forward(self, x):
        _, h, w, _ = x.shape
        image = self.image_pooling(ops.global_average_pool(x))  # (N, 1, 1, width)
        branches = [branch(x) for branch in self.branches] + [ops.resize_bilinear(image, h, w)]
        return self.dropout(self.project(ops.concat(branches)))
