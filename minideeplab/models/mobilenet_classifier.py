"""MobileNetV3 as a classifier: its hidden layer comes after the pooling, where it costs one pixel."""

from minideeplab.autograd import ops
from minideeplab.models.backbones import backbone
from minideeplab.models.backbones.base import multiple_of_8
from minideeplab.models.classifier import Classifier
from minideeplab.nn import Conv2d, Dropout, truncated_normal


class MobileNetV3Classifier(Classifier):
    """Global average pooling, a linear layer with hardswish and dropout, a linear layer.

    With `dense` the linear layers are 1x1 convolutions on every position.

    Args:
        name: of a MobileNetV3; num_classes, output_stride, width: as of `BackboneClassifier`.

    Source: MobileNetV3 (arXiv 1905.02244), section 5.1, figure 5, and table 1; dropout 0.2 as in torchvision.
    """

    def __init__(self, name, num_classes=1000, dense=False, output_stride=None, width=1.0):
        super().__init__(dense)
        self.backbone = backbone(name, output_stride=output_stride, width=width)
        hidden, initialiser = multiple_of_8(1280 * width), truncated_normal(0.01)
        self.hidden = Conv2d(self.backbone.channels, hidden, 1, bias=True, initialiser=initialiser)
        self.dropout = Dropout(0.2)
        self.head = Conv2d(hidden, num_classes, 1, bias=True, initialiser=initialiser)
        self.output_stride, self.source = self.backbone.output_stride, self.backbone.source

    def small_logits(self, x):
        return self._scores(self.backbone(x)[0])

    def image_logits(self, x):
        return self._scores(ops.global_average_pool(self.backbone(x)[0]))

    def _scores(self, x):
        return self.head(self.dropout(ops.activate(self.hidden(x), "hardswish")))
