"""Backbones by name: what turns an image into features. `backbone("resnet50", output_stride=16)`."""

from minideeplab.models.backbones.densenet import DENSENETS, DenseNet
from minideeplab.models.backbones.drn import DRN, DRNS
from minideeplab.models.backbones.resnet import RESNETS, ResNet
from minideeplab.models.backbones.xception import XCEPTIONS, Xception
from minideeplab.models.names import check_name

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
