"""VGG-16 as the image classifier of its paper.

Source: Simonyan and Zisserman 2014 (arXiv 1409.1556), table 1, configuration D; fully connected layers as convolutions:
the same paper, section 3.2, and FCN (arXiv 1411.4038).
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.vgg import Scores, VGGFeatures
from minideeplab.models.segmenter import Segmenter


class VGG16(Segmenter):
    """(N, H, W, 3) -> (N, 1, 1, num_classes) logits, H, W >= 224: the mean of the scores at all positions.

    With `dense` the scores of all positions, fc6 padded by 3, are enlarged to (N, H, W, num_classes).

    Args:
        width: factor on all channels, of the fully connected layers too.
    """

    output_stride = 32

    def __init__(self, num_classes=1000, dense=False, width=1.0):
        self.backbone = VGGFeatures(((2, 2, 0),) * 5, width=width, ceil_mode=dense)
        hidden, padding = max(1, round(4096 * width)), "same" if dense else 0
        self.scores = Scores(self.backbone.channels, num_classes, 7, hidden=hidden, padding=padding)
        self.dense = dense

    def small_logits(self, x):
        return self.scores(self.backbone(x)[-1])

    def forward(self, x):
        return super().forward(x) if self.dense else ops.global_average_pool(self.small_logits(x))

    def heads(self, x):
        return [self(x)]
