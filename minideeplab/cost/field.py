"""The receptive field through any graph: which input pixels a position of a map sees."""

import math
from typing import NamedTuple

from kernels.geometry import Window


class Field(NamedTuple):
    """Position p of a map sees the input pixels p * jump + start .. p * jump + end, along one side."""

    jump: float
    start: float
    end: float

    @property
    def size(self) -> int:
        return math.ceil(round(self.end - self.start, 6)) + 1

    def slide(self, k: int, s: int, r: int, before: int) -> "Field":
        """Through a sliding window: k taps at rate r, stride s, `before` pixels of padding at the near border."""
        start = self.start - before * self.jump
        return Field(self.jump * s, start, start + self.end - self.start + (k - 1) * r * self.jump)

    def slide_back(self, k: int, s: int, r: int, before: int) -> "Field":
        """Through its adjoint, a transposed convolution or unpooling: output p reads (p + before - t r) / s, t < k."""
        jump = self.jump / s
        return Field(jump, self.start + (before - (k - 1) * r) * jump, self.end + before * jump)

    def resize(self, size: int, to: int, neighbours: int) -> "Field":
        """Through a resize that reads `neighbours` positions beside the nearest one."""
        if size == to:
            return self
        jump = self.jump * ((size - 1) / (to - 1) if to > 1 and size > 1 else size / to)
        return Field(jump, self.start - neighbours * self.jump, self.end + neighbours * self.jump)

    def shift(self, by: int) -> "Field":
        """Through a crop that removes `by` positions at the near border; negative: a pad."""
        return self._replace(start=self.start + by * self.jump, end=self.end + by * self.jump)


def joined(fields: list[Field]) -> Field | None:
    """What a sum or a concatenation sees. Paths through pooling to a number of bins (image level) are left out."""
    if not fields:
        return None
    return Field(max(f.jump for f in fields), min(f.start for f in fields), max(f.end for f in fields))


_SLIDING = ("conv2d", "pointwise", "depthwise_conv2d", "max_pool2d", "average_pool2d")
_SLIDING_BACK = ("conv2d_grad_input", "depthwise_conv2d_grad_input", "max_pool2d_grad", "average_pool2d_grad")
_NEIGHBOURS = {"resize_bilinear": 1, "resize_nearest": 0}  # positions beside the nearest one that an output reads
_BINS = ("adaptive_average_pool2d", "adaptive_max_pool2d")


def through(name: str, field: Field, args: tuple, output) -> Field | None:
    """The field after one call of the kernel of that name; None where its size follows from that of the image."""
    window = next((a for a in args if isinstance(a, Window)), None)
    if name in _SLIDING:
        return field.slide(window.k_h, window.stride_h, window.rate_h, window.pad_top)
    if name in _SLIDING_BACK:
        return field.slide_back(window.k_h, window.stride_h, window.rate_h, window.pad_top)
    if name in _BINS:
        return None  # a part of the image, if not all of it
    if name in _NEIGHBOURS:
        return field.resize(args[0].shape[1], output.shape[1], _NEIGHBOURS[name])
    if name == "crop":
        return field.shift(args[1])
    if name == "pad":
        return field.shift(-args[1])
    return field
