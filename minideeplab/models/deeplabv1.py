"""DeepLab v1: VGG-16 whose last two poolings lose their stride, with holes in the layers that follow.

Source: Chen et al. 2014 (arXiv 1412.7062), sections 3 and 4, tables 1 and 2; what the paper leaves open (kernel and
padding of the poolings, the average pooling after pool5 in LargeFOV) as in the released Caffe configurations.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.vgg import ConvRelu, Scores, VGGFeatures
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, Dropout, Module, losses, truncated_normal

VARIANTS = {  # kernel and rate of fc6, channels of fc6 and fc7 (table 2)
    "basic": (4, 4, 4096),
    "4x4-r8": (4, 8, 4096),
    "7x7": (7, 4, 4096),
    "largefov": (3, 12, 1024),
}


class Branch(Module):
    """Scores of an early feature map, for multi-scale prediction: 3x3, 1x1 with 128 channels each, then class scores.

    The paper joins the channels of all branches before one linear layer; here, as in the released code, each branch has
    its own scores and they are added: the same function.
    """

    source = "DeepLab v1 (arXiv 1412.7062), section 4.3"

    def __init__(self, c_in, num_classes, stride, width):
        self.conv1, self.conv2 = ConvRelu(c_in, width, 3, stride), ConvRelu(width, width, 1)
        self.drop1, self.drop2 = Dropout(0.5), Dropout(0.5)
        self.score = Conv2d(width, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def forward(self, x):
        return self.score(self.drop2(self.conv2(self.drop1(self.conv1(x)))))


class DeepLabV1(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits at output stride 8, see `Segmenter`.

    The loss is taken at the logits' own resolution, on every eighth label (section 3.1).

    Args:
        variant: "basic" (4x4 at rate 4), "4x4-r8", "7x7" (rate 4) or "largefov" (3x3 at rate 12): fc6, table 2.
        msc: add scores from the image and the first four poolings (multi-scale prediction).
        average_pool5: a 3x3 average pooling after pool5; None for the released configuration's choice, in LargeFOV and
            with msc only. The paper does not have it.
        width: factor on all channels.
    """

    output_stride, source = 8, "DeepLab v1 (arXiv 1412.7062), sections 3 and 4, table 2"

    def __init__(self, variant="largefov", num_classes=21, msc=False, average_pool5=None, width=1.0):
        if variant not in VARIANTS:
            raise ValueError(f"deeplabv1: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        kernel, rate, hidden = VARIANTS[variant]
        self.rates = (rate,)
        size, padding4 = (3, 1) if variant == "largefov" or msc else (2, 0)  # of the poolings
        self.corner = 1 if size == 3 else 2  # images of 8 k + 2 for poolings of 2 x 2: 514, 306
        self.average_pool5 = (variant == "largefov" or msc) if average_pool5 is None else average_pool5
        pools = (*((size, 2, 1),) * 3, (size, 1, padding4), (3, 1, 1))
        self.backbone = VGGFeatures(pools, rates=(1, 1, 1, 1, 2), width=width)
        self.scores = Scores(self.backbone.channels, num_classes, kernel, rate, hidden=max(1, round(hidden * width)))
        self.branches = []
        if msc:
            inputs = zip((3, *self.backbone.widths[:4]), (8, 4, 2, 1, 1), strict=True)
            self.branches = [Branch(c, num_classes, s, max(1, round(128 * width))) for c, s in inputs]

    def small_logits(self, x):
        outputs = self.backbone.stages_of(x)
        top = outputs[-1]  # (N, H/8, W/8, 512)
        if self.average_pool5:
            top = ops.average_pool2d(top, 3, 1, 1)
        scores = self.scores(top)
        for branch, early in zip(self.branches, (x, *outputs[:4]), strict=False):
            scores = scores + branch(early)
        return scores

    def loss(self, x, labels, class_weights=None, ignore_index=255, hard_share=1.0):
        """Cross-entropy over every eighth label, the one at the middle of what each logit saw; see `Segmenter.loss`."""
        self._check_labels(x, labels)
        logits = self.small_logits(self._padded(x))
        small = losses.thinned(labels, self.output_stride, logits.shape[1:3], ignore_index)
        if hard_share < 1:
            small = losses.hard_pixels(logits, small, hard_share, ignore_index, class_weights)
        return losses.cross_entropy(logits, small, ignore_index, class_weights)
