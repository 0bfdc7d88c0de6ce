"""A backbone as the image classifier of its own paper, or, without the pooling, as the simplest segmenter."""

import difflib

from .. import ops
from ..nn import Conv2d, truncated_normal
from .densenet import DENSENETS, DenseNet
from .drn import DRN, DRNS
from .resnet import RESNETS, ResNet
from .segmenter import Segmenter
from .xception import XCEPTIONS, Xception

BACKBONES = {
    **dict.fromkeys(RESNETS, ResNet),
    **dict.fromkeys(XCEPTIONS, Xception),
    **dict.fromkeys(DRNS, DRN),
    **dict.fromkeys(DENSENETS, DenseNet),
}


def backbone(name, **options):
    """The ResNet, Xception, DRN or DenseNet of that name; ValueError lists the near names for an unknown one."""
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
