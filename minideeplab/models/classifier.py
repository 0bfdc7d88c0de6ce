"""A backbone as the image classifier of its own paper: global average pooling and one linear layer."""

from .. import ops
from ..nn import Conv2d, Module, truncated_normal
from .resnet import RESNETS, ResNet
from .xception import Xception


def backbone(name, **options):
    """The ResNet or Xception of that name."""
    return (ResNet if name in RESNETS else Xception)(name, **options)


class Classifier(Module):
    """(N, H, W, 3) -> (N, num_classes) logits, as (N, 1, 1, num_classes).

    Args:
        name: of a backbone; num_classes: 1000 for ImageNet; width: factor on the backbone's channels.
    """

    def __init__(self, name, num_classes=1000, width=1.0):
        self.backbone = backbone(name, width=width)
        self.head = Conv2d(self.backbone.channels, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def forward(self, x):
        features, _ = self.backbone(x)
        return self.head(ops.global_average_pool(features))
