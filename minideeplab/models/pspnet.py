"""PSPNet: features pooled over grids of several sizes tell each pixel what the scene is.

Source: Zhao et al. 2016 (arXiv 1612.01105), section 3, figure 3, table 1; stem and dropout as in the authors' code.
"""

from minideeplab.autograd import ops
from minideeplab.models.auxiliary import AuxiliaryHead
from minideeplab.models.backbones.resnet import ResNet, check_bottleneck
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, ConvNorm, Dropout, Module, truncated_normal


class PyramidPooling(Module):
    """Features pooled to n x n for each n of `bins`, reduced by a 1x1, enlarged, and joined with the features.

    Args:
        pooling: "average" or "max"; reduce: each level has 1 / levels of the channels (the paper's choice), or all.
    """

    source = "PSPNet (arXiv 1612.01105), section 3.2"

    def __init__(self, c_in, bins=(1, 2, 3, 6), pooling="average", reduce=True):
        if pooling not in ("average", "max"):
            raise ValueError(f"pyramid pooling: pooling must be average or max, got {pooling!r}")
        self.bins, self.pooling = tuple(bins), pooling
        self.convs = [ConvNorm(c_in, c_in // len(bins), 1) for _ in bins] if reduce else [None] * len(self.bins)
        self.channels = c_in + len(self.bins) * (c_in // len(bins) if reduce else c_in)

    def forward(self, x):
        _, h, w, _ = x.shape
        pool = ops.adaptive_average_pool2d if self.pooling == "average" else ops.adaptive_max_pool2d
        levels = [x]
        for bins, conv in zip(self.bins, self.convs, strict=True):
            level = pool(x, bins, bins)
            levels.append(ops.resize_bilinear(conv(level) if conv else level, h, w))
        return ops.concat(levels)


class PSPNet(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits at output stride 8, see `Segmenter`.

    Args:
        backbone: resnet50, resnet101 or resnet152, with a stem of three 3x3.
        bins, pooling, reduce: of the pyramid, table 1.
        auxiliary: a second loss on the third stage (section 3.3); auxiliary_weight: of that loss, 0.4 in the paper.
        width: factor on all channels.
    """

    output_stride, source = 8, "PSPNet (arXiv 1612.01105), section 3, figure 3"

    def __init__(
        self, backbone="resnet50", num_classes=21, bins=(1, 2, 3, 6), pooling="average", reduce=True, auxiliary=True,
        width=1.0, auxiliary_weight=0.4,
    ):  # fmt: skip
        check_bottleneck("pspnet", backbone)
        self.backbone = ResNet(backbone, 8, (1, 1, 1), width, stem="3x3")
        c_in, head_width = self.backbone.channels, max(1, round(512 * width))
        self.pyramid = PyramidPooling(c_in, bins, pooling, reduce)
        self.conv, self.dropout = ConvNorm(self.pyramid.channels, head_width, 3), Dropout(0.1)
        self.head = Conv2d(head_width, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.auxiliary = AuxiliaryHead(c_in // 2, num_classes) if auxiliary else None
        self.auxiliary_weight = auxiliary_weight

    def small_logits(self, x):
        return self._scores(self.backbone(x)[0])

    def training_logits(self, x):
        *_, third, fourth = self.backbone.stages_of(x)
        heads = [(1.0, self._scores(fourth))]
        return [*heads, (self.auxiliary_weight, self.auxiliary(third))] if self.auxiliary else heads

    def _scores(self, x):
        return self.head(self.dropout(self.conv(self.pyramid(x))))
