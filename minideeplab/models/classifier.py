"""A backbone as the image classifier of its own paper, or, without the pooling, as the simplest segmenter."""

from minideeplab.autograd import ops
from minideeplab.models.backbones import backbone
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, truncated_normal


class Classifier(Segmenter):
    """(N, H, W, 3) -> (N, 1, 1, num_classes) logits: global average pooling and one linear layer.

    With `dense` the linear layer is a 1x1 convolution on every position and the logits are enlarged to (N, H, W,
    num_classes), see `Segmenter`: so DRN (arXiv 1705.09914, section 4) makes a segmenter of a classifier.

    Args:
        name: of a backbone; num_classes: 1000 for ImageNet; width: factor on the backbone's channels.
        output_stride: of the backbone, None for its own.
    """

    def __init__(self, name, num_classes=1000, dense=False, output_stride=None, width=1.0):
        options = {} if output_stride is None else {"output_stride": output_stride}
        self.backbone = backbone(name, width=width, **options)
        self.head = Conv2d(self.backbone.channels, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.dense, self.output_stride = dense, self.backbone.output_stride

    def small_logits(self, x):
        return self.head(self.backbone(x)[0])

    def forward(self, x):
        return super().forward(x) if self.dense else self.head(ops.global_average_pool(self.backbone(x)[0]))

    def heads(self, x):
        return [self(x)]
