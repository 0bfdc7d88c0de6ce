"""Dilated residual networks DRN-A, B, C and D: ResNets that keep stride 8 and remove the gridding of large rates.

Source: Yu, Koltun and Funkhouser 2017 (arXiv 1705.09914): section 2 (A), section 4 and figure 5 (B, C); D is of the
released code. The networks without max pooling have eight levels:

    level       1    2    3    4     5     6     7     8
    channels    16   32   64   128   256   512   512   512     (levels 3 to 6 times four with bottleneck units)
    stride      1    2    4    8     8     8     8     8
    rate        1    1    1    1     2     4     2     1

Levels 7 and 8 take the rate back down, which smooths the grid that the rates of levels 5 and 6 leave.

Rates of the first 3x3 of an atrous level, which reads a level of half the rate: A keeps the half there, as section 2
derives it (1 in the third stage, 2 in the fourth), so it is ResNet evaluated at four times the pixels. B, C and D have
the level's full rate in all convolutions of levels 5 and 6: the released code has an option for the half but switches
it off there, and the published weights of C and D are for that. (Its A, unlike the paper's, has rate 1 in both
convolutions of the first unit.)
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.base import Backbone, check_option
from minideeplab.models.backbones.resnet import Basic, Bottleneck
from minideeplab.nn import ConvNorm, Sequential

DRNS = {  # name: (architecture, bottleneck units?, units in each of the four stages of ResNet: levels 3 to 6)
    "drn-a-18": ("a", False, (2, 2, 2, 2)),
    "drn-a-34": ("a", False, (3, 4, 6, 3)),
    "drn-a-50": ("a", True, (3, 4, 6, 3)),
    "drn-b-26": ("b", False, (2, 2, 2, 2)),
    "drn-c-26": ("c", False, (2, 2, 2, 2)),
    "drn-c-42": ("c", False, (3, 4, 6, 3)),
    "drn-c-58": ("c", True, (3, 4, 6, 3)),
    "drn-d-22": ("d", False, (2, 2, 2, 2)),
    "drn-d-38": ("d", False, (3, 4, 6, 3)),
    "drn-d-54": ("d", True, (3, 4, 6, 3)),
    "drn-d-105": ("d", True, (3, 4, 23, 3)),
}


class Plain(Basic):
    """Two 3x3 convolutions, y = f(x): no shortcut carries the grid past them (section 4, "removing residual").

    Where the channels change (C-58: 2048 to 512) Basic's projection is still among the parameters, unused, as it is in
    the published count and weights.
    """

    source = "DRN (arXiv 1705.09914), section 4"

    def forward(self, x):
        return self.conv2(self.conv1(x))


class Single(ConvNorm):
    """One 3x3 convolution with batch norm and ReLU: D's unit at both ends."""

    expansion, source = 1, "DRN-D, https://github.com/fyu/drn"

    def __init__(self, c_in, width, stride, rate):
        super().__init__(c_in, width, 3, stride, rate)


_ENDS = {"b": (Basic, Basic), "c": (Basic, Plain), "d": (Single, Single)}  # units of levels 1 and 2, of levels 7 and 8


class DRN(Backbone):
    """A 7x7 stem (A: at stride 2, then 3x3 max pool at stride 2), then the stages, which B, C and D call levels.

    Args:
        name: of DRNS.
        output_stride: 8; the rates are part of the architecture. multi_grid: None, likewise.
        width: factor on all channels of the paper.

    Low-level features: the output of A's first stage, or of level 3 of the others.
    """

    source = "DRN (arXiv 1705.09914), sections 2 and 4"

    def __init__(self, name, output_stride=8, multi_grid=None, width=1.0):
        architecture, bottleneck, units = DRNS[name]
        check_option(name, "output_stride", output_stride, (8,))
        if multi_grid is not None:
            raise ValueError(f"{name}: multi_grid must be None, the rates are fixed, got {multi_grid}")
        unit = Bottleneck if bottleneck else Basic
        self.pools = architecture == "a"
        # (unit, channels, units, stride, rate) of each stage
        stages = [
            (unit, 64, units[0], 1 if self.pools else 2, 1),
            (unit, 128, units[1], 2, 1),
            (unit, 256, units[2], 1, 2),
            (unit, 512, units[3], 1, 4),
        ]
        if not self.pools:
            first, last = _ENDS[architecture]
            stages = [(first, 16, 1, 1, 1), (first, 32, 1, 2, 1), *stages, (last, 512, 1, 1, 2), (last, 512, 1, 1, 1)]

        def scaled(channels):
            return max(1, round(channels * width))

        channels = scaled(64 if self.pools else 16)
        self.stem = ConvNorm(3, channels, 7, stride=2 if self.pools else 1)
        self.stages, self.low_level_stage, rate_before = [], 0 if self.pools else 2, 1
        for unit, c, count, stride, rate in stages:
            layers = []
            for j in range(count):
                only_a = {"first_rate": rate_before} if self.pools and j == 0 else {}
                layers.append(unit(channels, scaled(c), stride if j == 0 else 1, rate, **only_a))
                channels, rate_before = scaled(c) * unit.expansion, rate
            self.stages.append(Sequential(*layers))
        self.channels, self.output_stride = channels, output_stride
        self.low_level_channels = scaled(64) * (4 if bottleneck else 1)

    def run(self, x):
        x, outputs = self.stem(x), []
        if self.pools:
            x = ops.max_pool2d(x, 3, stride=2, padding=1)  # (N, H/4, W/4, 64)
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs, outputs[self.low_level_stage]
