"""A second head on earlier features, for training.

Source: PSPNet (arXiv 1612.01105), section 3.3.
"""

from minideeplab.nn import Conv2d, ConvNorm, Dropout, Module, truncated_normal


class AuxiliaryHead(Module):
    """3x3 with a quarter of the channels, dropout, class scores: a second loss on an earlier stage (PSPNet, 3.3)."""

    source = "PSPNet (arXiv 1612.01105), section 3.3"

    def __init__(self, c_in, num_classes, dropout=0.1, width=None):
        width = c_in // 4 if width is None else width
        self.conv, self.dropout = ConvNorm(c_in, width, 3), Dropout(dropout)
        self.score = Conv2d(width, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def forward(self, x):
        return self.score(self.dropout(self.conv(x)))
