"""Image classifiers, which without their last pooling are the simplest segmenters; backbones as such."""

from minideeplab.autograd import ops
from minideeplab.models.backbones import BACKBONES, Backbone, backbone
from minideeplab.models.segmenter import Segmenter
from minideeplab.nn import Conv2d, truncated_normal


class Classifier(Segmenter):
    """(N, H, W, 3) -> (N, 1, 1, num_classes) logits of the image; with `dense`, (N, H, W, num_classes) of its pixels.

    Every classifier here is a segmenter that also has a form for whole images. `dense` takes away what joins the
    positions of the last map, so that each of them is scored by itself, and the scores are enlarged as those of any
    `Segmenter`: so DRN (arXiv 1705.09914, section 4) makes a segmenter of a classifier. Weights are the same in both
    forms (but see `SPPNet`). Only the dense form is trained here.

    A subclass calls this constructor, and gives `small_logits` and `image_logits(x)`, the logits of the image.
    """

    def __init__(self, dense):
        self.dense = dense

    def image_logits(self, x):
        """(N, H, W, 3) -> (N, 1, 1, num_classes)."""
        raise NotImplementedError(f"{type(self).__name__} has no `image_logits`, which every classifier needs")

    def forward(self, x):
        return super().forward(x) if self.dense else ops.to_float32(self.image_logits(x))

    def heads(self, x):
        return [self(x)]


class BackboneClassifier(Classifier):
    """A backbone as the classifier of its paper: global average pooling, then one linear layer.

    Where its paper has a convolution before the pooling, `last` is that (`Backbone.classifier_conv`).

    With `dense` the linear layer is a 1x1 convolution on every position.

    Args:
        name: of a backbone; num_classes: 1000 for ImageNet; width: factor on the backbone's channels.
        output_stride: of the backbone, None for its own.
        strided: of a ResNet, see there; "1x1" is the form of the paper's table, whose multiply-adds its authors print.
    """

    def __init__(self, name, num_classes=1000, dense=False, output_stride=None, width=1.0, strided=None):
        super().__init__(dense)
        options = {} if dense else BACKBONES.get(name, Backbone).classifier_options
        self.backbone = backbone(name, width=width, output_stride=output_stride, strided=strided, **options)
        self.last, channels = self.backbone.classifier_conv() or (None, self.backbone.channels)
        self.head = Conv2d(channels, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))
        self.output_stride, self.source = self.backbone.output_stride, self.backbone.source

    def small_logits(self, x):
        return self.head(self._features(x))

    def image_logits(self, x):
        return self.head(ops.global_average_pool(self._features(x)))

    def _features(self, x):
        features = self.backbone(x)[0]
        return self.last(features) if self.last else features
