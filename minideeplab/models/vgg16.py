"""VGG-16 as the image classifier of its paper.

Source: Simonyan and Zisserman 2014 (arXiv 1409.1556), table 1, configuration D; fully connected layers as convolutions:
the same paper, section 3.2, and FCN (arXiv 1411.4038).
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.vgg import Scores, VGGFeatures
from minideeplab.models.classifier import Classifier

_MAP = (7, 7)  # that fc6 takes: of an image of 224 x 224


class VGG16(Classifier):
    """(N, H, W, 3) -> (N, 1, 1, num_classes) logits, see `Classifier`.

    The map of an image of another size than 224 x 224 is averaged over 7 x 7 bins, which fc6 takes, as in torchvision.
    With `dense` fc6 is a 7x7 convolution on every position, padded by 3, and poolings round sizes up.

    Args:
        width: factor on all channels, of the fully connected layers too.
    """

    output_stride, source = 32, "VGG-16 (arXiv 1409.1556), table 1, configuration D"

    def __init__(self, num_classes=1000, dense=False, width=1.0):
        super().__init__(dense)
        self.backbone = VGGFeatures(((2, 2, 0),) * 5, width=width, ceil_mode=dense)
        hidden, padding = max(1, round(4096 * width)), "same" if dense else 0
        self.scores = Scores(self.backbone.channels, num_classes, 7, hidden=hidden, padding=padding)

    def small_logits(self, x):
        return self.scores(self.backbone(x)[0])

    def image_logits(self, x):
        features, _ = self.backbone(x)
        return self.scores(features if features.shape[1:3] == _MAP else ops.adaptive_average_pool2d(features, *_MAP))
