"""Spatial pyramid pooling: maps of any size become vectors of one length.

Source: He et al. 2014 (arXiv 1406.4729), sections 2 and 3, table 1 (ZF-5).
"""

from minideeplab.autograd import ops
from minideeplab.models.backbones.vgg import ConvRelu
from minideeplab.models.classifier import Classifier
from minideeplab.nn import Conv2d, Dropout, Module, truncated_normal


def spp_window(size, bins):
    """(window, stride) of the paper's pooling of a side to `bins`: ceil(a / n), floor(a / n) (section 2.3)."""
    return -(-size // bins), size // bins


class SpatialPyramidPooling(Module):
    """(N, H, W, C) -> (N, 1, 1, C * sum n^2): the maxima over n x n bins for each n of `bins`.

    Args:
        rule: "adaptive", bins that cover the map for any size; "window", the paper's windows of ceil(a / n) at stride
            floor(a / n), which give another number of bins for some sizes (a = 7, n = 4: 6 a side): an error then.
    """

    source = "SPP-net (arXiv 1406.4729), section 2"

    def __init__(self, bins=(6, 3, 2, 1), rule="adaptive"):
        if rule not in ("adaptive", "window"):
            raise ValueError(f"spatial pyramid pooling: rule must be adaptive or window, got {rule!r}")
        self.bins, self.rule = tuple(bins), rule
        self.vectors = sum(n**2 for n in bins)  # of C numbers each

    def forward(self, x):
        cells = []
        for n in self.bins:
            level = self._pooled(x, n)
            cells += [ops.crop(level, p, q, 1, 1) for p in range(n) for q in range(n)]
        return ops.concat(cells)

    def _pooled(self, x, n):
        if self.rule == "adaptive":
            return ops.adaptive_max_pool2d(x, n, n)
        (height, down), (width, across) = (spp_window(side, n) for side in x.shape[1:3])
        if down == 0 or across == 0:
            raise ValueError(f"spatial pyramid pooling: a map of {x.shape[1:3]} has no {n} x {n} windows; use adaptive")
        level = ops.max_pool2d(x, (height, width), (down, across))
        if level.shape[1:3] != (n, n):
            raise ValueError(
                f"spatial pyramid pooling: windows of {height}x{width} at stride {down}x{across} on a map of"
                f" {x.shape[1:3]} give {level.shape[1]}x{level.shape[2]} bins, not {n}x{n}; use rule='adaptive'"
            )
        return level


class SPPNet(Classifier):
    """(N, H, W, 3) -> (N, 1, 1, num_classes) logits of images of any size, see `Classifier`.

    Five convolutions (ZF-5, without its local response normalisation), spatial pyramid pooling, three fully connected
    layers. With `dense` every position's features are joined with the image's vector of fc7 before the scores. So the
    scores, and they alone, have other weights in that form.

    Args:
        bins, rule: of the pooling; width: factor on all channels.
    """

    output_stride, source = 16, "SPP-net (arXiv 1406.4729), section 3, table 1 (ZF-5)"

    def __init__(self, num_classes=1000, bins=(6, 3, 2, 1), rule="adaptive", dense=False, width=1.0):
        super().__init__(dense)
        c1, c2, c3, hidden = (max(1, round(c * width)) for c in (96, 256, 384, 4096))
        self.conv1, self.conv2 = ConvRelu(3, c1, 7, stride=2, padding=3), ConvRelu(c1, c2, 5, stride=2, padding=2)
        self.conv3, self.conv4, self.conv5 = ConvRelu(c2, c3, 3), ConvRelu(c3, c3, 3), ConvRelu(c3, c2, 3)
        self.pooling = SpatialPyramidPooling(bins, rule)
        self.fc6, self.fc7 = ConvRelu(c2 * self.pooling.vectors, hidden, 1), ConvRelu(hidden, hidden, 1)
        self.drop6, self.drop7 = Dropout(0.5), Dropout(0.5)
        seen = hidden + c2 if dense else hidden
        self.fc8 = Conv2d(seen, num_classes, 1, bias=True, initialiser=truncated_normal(0.01))

    def _features(self, x):
        """(features (N, H/16, W/16, 256), vector (N, 1, 1, 4096))."""
        x = ops.max_pool2d(self.conv1(x), 3, 2, 1)  # (N, H/4, W/4, 96)
        x = ops.max_pool2d(self.conv2(x), 3, 2, 1)
        x = self.conv5(self.conv4(self.conv3(x)))
        return x, self.drop7(self.fc7(self.drop6(self.fc6(self.pooling(x)))))

    def small_logits(self, x):
        features, vector = self._features(x)
        return self.fc8(ops.concat([features, ops.resize_bilinear(vector, *features.shape[1:3])]))

    def image_logits(self, x):
        return self.fc8(self._features(x)[1])
