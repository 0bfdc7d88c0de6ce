"""DeepLab v2: atrous spatial pyramid pooling whose branches are added, on VGG-16 or ResNet-101.

Source: Chen et al. 2016 (arXiv 1606.00915), sections 3 and 4, figures 4 and 7; details as in the released Caffe
configurations.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.resnet import ResNet
from minideeplab.models.backbones.vgg import Scores, VGGFeatures
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, truncated_normal

RATES = {"largefov": (12,), "aspp-s": (2, 4, 8, 12), "aspp-l": (6, 12, 18, 24), "resnet101": (6, 12, 18, 24)}


class DeepLabV2(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits at output stride 8, see `Segmenter`.

    Args:
        variant: "largefov", "aspp-s", "aspp-l" on VGG-16: each branch fc6 (3x3, 1024 channels), fc7, fc8; "resnet101":
            each branch one 3x3 convolution from 2048 channels to the classes. Branches are added.
        multi_scale: also run on images of 0.5 and 0.75 times the size with the same weights and take the largest score
            (section 3.1); training sums the losses of the three and of the result. None for the paper's choice: with
            ResNet-101.
        width: factor on all channels.
        align_corners: how images are made smaller and logits enlarged; without, images of any size are taken as they
            are.
    """

    output_stride, source = 8, "DeepLab v2 (arXiv 1606.00915), section 3, figures 4 and 7"
    quarters = (2, 3)  # scales 0.5 and 0.75 in whole numbers, so that `export` can write what any side becomes

    def __init__(self, variant="aspp-l", num_classes=21, multi_scale=None, width=1.0, align_corners=True):
        if variant not in RATES:
            raise ValueError(f"deeplabv2: variant must be one of {', '.join(RATES)}, got {variant!r}")
        self.corner, self.align_corners = int(align_corners), align_corners
        self.rates = RATES[variant]
        on_vgg = variant != "resnet101"
        self.multi_scale = not on_vgg if multi_scale is None else multi_scale
        if on_vgg:
            pools = (*((3, 2, 1),) * 3, (3, 1, 1), (3, 1, 1))
            self.backbone = VGGFeatures(pools, rates=(1, 1, 1, 1, 2), width=width)
            hidden = max(1, round(1024 * width))
            self.branches = [Scores(self.backbone.channels, num_classes, 3, rate, hidden=hidden) for rate in self.rates]
        else:
            self.backbone = ResNet("resnet101", 8, (1, 1, 1), width, strided="1x1", ceil_mode=True)
            c_in = self.backbone.channels
            self.branches = [
                Conv2d(c_in, num_classes, 3, rate=rate, bias=True, initialiser=truncated_normal(0.01))
                for rate in self.rates
            ]

    def _scores(self, x):
        features, _ = self.backbone(x)  # (N, H/8, W/8, 512 or 2048)
        scores = self.branches[0](features)
        for branch in self.branches[1:]:
            scores = scores + branch(features)
        return scores

    def small_logits(self, x):
        return self.training_logits(x)[0][1]

    def training_logits(self, x):
        scores = self._scores(x)
        if not self.multi_scale:
            return [(1.0, scores)]
        heads, fused = [scores], scores
        for quarters in self.quarters:
            height, width = ((side - self.corner) * quarters // 4 + self.corner for side in x.shape[1:3])
            smaller = self._scores(ops.resize_bilinear(x, height, width, self.align_corners))
            smaller = ops.resize_bilinear(smaller, *scores.shape[1:3], self.align_corners)
            heads.append(smaller)
            fused = fused + ops.relu(smaller - fused)  # the larger of the two
        return [(1.0, fused), *((1.0, head) for head in heads)]
