"""Backbones by name: what turns an image into features. `backbone("resnet50", output_stride=16)`."""

import inspect

from minideeplab.models.backbones.base import Backbone
from minideeplab.models.backbones.densenet import DENSENETS, DenseNet
from minideeplab.models.backbones.drn import DRN, DRNS
from minideeplab.models.backbones.mobilenetv2 import MOBILENETV2S, MobileNetV2
from minideeplab.models.backbones.mobilenetv3 import MOBILENETV3S, MobileNetV3
from minideeplab.models.backbones.resnet import RESNETS, ResNet
from minideeplab.models.backbones.xception import XCEPTIONS, Xception
from minideeplab.models.names import check_name

BACKBONES = {
    **dict.fromkeys(RESNETS, ResNet),
    **dict.fromkeys(XCEPTIONS, Xception),
    **dict.fromkeys(DRNS, DRN),
    **dict.fromkeys(DENSENETS, DenseNet),
    **dict.fromkeys(MOBILENETV2S, MobileNetV2),
    **dict.fromkeys(MOBILENETV3S, MobileNetV3),
}
__all__ = ["BACKBONES", "OWN_OPTIONS", "Backbone", "backbone", "own_options"]


def own_options(name):
    """{option: default} of what the backbone of that name takes beside `output_stride` and `width`.

    Raises:
        ValueError: an unknown name (the near ones are listed).
    """
    check_name("backbone", name, BACKBONES)
    parameters = inspect.signature(BACKBONES[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("name", "output_stride", "width")}


OWN_OPTIONS = tuple(
    dict.fromkeys(option for name in BACKBONES for option in own_options(name))
)  # those of any backbone


def backbone(name, **options):
    """The ResNet, Xception, DRN, DenseNet or MobileNet of that name.

    Args:
        options: `output_stride`, `width` and the backbone's own, see its class; what is None is left to the backbone.

    Raises:
        ValueError: an unknown name (the near ones are listed), or an option that this backbone does not have.
    """
    known = ("output_stride", "width", *own_options(name))
    given = {option: value for option, value in options.items() if value is not None}
    if unknown := sorted(given.keys() - set(known)):
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    return BACKBONES[name](name, **given)
