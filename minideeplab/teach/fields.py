"""Fields: measured, and drawn."""

from collections.abc import Callable, Sequence

import numpy as np

from minideeplab import cost
from minideeplab.autograd import Tensor
from minideeplab.cost import receptive_field
from minideeplab.teach.style import BLUE, SKY, axes_or_new


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


def half_side(print_: np.ndarray, position: tuple[int, int] | None = None, share: float = 0.5) -> int:
    """Side of the smallest square around a position that holds this share of a footprint: the effective field.

    Args:
        print_: (H, W) footprint; position: (row, column) of the square's middle, that of the image by default.
    """
    row, column = (side // 2 for side in print_.shape) if position is None else position
    total, radius = print_.sum(), 0
    while _inside(print_, row, column, radius).sum() < share * total:
        radius += 1
    return 2 * radius + 1


def _inside(print_, row, column, radius):
    return print_[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]


def draw_chain(chain: Sequence[tuple[int, int, int]], axes=None) -> None:
    """Draws which input positions one output of a chain of convolutions reads, in one dimension, layer by layer.

    Args:
        chain: (K, s, r) of each layer, K odd, the first layer first; axes: to draw on, a new figure by default.
    """
    axes = axes_or_new(axes, 0.9 + 0.7 * len(chain))
    field, jumps = receptive_field(chain), [1]
    for _, s, _ in chain:
        jumps.append(jumps[-1] * s)
    reach, used = field // 2 + 2, {0}
    for level in range(len(chain), -1, -1):
        jump = jumps[level]
        positions = np.arange(-(reach // jump), reach // jump + 1) * jump
        axes.plot(positions, np.full(len(positions), level), "o", color="#d0d0d0", markersize=5, zorder=1)
        axes.plot(sorted(used), np.full(len(used), level), "o", color=BLUE, markersize=6, zorder=3)
        if level:
            k, _, r = chain[level - 1]
            taps = (np.arange(k) - k // 2) * r * jumps[level - 1]
            lines = [(p, p + t) for p in used for t in taps]
            axes.plot(np.array(lines).T, [[level] * len(lines), [level - 1] * len(lines)], color=SKY, lw=0.8, zorder=2)
            used = {p + t for p in used for t in taps}
    axes.set_yticks(range(len(chain) + 1), ["input"] + [f"{k} taps, s = {s}, r = {r}" for k, s, r in chain])
    axes.set_xlabel("input pixel, from the one in the middle")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
