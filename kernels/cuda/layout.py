"""Moving data without arithmetic: pad and crop (adjoints of each other), concat and split over channels (likewise)."""

from ..checks import check_concat, check_crop, check_pad, check_split
from .arrays import empty
from .device import Kernel, cuda


def pad(x, top, bottom, left, right, value=0.0):
    """(N, H, W, C) -> (N, top + H + bottom, left + W + right, C), the border filled with `value`."""
    check_pad(x, top, bottom, left, right)
    n, h, w, c = x.shape
    padded = empty((n, top + h + bottom, left + w + right, c), x.dtype)
    _shift.flat(padded.size, padded.size, x, h, w, padded, *padded.shape[1:], -top, -left, x.dtype.type(value))
    return padded


def crop(x, top, left, height, width):
    """x[:, top : top + height, left : left + width] as a new array."""
    check_crop(x, top, left, height, width)
    n, h, w, c = x.shape
    part = empty((n, height, width, c), x.dtype)
    _shift.flat(part.size, part.size, x, h, w, part, height, width, c, top, left, x.dtype.type(0))
    return part


def concat(arrays):
    """Join (N, H, W, C_i) arrays over channels."""
    check_concat(arrays)
    joined = empty((*arrays[0].shape[:3], sum(a.shape[3] for a in arrays)), arrays[0].dtype)
    start = 0
    for a in arrays:
        _copy_channels.flat(a.size, a.size, a, a.shape[3], 0, joined, joined.shape[3], start, a.shape[3])
        start += a.shape[3]
    return joined


def split(x, sizes):
    """Cut (N, H, W, C) into contiguous arrays of `sizes` channels each, which must sum to C."""
    check_split(x, sizes)
    parts, start = [], 0
    for size in sizes:
        part = empty((*x.shape[:3], size), x.dtype)
        _copy_channels.flat(part.size, part.size, x, x.shape[3], start, part, size, 0, size)
        parts.append(part)
        start += size
    return parts


@Kernel
def _shift(count, x, in_h, in_w, y, out_h, out_w, channels, down, across, value):
    """y[n, p, q] = x[n, p + down, q + across], `value` outside x."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel, c = i // channels, i % channels
        line, q = pixel // out_w, pixel % out_w
        h, w = line % out_h + down, q + across
        inside = 0 <= h < in_h and 0 <= w < in_w
        y[i] = x[((line // out_h * in_h + h) * in_w + w) * channels + c] if inside else value


@Kernel
def _copy_channels(count, source, source_channels, from_channel, target, target_channels, to_channel, channels):
    """target[i, to_channel + c] = source[i, from_channel + c] for c < channels, for every pixel i."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel, c = i // channels, i % channels
        target[pixel * target_channels + to_channel + c] = source[pixel * source_channels + from_channel + c]
