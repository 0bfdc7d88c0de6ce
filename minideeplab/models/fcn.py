"""FCN-32s, 16s and 8s: a classifier made convolutional, and its scores enlarged with the help of earlier ones.

Source: Long, Shelhamer and Darrell 2015 (arXiv 1411.4038), sections 3 and 4, figure 3; paddings and crops as in the
authors' network definitions.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.vgg import Scores, VGGFeatures
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, ConvTranspose2d, bilinear, zeros


def _upsample(classes, factor):
    return ConvTranspose2d(classes, classes, 2 * factor, factor, initialiser=bilinear)


class FCN(Segmenter):
    """(N, H, W, 3) -> (N, H, W, num_classes) logits; images of any size are padded by 100 pixels in the first layer.

    All enlargements are learned here; in the paper the last one stays bilinear.

    Args:
        stride: 32, 16 or 8, of the finest scores that are used.
        width: factor on all channels.
    """

    output_stride, align_corners = 32, False  # logits of the image's size come out of the network
    source = "FCN (arXiv 1411.4038), section 4, figure 3"

    def __init__(self, stride=8, num_classes=21, width=1.0):
        if stride not in (32, 16, 8):
            raise ValueError(f"fcn: stride must be 32, 16 or 8, got {stride}")
        self.backbone = VGGFeatures(((2, 2, 0),) * 5, width=width, first_padding=100)
        hidden, widths = max(1, round(4096 * width)), self.backbone.widths
        self.scores = Scores(self.backbone.channels, num_classes, 7, hidden=hidden, padding=0)
        early = {16: (3,), 8: (3, 2)}.get(stride, ())  # poolings (from 0) whose scores are added, at first zero
        self.early_scores = [Conv2d(widths[i], num_classes, 1, bias=True, initialiser=zeros) for i in early]
        self.doubles = [_upsample(num_classes, 2) for _ in early]
        self.enlarge = _upsample(num_classes, stride)
        self.early = early
        self.offset = {32: 19, 16: 27, 8: 31}[stride]  # of the image in the enlarged scores

    def small_logits(self, x):
        outputs = self.backbone.stages_of(x)
        y = self.scores(outputs[-1])
        for i, score, double in zip(self.early, self.early_scores, self.doubles, strict=True):
            y, offset = double(y), {3: 5, 2: 9}[i]
            y = y + ops.crop(score(outputs[i]), offset, offset, *y.shape[1:3])
        return ops.crop(self.enlarge(y), self.offset, self.offset, *x.shape[1:3])
