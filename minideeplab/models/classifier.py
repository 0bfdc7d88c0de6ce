"""A backbone as the image classifier of its own paper: global average pooling and one linear layer."""

import difflib

from .. import ops
from ..nn import Conv2d, Module, truncated_normal
from .resnet import RESNETS, ResNet
from .xception import XCEPTIONS, Xception

BACKBONES = {**dict.fromkeys(RESNETS, ResNet), **dict.fromkeys(XCEPTIONS, Xception)}


def backbone(name, **options):
    """The ResNet or Xception of that name; ValueError lists the near names for an unknown one."""
    check_name("backbone", name, BACKBONES)
    return BACKBONES[name](name, **options)


def check_name(kind, name, names):
    """Raise ValueError unless `name` is among `names`; the message has the near ones, or all."""
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        raise ValueError(
            f"unknown {kind} {name!r}; "
            + (f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}")
        )


class Classifier(Module):
    """(N, H, W, 3) -> (N, 1, 1, num_classes) logits.

    Args:
        name: of a backbone; num_classes: 1000 for ImageNet; width: factor on the backbone's channels.
    """

    def __init__(self, name, num_classes=1000, width=1.0):
        self.backbone = backbone(name, width=width)
        self.head = Conv2d(self.backbone.channels, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def forward(self, x):
        features, _ = self.backbone(x)
        return self.head(ops.global_average_pool(features))
