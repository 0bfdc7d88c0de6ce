"""Fields that are measured."""

from collections.abc import Callable

import numpy as np

from minideeplab import cost
from minideeplab.autograd import Tensor


def footprint(
    f: Callable[[Tensor], Tensor],
    size: int | tuple[int, int],
    position: tuple[int, int] | None = None,
    channels: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """(H, W): how much each pixel of a noise image moves one output position, see `cost.footprint`.

    Args:
        f: from (1, H, W, channels) to (1, h, w, K), a network or any function of tensors.
        size: side of the image, or (H, W); position: (row, column) of the output, its middle by default.
        channels: of the image; seed: of the noise, standard normal.
    """
    height, width = (size, size) if isinstance(size, int) else size
    noise = np.random.default_rng(seed).standard_normal((1, height, width, channels)).astype(np.float32)
    return cost.footprint(f, Tensor(noise), position)
