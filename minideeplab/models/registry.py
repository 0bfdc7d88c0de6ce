"""Models by name, one file for each paper: `build("deeplabv3plus", backbone="xception65", output_stride=16)`."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import NamedTuple

from minideeplab.models.backbones import BACKBONES, OWN_OPTIONS
from minideeplab.models.backbones.mobilenetv3 import MOBILENETV3S
from minideeplab.models.backbones.xception import Xception
from minideeplab.models.classifier import BackboneClassifier
from minideeplab.models.deeplabv1 import VARIANTS, DeepLabV1
from minideeplab.models.deeplabv2 import RATES, DeepLabV2
from minideeplab.models.deeplabv3 import DeepLabV3, DeepLabV3Cascade
from minideeplab.models.deeplabv3plus import DeepLabV3Plus
from minideeplab.models.fcn import FCN
from minideeplab.models.lraspp import LRASPP
from minideeplab.models.mobilenet_classifier import MobileNetV3Classifier
from minideeplab.models.names import check_name
from minideeplab.models.pspnet import PSPNet
from minideeplab.models.segnet import SegNet
from minideeplab.models.sppnet import SPPNet
from minideeplab.models.torchvision import TorchvisionSegmenter
from minideeplab.models.unet import UNet
from minideeplab.models.vgg16 import VGG16

MODELS = {
    "deeplabv3plus": DeepLabV3Plus,
    "deeplabv3": DeepLabV3,
    "deeplabv3-cascade": DeepLabV3Cascade,
    **{f"deeplabv2-{name}": partial(DeepLabV2, name) for name in RATES},
    **{f"deeplabv1-{name}": partial(DeepLabV1, name) for name in VARIANTS},
    **{f"deeplabv1-{name}-msc": partial(DeepLabV1, name, msc=True) for name in VARIANTS},
    "pspnet": PSPNet,
    **{f"fcn-{stride}s": partial(FCN, stride) for stride in (32, 16, 8)},
    "segnet": SegNet,
    "unet": UNet,
    **{
        f"torchvision-{head}_{backbone}": partial(TorchvisionSegmenter, head, backbone)
        for head in ("fcn", "deeplabv3")
        for backbone in ("resnet50", "resnet101")
    },
    "torchvision-deeplabv3_mobilenet_v3_large": partial(TorchvisionSegmenter, "deeplabv3", "mobilenet_v3_large"),
    "torchvision-lraspp_mobilenet_v3_large": partial(LRASPP, "mobilenet_v3_large"),
    **{name: partial(BackboneClassifier, name) for name in BACKBONES if name not in MOBILENETV3S},
    **{name: partial(MobileNetV3Classifier, name) for name in MOBILENETV3S},
    "vgg16": VGG16,
    "spp-net": SPPNet,
}
CLASSIFIERS = (*BACKBONES, "vgg16", "spp-net")
NAMES = tuple(MODELS)


class _Rule(NamedTuple):
    words: str
    holds: Callable[[object], bool]


LARGEST_RATE, MOST_BINS = 2**16, 256  # beyond every image; and 256 x 256 bins are more than any feature map


def _is_whole(number, least, most=math.inf):
    return isinstance(number, Integral) and not isinstance(number, bool) and least <= number <= most


def _are_whole(numbers, most):
    return isinstance(numbers, (list, tuple)) and all(_is_whole(each, 1, most) for each in numbers)


_COUNT = _Rule("a whole number, 1 or more", lambda n: _is_whole(n, 1))
_RATES = _Rule(f"whole numbers from 1 to {LARGEST_RATE}", lambda r: _are_whole(r, LARGEST_RATE))
_GRID = _Rule(f"one or more whole numbers from 1 to {LARGEST_RATE}", lambda r: _are_whole(r, LARGEST_RATE) and r)
_SWITCH = _Rule("True or False", lambda value: isinstance(value, bool))
_RULES = {  # what constructors would take for another network, or fail on much later
    "num_classes": _COUNT,
    "head_width": _COUNT,
    "low_level_width": _COUNT,
    "width": _Rule("a number above 0", lambda x: isinstance(x, Real) and not isinstance(x, bool) and 0 < x < math.inf),
    "auxiliary_weight": _Rule(
        "a number, 0 or more", lambda x: isinstance(x, Real) and not isinstance(x, bool) and 0 <= x < math.inf
    ),
    "atrous_rates": _RATES,
    "multi_grid": _GRID,
    "bins": _Rule(f"whole numbers from 1 to {MOST_BINS}", lambda bins: _are_whole(bins, MOST_BINS)),
    **dict.fromkeys(("multi_scale", "average_pool5", "ceil_mode", "extra_relu"), _SWITCH),  # None by default
}


def options_of(name):
    """The options that `build(name, ...)` takes, with their defaults.

    Where the constructor takes `backbone_options`, the options of all backbones stand here by their own names; None
    leaves them to the backbone.

    Raises:
        ValueError: an unknown name (the near ones are listed).
    """
    own = _constructor_options(name)
    if "backbone_options" not in own:
        return own
    del own["backbone_options"]
    return own | {option: None for option in OWN_OPTIONS if option not in own}


def _constructor_options(name):
    check_name("model", name, NAMES)
    parameters = inspect.signature(MODELS[name]).parameters.values()
    given = MODELS[name].keywords if isinstance(MODELS[name], partial) else ()
    return {p.name: p.default for p in parameters if p.name not in given}


def create(name, **options):
    """A model with parameters of zero, for counting. Arguments and errors as of `build`."""
    known = options_of(name)
    if unknown := sorted(options.keys() - known.keys()):
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    for option, value in options.items():
        rule = _SWITCH if isinstance(known[option], bool) else _RULES.get(option)
        if rule and not (rule.holds(value) or (value is None and known[option] is None)):
            raise ValueError(f"{name}: {option} must be {rule.words}, got {value!r}")
    own = _constructor_options(name)
    given = {option: value for option, value in options.items() if option in own}
    if "backbone_options" in own:
        given["backbone_options"] = {option: value for option, value in options.items() if option not in own}
    return MODELS[name](**given)


def build(name, seed=0, **options):
    """A model with its first values drawn from `seed`.

    Args:
        name: one of NAMES; a backbone's name is the classifier of its paper.
        options: see `options_of(name)`: num_classes, width and more, and those of its backbone.

    Returns:
        The Module in training mode; `model.config` is a dict that JSON can hold, and build(**model.config) rebuilds
        the model.

    Raises:
        ValueError: an unknown name (the near ones are listed), or options that do not fit.
    """
    return unfilled(name, seed, **options).initialise(seed)


def unfilled(name, seed=0, **options):
    """As `build`, with parameters of zero that are not in memory yet: to be loaded. Arguments and errors as there."""
    if not _is_whole(seed, 0):
        raise ValueError(f"{name}: seed must be a whole number, 0 or more, got {seed!r}")
    model = create(name, **options)
    chosen = options_of(name) | options  # defaults too, so that a file means the same when they change
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in chosen.items()}
    model.config = {"name": name, "seed": seed, **plain}
    return model.reseed(seed)


def older_configuration(config):
    """The configuration in a file of any age, as `build` takes it: what older files leave unsaid is said.

    Files from before `extra_relu` hold an Xception without ReLU after its depthwise parts. `first_rate` is as old as
    that option, and stands in the configuration of DeepLab v3, too.
    """
    is_xception = BACKBONES.get(str(config.get("backbone"))) is Xception
    return config if not is_xception or "first_rate" in config else {"extra_relu": False} | config
