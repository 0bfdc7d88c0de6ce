"""The field as it is measured: how much each pixel of an image moves one position of an output."""

from collections.abc import Callable

import numpy as np

from kernels.bfloat16 import sum_dtype
from minideeplab.autograd import Tensor
from minideeplab.nn import Module


def footprint(f: Callable[[Tensor], Tensor], image: Tensor, position: tuple[int, int] | None = None) -> np.ndarray:
    """|d y[p] / d x|: the gradient of one output position with respect to the image.

    Where it is not zero lies the field that counts for this image; where it is large, the effective field (Luo et al.
    2016, arXiv 1701.04128, section 2). Zeros inside the field are gates that ReLU closed, maxima that lay elsewhere,
    or positions that no tap reads.

    Args:
        f: from (1, H, W, C) to (1, h, w, K): a Module, which then runs in evaluation mode, a part of one, a function.
        image: (1, H, W, C) tensor; its values are not changed.
        position: (row, column) of the output, its middle by default.

    Returns:
        (H, W) array: the absolute gradient of sum_k y[0, row, column, k], summed over the C channels.

    Raises:
        ValueError: more than one image, or a position outside the output.
    """
    if len(image.shape) != 4 or image.shape[0] != 1:
        raise ValueError(f"footprint: the image must be (1, H, W, C), got shape {tuple(image.shape)}")
    x = Tensor(image.data, requires_grad=True)
    if isinstance(f, Module):
        with f.evaluating():
            y = f(x)
    else:
        y = f(x)
    row, column = (side // 2 for side in y.shape[1:3]) if position is None else position
    if not (0 <= row < y.shape[1] and 0 <= column < y.shape[2]):
        raise ValueError(f"footprint: position ({row}, {column}) is outside of the output, {tuple(y.shape[1:3])}")
    one = np.zeros(y.shape, sum_dtype(y.dtype))
    one[0, row, column] = 1
    y.backward(Tensor(one).to(y.device).data)
    return np.abs(Tensor(x.grad).numpy()[0]).sum(axis=-1)
