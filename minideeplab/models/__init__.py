"""Models by name, one file for each paper: `build("deeplabv3plus", backbone="xception65", output_stride=16)`."""

from .classifier import BACKBONES, Classifier, check_name
from .deeplabv3plus import DeepLabV3Plus

NAMES = ("deeplabv3plus", *BACKBONES)


def build(name, seed=0, **options):
    """A model with its first values drawn from `seed`.

    Args:
        name: "deeplabv3plus", or a backbone's name for the classifier of its paper.
        options: of the model's constructor: for DeepLabV3Plus backbone, num_classes, output_stride and more.

    Returns:
        The Module in training mode; `model.config` is a dict that JSON can hold, and build(**model.config) rebuilds
        the model.

    Raises:
        ValueError: an unknown name (the near ones are listed), or options that do not fit.
    """
    check_name("model", name, NAMES)
    model = DeepLabV3Plus(**options) if name == "deeplabv3plus" else Classifier(name, **options)
    model.config = {"name": name, "seed": seed, **options}
    return model.initialise(seed)
