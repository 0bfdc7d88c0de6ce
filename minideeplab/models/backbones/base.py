"""What all backbones are: a network that turns an image into features."""

from typing import ClassVar

from minideeplab.nn import Module


class Backbone(Module):
    """(N, H, W, 3) images -> features, and low-level features of the same images.

    A subclass sets the attributes and gives `run`. Those of `backbones.BACKBONES` are made by
    Class(name, output_stride=..., width=..., **own options); a network hands the own options on as one mapping,
    `backbone_options`. Where a stage gives up its stride, because the wanted output stride is reached, the convolutions
    after it take that stride as their rate (DeepLab v3, section 3).

    Attributes:
        channels: of the features.
        low_level_channels: of the low-level features.
        output_stride: input size over that of the features: they have ceil(H / output_stride) rows (`VGGFeatures` and
            the classifier DenseNet pool as their papers do, which may give a row more or less).
        separable_heads: whether its paper joins it with heads of separable convolutions.
        classifier_options: its options in the classifier of its paper, where they differ from those for segmentation.
    """

    separable_heads = False
    classifier_options: ClassVar[dict] = {}

    def run(self, x):
        """(outputs of the stages, low-level features) of an (N, H, W, 3) tensor.

        Returns:
            stages: list of tensors, the finest first; the last of them are the features.
            low_level: (N, ceil(H / 4), ceil(W / 4), low_level_channels).
        """
        raise NotImplementedError(f"{type(self).__name__} has no `run`, which every backbone needs")

    def stages_of(self, x):
        """The outputs of all stages, the finest first, the features last."""
        return self.run(x)[0]

    def classifier_conv(self):
        """(Module, its channels) that the classifier of its paper has before its pooling; None where it has none."""
        return None

    def forward(self, x):
        """(features, low-level features)."""
        stages, low_level = self.run(x)
        return stages[-1], low_level


def check_option(name, option, given, possible):
    """Raise ValueError unless the option of the backbone of that name has one of the possible values."""
    if given not in possible:
        *others, last = map(str, possible)
        rule = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"{name}: {option} must be {rule}, got {given!r}")


def multiple_of_8(channels):
    """The nearest multiple of 8, of two the larger, at least 8; the next one where that would lose more than 10 %.

    Source: the authors' code of MobileNet, github.com/tensorflow/models, research/slim/nets/mobilenet.
    """
    nearest = max(8, 8 * int(channels / 8 + 0.5))
    return nearest + 8 if nearest < 0.9 * channels else nearest
