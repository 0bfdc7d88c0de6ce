"""Moving data without arithmetic: pad and crop (adjoints of each other), concat and split over channels (likewise)."""

import numpy as np

from ..bfloat16 import BFLOAT16, narrow
from ..checks import check_concat, check_crop, check_pad, check_split
from .arrays import contiguous, empty
from .bfloat16 import numbers
from .jit import jit_parallel
from .parts import PARTS, bounds
from .rows import copy_row


def pad(x, top, bottom, left, right, value=0.0):
    """(N, H, W, C) -> (N, top + H + bottom, left + W + right, C), the border filled with `value`."""
    check_pad(x, top, bottom, left, right)
    n, h, w, c = x.shape
    (x,) = contiguous(x)
    padded = empty((n, top + h + bottom, left + w + right, c), x.dtype)
    value = numbers(narrow(np.float32(value)))[()] if x.dtype == BFLOAT16 else x.dtype.type(value)
    _pad(len(padded) * padded.shape[1], numbers(x), numbers(padded), top, left, value)
    return padded


def crop(x, top, left, height, width):
    """x[:, top : top + height, left : left + width] as a new array."""
    check_crop(x, top, left, height, width)
    part = empty((x.shape[0], height, width, x.shape[3]), x.dtype)
    numbers(part)[...] = numbers(x)[:, top : top + height, left : left + width]
    return part


def concat(arrays):
    """Join (N, H, W, C_i) arrays over channels."""
    check_concat(arrays)
    joined = empty((*arrays[0].shape[:3], sum(a.shape[3] for a in arrays)), arrays[0].dtype)
    start = 0
    target = numbers(joined).reshape(-1, joined.shape[3])
    for a in contiguous(*arrays):
        _copy_channels(PARTS, numbers(a).reshape(-1, a.shape[3]), 0, target, start, a.shape[3])
        start += a.shape[3]
    return joined


def split(x, sizes):
    """Cut (N, H, W, C) into contiguous arrays of `sizes` channels each, which must sum to C."""
    check_split(x, sizes)
    (x,) = contiguous(x)
    source, parts, start = numbers(x).reshape(-1, x.shape[3]), [], 0
    for size in sizes:
        part = empty((*x.shape[:3], size), x.dtype)
        _copy_channels(PARTS, source, start, numbers(part).reshape(-1, size), 0, size)
        parts.append(part)
        start += size
    return parts


@jit_parallel
def _pad(line, x, padded, top, left, value):
    """padded[n, top + h, left + w] = x[n, h, w], `value` around it."""
    _, height = padded.shape[:2]
    n_left, n_x = left * x.shape[3], x.shape[2] * x.shape[3]
    n, h = line // height, line % height - top
    row = padded[n, h + top].reshape(-1)
    if 0 <= h < x.shape[1]:
        row[:n_left] = value
        copy_row(x[n, h].reshape(-1), row[n_left : n_left + n_x])
        row[n_left + n_x :] = value
    else:
        row[:] = value


@jit_parallel
def _copy_channels(part, source, from_channel, target, to_channel, count):
    """target[i, to_channel + c] = source[i, from_channel + c] for c < count, for every pixel i."""
    first, last = bounds(part, PARTS, source.shape[0])
    for i in range(first, last):
        copy_row(source[i, from_channel : from_channel + count], target[i, to_channel : to_channel + count])
