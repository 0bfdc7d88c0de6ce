"""ResNet-18/34/50/101/152 as dilated backbones.

Source: He et al. 2015 (arXiv 1512.03385), table 1; strides on the 3x3 as in the later reference implementations;
atrous stages as in DeepLab v3 (arXiv 1706.05587), section 3: once the wanted output stride is reached, a stage keeps
its resolution and its convolutions take the stride that it gave up as their rate.
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.base import Backbone, check_option
from minideeplab.nn import ConvNorm, MaxPool2d, Module, Sequential

RESNETS = {  # name: (bottleneck units?, units in each of the four stages)
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
    "resnet152": (True, (3, 8, 36, 3)),
    "resnet50-beta": (True, (3, 4, 6, 3)),
    "resnet101-beta": (True, (3, 4, 23, 3)),
}


def check_bottleneck(model, name):
    """Raise ValueError unless `name` is a ResNet with bottleneck units."""
    names = [each for each, (bottleneck, _) in RESNETS.items() if bottleneck]
    if name not in names:
        raise ValueError(f"{model}: backbone must be a ResNet with bottleneck units, {', '.join(names)}, got {name!r}")


def default_multi_grid(name, output_stride):
    """What the option `multi_grid` is where it is not given, see `ResNet`."""
    bottleneck, units = RESNETS[name]
    return (1, 2, 4) if bottleneck and output_stride < 32 else (1,) * units[-1]


class Basic(Module):
    """Two 3x3 convolutions and a shortcut: y = relu(x + f(x)) (He et al., figure 5 left).

    Args:
        first_rate: of the first 3x3, None for `rate`.
    """

    expansion, source = 1, "ResNet (arXiv 1512.03385), figure 5 left"

    def __init__(self, c_in, width, stride, rate, strided="3x3", first_rate=None):
        self.conv1 = ConvNorm(c_in, width, 3, stride, rate if first_rate is None else first_rate)
        self.conv2 = ConvNorm(width, width, 3, 1, rate)
        self.shortcut = _shortcut(c_in, width, stride)

    def forward(self, x):
        return self.conv2(self.conv1(x), self.shortcut(x) if self.shortcut else x)


class Bottleneck(Module):
    """1x1 down to `width`, 3x3, 1x1 up to 4 width, and a shortcut (He et al., figure 5 right).

    Args:
        strided: which convolution has the stride, "3x3" or "1x1"; first_rate: of the 3x3, None for `rate`.
    """

    expansion, source = 4, "ResNet (arXiv 1512.03385), figure 5 right"

    def __init__(self, c_in, width, stride, rate, strided="3x3", first_rate=None):
        rate = rate if first_rate is None else first_rate
        self.conv1 = ConvNorm(c_in, width, 1, stride if strided == "1x1" else 1)
        self.conv2 = ConvNorm(width, width, 3, stride if strided == "3x3" else 1, rate)
        self.conv3 = ConvNorm(width, 4 * width, 1)
        self.shortcut = _shortcut(c_in, 4 * width, stride)

    def forward(self, x):
        return self.conv3(self.conv2(self.conv1(x)), self.shortcut(x) if self.shortcut else x)


def _shortcut(c_in, c_out, stride):
    """A strided 1x1 where the unit changes the channels, every second pixel where only the size, else None."""
    if c_in != c_out:
        return ConvNorm(c_in, c_out, 1, stride, activation=None)
    return MaxPool2d(1, stride) if stride != 1 else None


class ResNet(Backbone):
    """Stem (7x7 stride 2, 3x3 max pool stride 2) and four stages of residual units.

    Args:
        name: of RESNETS.
        output_stride: 8, 16 or 32: input size over the size of the last feature map.
        multi_grid: factors on the rate of the last stage's units (DeepLab v3, section 3.1.1); None for (1, 2, 4)
            where that stage is atrous and has three bottleneck units, else ones.
        width: factor on all channels of the paper.
        stem: "7x7", or "3x3" for three of them with 64, 64, 128 channels (as in PSPNet and DeepLab v3+).
        strided: which convolution of a stage has its stride: "3x3" of the first unit; "1x1" of the first unit, as in
            the paper and the Caffe models; "last", the 3x3 of the last unit, as in DeepLab's TensorFlow code.
            None for what the name says, for `stem` likewise: "7x7" and "3x3"; of the names that end in -beta "3x3" and
            "last", the form that the cost column of DeepLab v3+ (table 3) fits.
        first_rate: rate of an atrous stage's first unit: "stage" as in the paper, (2, 4, 8) at output stride 16 with
            multi-grid (1, 2, 4); "previous" as in torchvision.
        ceil_mode: of the max pooling, as in the Caffe models.

    Low-level features: the first stage's output while it is at stride 4.

    Raises:
        ValueError: an option out of its range, or one that contradicts the name.
    """

    source = "ResNet (arXiv 1512.03385), table 1; atrous stages: DeepLab v3 (arXiv 1706.05587), section 3"

    def __init__(
        self, name, output_stride=32, multi_grid=None, width=1.0, stem=None, strided=None, first_rate="stage",
        ceil_mode=False,
    ):  # fmt: skip
        bottleneck, units = RESNETS[name]
        beta = name.endswith("-beta")
        stem = _chosen(name, "stem", stem, ("3x3",) if beta else ("7x7", "3x3"))
        strided = _chosen(name, "strided", strided, ("last",) if beta else ("3x3", "1x1", "last"))
        check_option(name, "first_rate", first_rate, ("stage", "previous"))
        unit = Bottleneck if bottleneck else Basic
        check_option(name, "output_stride", output_stride, (8, 16, 32))
        if multi_grid is None:
            multi_grid = default_multi_grid(name, output_stride)
        if len(multi_grid) != units[-1]:
            raise ValueError(
                f"{name}: multi_grid needs {units[-1]} factors, one a unit of the last stage, got {multi_grid}"
            )
        first = max(1, round(64 * width))
        if stem == "7x7":
            self.stem = ConvNorm(3, first, 7, stride=2)
        else:
            self.stem = Sequential(
                ConvNorm(3, first, 3, stride=2), ConvNorm(first, first, 3), ConvNorm(first, 2 * first, 3)
            )
        self.ceil_mode = ceil_mode
        self.stages = []
        channels, reached, rate = first if stem == "7x7" else 2 * first, 4, 1
        self.last = strided == "last"
        for i, count in enumerate(units):
            halves = i < 3 if self.last else i > 0  # the stage's stride is 2, in its last or its first unit
            grid = multi_grid if i == 3 else (1,) * count
            layers = []
            for j in range(count):
                stride, unit_rate = 1, rate
                if halves and j == (count - 1 if self.last else 0):
                    if 2 * reached <= output_stride:
                        stride, reached = 2, 2 * reached
                    else:  # a stride that is given up becomes the rate of what follows
                        rate *= 2
                        unit_rate = rate if first_rate == "stage" and not self.last else unit_rate
                where = "1x1" if strided == "1x1" else "3x3"
                layers.append(unit(channels, first * 2**i, stride, unit_rate * grid[j], where))
                channels = first * 2**i * unit.expansion
            self.stages.append(Sequential(*layers))
        self.channels, self.low_level_channels = channels, first * unit.expansion
        self.output_stride = output_stride

    def run(self, x):
        x = ops.max_pool2d(self.stem(x), 3, stride=2, padding=1, ceil_mode=self.ceil_mode)  # (N, H/4, W/4, 64)
        early = self.stages[0]
        if self.last:  # the last unit of the first stage goes on to stride 8
            low_level = early.part(x, 0, -1)
            outputs = [early.part(low_level, -1, None)]
        else:
            low_level = early(x)
            outputs = [low_level]
        for stage in self.stages[1:]:
            outputs.append(stage(outputs[-1]))
        return outputs, low_level


def _chosen(name, option, given, possible):
    """The option's value, the first of the possible ones if it is not given."""
    given = possible[0] if given is None else given
    check_option(name, option, given, possible)
    return given
