"""The bins of pyramid pooling, drawn on the map that they divide."""

import numpy as np

from kernels.geometry import adaptive_bounds
from minideeplab.models.sppnet import spp_window
from minideeplab.teach.style import BLACK, BLUE, GREY, ORANGE, axes_or_new

RULES = ("adaptive", "window")


def bins_of(size: int, bins: int, rule: str = "adaptive") -> list[tuple[int, int]]:
    """[(first position, position after the last)] of the bins along a side.

        "adaptive": bin i = [floor(i a / n), ceil((i + 1) a / n)): n bins, whatever the size
        "window":   windows of ceil(a / n) at stride floor(a / n), as many as fit: for some sizes more than n

    Args:
        size: a, positions along the side; bins: n, those that are wanted.

    Raises:
        ValueError: another rule, or a map with fewer positions than windows ask for.

    Source: SPP-net (arXiv 1406.4729), section 2.3: "window"; the adaptive rule is that of most libraries.
    """
    if rule not in RULES:
        raise ValueError(f"bins_of: rule must be one of {', '.join(RULES)}, got {rule!r}")
    if rule == "adaptive":
        return [(int(start), int(end)) for start, end in zip(*adaptive_bounds(size, bins), strict=True)]
    window, stride = spp_window(size, bins)
    if stride == 0:
        raise ValueError(f"bins_of: {size} positions are fewer than {bins} windows, floor(a / n) is 0; use adaptive")
    return [(start, start + window) for start in range(0, size - window + 1, stride)]


def draw_bins(size: int | tuple[int, int], bins: int, rule: str = "adaptive", image=None, axes=None) -> None:
    """Draws the n x n bins on a map; above it, one bar for each bin along the width: bars over each other overlap.

    Args:
        size: positions of the map along both sides, or (height, width); bins, rule: as of `bins_of`.
        image: (h, w, 3) picture below the bins, stretched over the map; None for white.
        axes: of matplotlib, a new figure if None.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import FancyBboxPatch, Rectangle

    height, width = (size, size) if isinstance(size, int) else size
    axes = axes_or_new(axes, 4)
    rows, columns = bins_of(height, bins, rule), bins_of(width, bins, rule)
    if image is not None:
        axes.imshow(image, extent=(0, width, height, 0), interpolation="bilinear")
    else:
        for place in range(width + 1):
            axes.plot([place, place], [0, height], color=GREY, linewidth=0.5)
        for place in range(height + 1):
            axes.plot([0, width], [place, place], color=GREY, linewidth=0.5)
    gap = 0.035 * min(height, width) / max(1, bins / 2)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            colour = (BLUE, ORANGE)[(i + j) % 2]
            fill = to_rgba(colour, 0.38) if image is None else "none"
            box = (left + gap, top + gap), right - left - 2 * gap, bottom - top - 2 * gap
            axes.add_patch(FancyBboxPatch(*box, f"round,pad=0,rounding_size={gap}", facecolor=fill, linewidth=1.5,
                                          edgecolor=to_rgba(colour, 0.5 if image is None else 1)))  # fmt: skip
    thick = 0.045 * height
    levels = _levels(columns)
    for j, ((left, right), level) in enumerate(zip(columns, levels, strict=True)):
        bottom = -thick * (0.6 + 1.3 * level)
        axes.add_patch(Rectangle((left + gap, bottom), right - left - 2 * gap, -thick, facecolor=(BLUE, ORANGE)[j % 2],
                                 edgecolor=BLACK, linewidth=0.6))  # fmt: skip
    axes.set(xlim=(-0.1, width + 0.1), ylim=(height + 0.1, -thick * (2.2 + 1.3 * max(levels))), aspect="equal")
    axes.set_xlabel(f"{width} positions")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _levels(spans):
    """A level for each of the spans, sorted by their start, so that no two on one level overlap."""
    ends, levels = [], []
    for start, end in spans:
        level = next((i for i, last in enumerate(ends) if last <= start), len(ends))
        ends[level : level + 1] = [end]
        levels.append(level)
    return levels


def pooled(values: np.ndarray, bins: int, rule: str = "adaptive", pooling: str = "max") -> np.ndarray:
    """(n, n, ...) the largest or mean value of each bin of (H, W, ...), from the definition.

    Args:
        bins, rule: as of `bins_of`; pooling: "max" or "average".
    """
    reduce = {"max": np.max, "average": np.mean}[pooling]
    rows, columns = (bins_of(side, bins, rule) for side in values.shape[:2])
    return np.array([[reduce(values[a:b, c:d], axis=(0, 1)) for c, d in columns] for a, b in rows])
