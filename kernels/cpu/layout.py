"""Moving data without arithmetic: pad and crop (adjoints of each other), concat and split over channels (likewise)."""

import numpy as np

from ..checks import check_concat, check_crop, check_pad, check_split
from .arrays import empty, full


def pad(x, top, bottom, left, right, value=0.0):
    """(N, H, W, C) -> (N, top + H + bottom, left + W + right, C), the border filled with `value`."""
    check_pad(x, top, bottom, left, right)
    n, h, w, c = x.shape
    padded = full((n, top + h + bottom, left + w + right, c), value, x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def crop(x, top, left, height, width):
    """x[:, top : top + height, left : left + width] as a new array."""
    check_crop(x, top, left, height, width)
    part = empty((x.shape[0], height, width, x.shape[3]), x.dtype)
    part[...] = x[:, top : top + height, left : left + width]
    return part


def concat(arrays):
    """Join (N, H, W, C_i) arrays over channels."""
    check_concat(arrays)
    joined = empty((*arrays[0].shape[:3], sum(a.shape[3] for a in arrays)), arrays[0].dtype)
    np.concatenate(arrays, axis=3, out=joined)
    return joined


def split(x, sizes):
    """Cut (N, H, W, C) into contiguous arrays of `sizes` channels each, which must sum to C."""
    check_split(x, sizes)
    parts, start = [], 0
    for size in sizes:
        part = empty((*x.shape[:3], size), x.dtype)
        part[...] = x[..., start : start + size]
        parts.append(part)
        start += size
    return parts
