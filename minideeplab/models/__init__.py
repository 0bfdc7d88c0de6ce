"""Models by name, one file for each paper: `build("deeplabv3plus", backbone="xception65", output_stride=16)`."""

from minideeplab.models.backbones import BACKBONES
from minideeplab.models.registry import CLASSIFIERS, NAMES, build, create, older_configuration, options_of, unfilled
from minideeplab.models.strides import at_output_stride

__all__ = [
    "BACKBONES",
    "CLASSIFIERS",
    "NAMES",
    "at_output_stride",
    "build",
    "create",
    "older_configuration",
    "options_of",
    "unfilled",
]
