"""Every size of a convolution, pooling or resize, and every shape error, in one place.

A `Window` is what slides over an image: kernel, stride, rate, padding, and the sizes that follow. Kernels trust it,
and cost formulas multiply its fields, so that a formula and the execution cannot disagree.

Letters: N batch, H W height and width, C input channels, K output channels, r rate, s stride.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .activation import check_activation
from .checks import check_maps


class Region(NamedTuple):
    """Output positions that see the same taps: rows p0..p1, columns q0..q1, taps kh0..kh1, kw0..kw1 (ends excluded)."""

    p0: int
    p1: int
    q0: int
    q1: int
    kh0: int
    kh1: int
    kw0: int
    kw1: int


_MAKERS = {"conv2d": "conv", "depthwise_conv2d": "depthwise", "pool": "pool"}


@dataclass(frozen=True)
class Window:
    """The geometry of one sliding-window operation on an NHWC array.

    Output position p reads the input rows p * stride + k * rate - pad_top for k = 0 .. k_h - 1 (columns likewise):

        out_h = floor((in_h + pad_top + pad_bottom - effective_h) / stride_h) + 1
        effective_h = k_h + (k_h - 1)(rate_h - 1)

    (a pooling in ceil mode rounds up). Build it with `Window.conv`, `Window.depthwise`, `Window.conv_transpose` or
    `Window.pool`; they check every argument. Hashable, so what is derived from it is computed once.
    """

    op: str
    n: int
    in_h: int
    in_w: int
    c_in: int
    c_out: int
    k_h: int
    k_w: int
    stride_h: int
    stride_w: int
    rate_h: int
    rate_w: int
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    out_h: int
    out_w: int

    # ---------------------------------------------------------------- constructors

    @staticmethod
    def conv(x_shape, w_shape, stride=1, rate=1, padding=0):
        """Geometry of a dense convolution.

        Args:
            x_shape: (N, H, W, C) of the input.
            w_shape: (KH, KW, C, K) of the weight.
            stride, rate: int or (vertical, horizontal), >= 1, in pixels.
            padding: int, "same" (symmetric rate * (k - 1) // 2), or ((top, bottom), (left, right)).

        Raises:
            ValueError: for any size that does not fit; the message has both shapes and the rule.
        """
        n, h, w, c = _shape("conv2d", "x", x_shape, "N, H, W, C")
        k_h, k_w, w_c, k = _shape("conv2d", "weight", w_shape, "KH, KW, C, K")
        if w_c != c:
            raise ValueError(
                f"conv2d: weight expects {w_c} input channels but x has {c}"
                f" (x {tuple(x_shape)} is N, H, W, C; weight {tuple(w_shape)} is KH, KW, C, K)"
            )
        return Window._slide("conv2d", n, h, w, c, k, k_h, k_w, stride, rate, padding)

    @staticmethod
    def depthwise(x_shape, w_shape, stride=1, rate=1, padding=0):
        """Geometry of a depthwise convolution: weight (KH, KW, C), one filter a channel. Arguments as in `conv`."""
        n, h, w, c = _shape("depthwise_conv2d", "x", x_shape, "N, H, W, C")
        k_h, k_w, w_c = _shape("depthwise_conv2d", "weight", w_shape, "KH, KW, C")
        if w_c != c:
            raise ValueError(
                f"depthwise_conv2d: weight has {w_c} channels but x has {c}"
                f" (x {tuple(x_shape)} is N, H, W, C; weight {tuple(w_shape)} is KH, KW, C)"
            )
        return Window._slide("depthwise_conv2d", n, h, w, c, c, k_h, k_w, stride, rate, padding)

    @staticmethod
    def conv_transpose(x_shape, w_shape, stride=1, rate=1, padding=0, output_padding=0):
        """Geometry of the dense convolution whose adjoint in its input is the transposed convolution of x.

        What is transposed is the convolution's output (y_shape is x_shape), and the result is its input (x_shape):

            in_h = (out_h - 1) stride_h + effective_h - pad_top - pad_bottom + output_padding_h

        Args:
            x_shape: (N, H, W, C) of what is transposed.
            w_shape: (KH, KW, K, C), K being the channels of the result.
            stride, rate: as in `conv`.
            padding: as in `conv`, or (vertical, horizontal); taken off the result.
            output_padding: int or (vertical, horizontal), >= 0 and smaller than the stride, added at the bottom and at
                the right.

        Raises:
            ValueError: for any size that does not fit. TypeError: what is no int or pair of ints.
        """
        op = "conv_transpose2d"
        n, h, w, c = _shape(op, "x", x_shape, "N, H, W, C")
        k_h, k_w, k, w_c = _shape(op, "weight", w_shape, "KH, KW, K, C")
        if w_c != c:
            raise ValueError(
                f"{op}: weight expects {w_c} input channels but x has {c}"
                f" (x {tuple(x_shape)} is N, H, W, C; weight {tuple(w_shape)} is KH, KW, K, C)"
            )
        strides, rates = _pair(op, "stride", stride), _pair(op, "rate", rate)
        more = _pair(op, "output_padding", output_padding, least=0)
        if isinstance(padding, (tuple, list)) and len(padding) == 2 and all(map(_is_int, padding)):
            padding = tuple((side, side) for side in padding)
        pads = _padding(op, padding, (k_h, k_w), rates)
        sides = [
            _transposed_size(op, *axis)
            for axis in zip(("height", "width"), (h, w), (k_h, k_w), strides, rates, pads, more, strict=True)
        ]
        return Window._slide("conv2d", n, *sides, k, c, k_h, k_w, strides, rates, pads)

    @staticmethod
    def pool(x_shape, size, stride=None, padding=0, ceil_mode=False):
        """Geometry of a pooling: window `size` (int or pair), stride (default: the size), rate 1.

        `ceil_mode` rounds the output size up and lets the last window hang over the far border (Caffe's rule); a window
        that would start beyond the input and its near padding is dropped.
        """
        n, h, w, c = _shape("pool", "x", x_shape, "N, H, W, C")
        k_h, k_w = _pair("pool", "size", size)
        stride = (k_h, k_w) if stride is None else stride
        win = Window._slide("pool", n, h, w, c, c, k_h, k_w, stride, 1, padding, ceil_mode=ceil_mode)
        vertical, horizontal = max(win.pad_top, win.pad_bottom), max(win.pad_left, win.pad_right)
        for side, pad, k in (("vertical", vertical, k_h), ("horizontal", horizontal, k_w)):
            if pad >= k:
                raise ValueError(
                    f"pool: {side} padding {pad} must be smaller than the window {k}, or a window sees no pixel"
                )
        return win

    @staticmethod
    def _slide(op, n, h, w, c, k, k_h, k_w, stride, rate, padding, ceil_mode=False):
        s_h, s_w = _pair(op, "stride", stride)
        r_h, r_w = _pair(op, "rate", rate)
        (top, bottom), (left, right) = _padding(op, padding, (k_h, k_w), (r_h, r_w))
        out_h = _out_size(op, "height", h, k_h, s_h, r_h, top, bottom, ceil_mode)
        out_w = _out_size(op, "width", w, k_w, s_w, r_w, left, right, ceil_mode)
        return Window(op, n, h, w, c, k, k_h, k_w, s_h, s_w, r_h, r_w, top, bottom, left, right, out_h, out_w)

    # ---------------------------------------------------------------- what follows from the sizes

    @property
    def x_shape(self):
        return (self.n, self.in_h, self.in_w, self.c_in)

    @property
    def y_shape(self):
        return (self.n, self.out_h, self.out_w, self.c_out)

    @property
    def w_shape(self):
        kernel = (self.k_h, self.k_w, self.c_in)
        return kernel if self.op == "depthwise_conv2d" else (*kernel, self.c_out)

    @property
    def effective_kernel(self):
        """Extent of the kernel with its holes, k + (k - 1)(r - 1), in pixels (DeepLab v2, section 3.1)."""
        return (self.rate_h * (self.k_h - 1) + 1, self.rate_w * (self.k_w - 1) + 1)

    @property
    def macs(self):
        """Multiply-adds as the papers count them: every tap, padding included, each once; of a pooling its adds."""
        per_position = self.k_h * self.k_w * (self.c_out if self.op == "conv2d" else 1)
        return self.n * self.out_h * self.out_w * self.c_in * per_position

    @property
    def is_pointwise(self):
        """1x1, stride 1, no padding: a matrix product over the pixels."""
        ones = (self.k_h, self.k_w, self.stride_h, self.stride_w)
        pads = (self.pad_top, self.pad_bottom, self.pad_left, self.pad_right)
        return self.op == "conv2d" and ones == (1, 1, 1, 1) and pads == (0, 0, 0, 0)

    def regions(self):
        """Rectangles of output positions with one set of taps inside the input each; positions with no tap included.

        The taps inside the input are an interval in each direction, so a convolution splits into at most
        (2 k_h + 1)(2 k_w + 1) rectangles in which no tap needs a test. Cached.
        """
        return _regions(self)

    # ---------------------------------------------------------------- checks of arrays

    def check(self, op, activation=None, **arrays):
        """Raise unless the window was made for `op` and each array has the shape that belongs to its name.

        Args:
            op: "conv2d", "depthwise_conv2d", "pool", or "pointwise" for a conv2d window that is 1x1.
            activation: of the last step, by name.
            arrays: x, weight, grad, scale, shift or residual; None stands for an array that is not given.

        Raises:
            TypeError: mixed dtypes, or none of `checks.check_maps`.
            ValueError: another op, another shape, an unknown activation.
        """
        if op == "pointwise" and not self.is_pointwise:
            raise ValueError("pointwise: the window must be 1x1 with stride 1 and no padding; use conv2d for others")
        if self.op != ("conv2d" if op == "pointwise" else op):
            raise ValueError(f"{op}: the window was made for {self.op}; make one with Window.{_MAKERS[op]}")
        arrays = {name: a for name, a in arrays.items() if a is not None}
        if ("scale" in arrays) != ("shift" in arrays):
            raise ValueError(f"{op}: scale and shift go together, got only one of them")
        if "residual" in arrays and "scale" not in arrays:
            raise ValueError(f"{op}: a residual is added after scale and shift, which are missing")
        check_activation(op, activation)
        if activation is not None and "scale" not in arrays:
            raise ValueError(f"{op}: {activation} follows scale and shift, which are missing; or call `activate`")
        check_maps(op, **arrays)
        channels = (self.c_out,)
        shapes = {"x": self.x_shape, "weight": self.w_shape, "grad": self.y_shape, "residual": self.y_shape}
        shapes |= {"scale": channels, "shift": channels}
        for name, a in arrays.items():
            wanted = shapes[name]
            if tuple(a.shape) != wanted:
                raise ValueError(f"{op}: {name} has shape {tuple(a.shape)}, but the window was made for {wanted}")


def adaptive_bounds(in_size, out_size):
    """Bin i of an adaptive pooling covers [floor(i * in / out), ceil((i + 1) * in / out)).

    Returns:
        (starts, ends): int64 arrays of length out_size. Never empty bins, for any sizes >= 1.
    """
    if in_size < 1 or out_size < 1:
        raise ValueError(f"adaptive pooling: sizes must be >= 1, got input {in_size} and output {out_size}")
    i = np.arange(out_size, dtype=np.int64)
    return i * in_size // out_size, -((-(i + 1) * in_size) // out_size)


@lru_cache(maxsize=256)
def bilinear_taps(in_size, out_size, align_corners):
    """Where each output position of a bilinear resize reads: y[i] = (1 - f[i]) x[low[i]] + f[i] x[high[i]].

    align_corners True maps corner centres onto corner centres, src = i (in - 1) / (out - 1) (the papers' TensorFlow
    code); False maps areas, src = (i + 1/2) in / out - 1/2, clamped at the near border (torchvision).

    Returns:
        (low, high, f): int64, int64, float64 arrays of length out_size; low <= high, both non-decreasing.
    """
    check_resize(in_size, out_size)
    i = np.arange(out_size, dtype=np.float64)
    if align_corners:
        source = i * (in_size - 1) / (out_size - 1) if out_size > 1 else i
    else:
        source = np.maximum((i + 0.5) * in_size / out_size - 0.5, 0.0)
    low = np.minimum(source.astype(np.int64), in_size - 1)
    return low, np.minimum(low + 1, in_size - 1), np.where(low + 1 < in_size, source - low, 0.0)


def check_resize(in_size, out_size):
    """Raise ValueError unless both sizes are >= 1."""
    if in_size < 1 or out_size < 1:
        raise ValueError(f"resize: sizes must be >= 1, got input {in_size} and output {out_size}")


# -------------------------------------------------------------------- helpers


def _shape(op, name, shape, axes):
    shape = tuple(shape)
    if len(shape) != axes.count(",") + 1:
        raise ValueError(f"{op}: {name} must have the {axes.count(',') + 1} axes ({axes}), got shape {shape}")
    if any(s < 1 for s in shape):
        raise ValueError(f"{op}: {name} has an empty axis: {shape} is ({axes})")
    return tuple(int(s) for s in shape)


def _pair(op, name, value, least=1):
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(map(_is_int, pair)):
        raise TypeError(f"{op}: {name} must be an int or a pair of ints, got {value!r}")
    if min(pair) < least:
        raise ValueError(f"{op}: {name} must be >= {least}, got {value!r}")
    return int(pair[0]), int(pair[1])


def _padding(op, padding, kernel, rate):
    if isinstance(padding, str) and padding == "same":
        return tuple((r * (k - 1) // 2,) * 2 for k, r in zip(kernel, rate, strict=True))
    pairs = ((padding, padding), (padding, padding)) if _is_int(padding) else padding
    try:
        (top, bottom), (left, right) = pairs
    except (TypeError, ValueError):
        top = None
    if top is None or not all(map(_is_int, (top, bottom, left, right))):
        raise TypeError(f'{op}: padding must be "same", an int or ((top, bottom), (left, right)), got {padding!r}')
    if min(top, bottom, left, right) < 0:
        raise ValueError(f"{op}: padding must be >= 0, got {padding!r}")
    return (int(top), int(bottom)), (int(left), int(right))


def _is_int(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _out_size(op, axis, size, k, stride, rate, before, after, ceil_mode):
    effective = rate * (k - 1) + 1
    room = size + before + after - effective
    if room < 0:
        raise ValueError(
            f"{op}: {axis} {size} with padding {before}+{after} is smaller than the kernel's extent {effective}"
            f" (k={k}, rate={rate}: k + (k - 1)(rate - 1)); pad more, or use a smaller kernel or rate"
        )
    out = room // stride + 1
    if ceil_mode and room % stride and out * stride < size + before:
        out += 1
    return out


def _transposed_size(op, axis, size, k, stride, rate, pads, more):
    effective, (before, after) = rate * (k - 1) + 1, pads
    if more >= stride:
        raise ValueError(
            f"{op}: output_padding {more} of the {axis} must be smaller than the stride {stride};"
            " it chooses among the sizes that this stride maps to one"
        )
    whole = (size - 1) * stride + effective
    if whole + more - before - after < 1:
        raise ValueError(
            f"{op}: {axis} {size} at stride {stride} becomes ({size} - 1) {stride} + {effective} = {whole}"
            f" (kernel's extent {effective}), of which padding {before}+{after} leaves nothing; pad less"
        )
    return whole + more - before - after


def tap_runs(count, step, offsets, size):
    """Split the positions 0 .. count - 1 into runs in which the same taps fall inside the input.

    Position u reads, for tap t, the input at u * step + offsets[t]; the tap counts if that is in 0 .. size - 1.

    Args:
        offsets: one int a tap, monotone, so that the taps inside are an interval.

    Returns:
        [(u0, u1, t0, t1)]: positions u0 <= u < u1 see the taps t0 <= t < t1 (t0 == t1 where none is inside).
    """
    # tap t is inside for spans[t][0] <= u < spans[t][1]
    spans = [(-(d // step), (size - 1 - d) // step + 1) for d in offsets]
    cuts = sorted({0, count} | {u for span in spans for u in span if 0 < u < count})
    runs = []
    for u0, u1 in pairwise(cuts):
        inside = [t for t, (lo, hi) in enumerate(spans) if lo <= u0 and u1 <= hi]
        runs.append((u0, u1, inside[0], inside[-1] + 1) if inside else (u0, u1, 0, 0))
    return runs


@lru_cache(maxsize=1024)
def _regions(win):
    rows = tap_runs(win.out_h, win.stride_h, [k * win.rate_h - win.pad_top for k in range(win.k_h)], win.in_h)
    columns = tap_runs(win.out_w, win.stride_w, [k * win.rate_w - win.pad_left for k in range(win.k_w)], win.in_w)
    return tuple(Region(p0, p1, q0, q1, a, b, c, d) for p0, p1, a, b in rows for q0, q1, c, d in columns)
