"""Moving data without arithmetic: pad and crop (adjoints of each other), concat and split over channels (likewise)."""

import numpy as np

from ..checks import check_concat, check_crop, check_pad, check_split
from .rounding import on_maps


@on_maps()
def pad(x, top, bottom, left, right, value=0.0):
    """(N, H, W, C) -> (N, top + H + bottom, left + W + right, C), the border filled with `value`."""
    check_pad(x, top, bottom, left, right)
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


@on_maps()
def crop(x, top, left, height, width):
    """x[:, top : top + height, left : left + width] as a new array."""
    check_crop(x, top, left, height, width)
    return x[:, top : top + height, left : left + width].copy()


@on_maps()
def concat(arrays):
    """Join (N, H, W, C_i) arrays over channels."""
    check_concat(arrays)
    return np.concatenate(arrays, axis=3)


@on_maps()
def split(x, sizes):
    """Cut (N, H, W, C) into contiguous arrays of `sizes` channels each, which must sum to C."""
    check_split(x, sizes)
    return [part.copy() for part in np.split(x, np.cumsum(sizes)[:-1], axis=3)]
