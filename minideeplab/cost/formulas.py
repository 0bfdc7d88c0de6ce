"""The formulas that lectures give: parameters, multiply-adds, receptive field.

Letters: C input channels, N output channels, H W output height and width, K kernel side, r rate, s stride.
"""

from collections.abc import Iterable

from kernels.geometry import Window


def conv_parameters(c: int, n: int, k: int, bias: bool = True) -> int:
    """N (C K^2 + 1): the weights and, with `bias`, a bias for each output channel."""
    return n * (c * k**2 + bias)


def conv_macs(c: int, n: int, k: int, h: int, w: int) -> int:
    """C H W K^2 N; the same for every rate."""
    return c * h * w * k**2 * n


def separable_parameters(c: int, n: int, k: int, bias: bool = True) -> int:
    """C (K^2 + 1) + N (C + 1) = C K^2 + N C + C + N: depthwise, then pointwise."""
    return c * (k**2 + bias) + n * (c + bias)


def separable_macs(c: int, n: int, k: int, h: int, w: int) -> int:
    """C H W (K^2 + N)."""
    return c * h * w * (k**2 + n)


def effective_kernel(k: int, r: int) -> int:
    """k + (k - 1)(r - 1): the extent of a kernel with its holes (DeepLab v2, section 3.1)."""
    return k + (k - 1) * (r - 1)


def receptive_field(layers: Iterable[tuple[int, int, int]]) -> int:
    """Input pixels along a side that an output of a chain of (K, s, r) sees: 1 + sum (k_e - 1) * strides before."""
    field, jump = 1, 1
    for k, s, r in layers:
        field += (effective_kernel(k, r) - 1) * jump
        jump *= s
    return field


def space_to_batch_macs(window: Window) -> int:
    """Multiply-adds if an atrous convolution runs as r x r dense ones on interlaced maps.

    Each map has the same size, so height and width are rounded up to multiples of the rate. The Multiply-Adds columns
    of DeepLab v3+ follow this count.
    """
    height = -(-window.out_h // window.rate_h) * window.rate_h
    width = -(-window.out_w // window.rate_w) * window.rate_w
    return window.macs // (window.out_h * window.out_w) * height * width
