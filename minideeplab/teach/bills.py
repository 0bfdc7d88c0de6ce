"""Drawings of what networks cost."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from minideeplab.cost import Cost
from minideeplab.teach.style import BLUE, GREEN, GREY, ORANGE, PINK, SKY, axes_or_new, panels

NOWHERE = MappingProxyType({})


def draw_interlaced(side: int, rate: int, axes=None) -> None:
    """Draws a map beside the rate x rate dense maps that it becomes where atrous convolutions run as dense ones.

    Positions of one colour belong to one dense map. Grey positions do not exist: they round the side up to a multiple
    of the rate, and they are computed, too.

    Args:
        side: of the map, positions; rate: of the convolution; axes: two to draw on, a new figure by default.
    """
    left, right = panels(1, 2, 3.4) if axes is None else axes
    padded = -(-side // rate) * rate
    rows, columns = np.mgrid[:padded, :padded]
    phase = (rows % rate * rate + columns % rate).astype(float)
    phase[(rows >= side) | (columns >= side)] = np.nan
    _grid(left, phase, rate, side)
    left.set_title(f"the map: {side} x {side}, rounded up to {padded} x {padded} (grey)")
    gathered = phase.reshape(padded // rate, rate, padded // rate, rate).transpose(1, 0, 3, 2).reshape(padded, padded)
    _grid(right, gathered, rate, None)
    for i in range(1, rate):
        right.axhline(i * padded // rate - 0.5, color="white", lw=2.5)
        right.axvline(i * padded // rate - 0.5, color="white", lw=2.5)
    right.set_title(f"{rate} x {rate} dense maps of {padded // rate} x {padded // rate}")


def _grid(axes, phase, rate, side):
    import matplotlib

    colours = matplotlib.colormaps["viridis"].with_extremes(bad="#c8c8c8")
    axes.imshow(phase, cmap=colours, vmin=0, vmax=rate**2 - 1)
    axes.set_xticks(np.arange(phase.shape[1] + 1) - 0.5, [])
    axes.set_yticks(np.arange(phase.shape[0] + 1) - 0.5, [])
    axes.grid(color="white", lw=0.6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if side is not None and side < len(phase):
        axes.plot([-0.5, side - 0.5, side - 0.5], [side - 0.5, side - 0.5, -0.5], color="black", lw=1.5)


def draw_gaps(names: Sequence[str], printed: Sequence[float], counts: dict, axes=None) -> None:
    """Draws how far counts lie from the numbers that a paper prints, %, a row for each number.

    Args:
        names: of the rows; printed: what the paper says.
        counts: {name of the count: numbers}, two of them.
    """
    axes = axes_or_new(axes, 1.1 + 0.24 * len(names))
    rows = np.arange(len(names))
    for (label, values), colour, marker in zip(counts.items(), (ORANGE, BLUE), "so", strict=True):
        gaps = 100 * (np.asarray(values) / np.asarray(printed) - 1)
        axes.hlines(rows, 0, gaps, color=colour, lw=1, alpha=0.5)
        axes.plot(gaps, rows, marker, color=colour, label=label, markersize=6)
    axes.axvline(0, color="black", lw=1)
    axes.set_yticks(rows, names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("our count against the paper's number, %")
    axes.grid(axis="x", color="#e8e8e8")
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def draw_bars(
    names: Sequence[str], values: Sequence[float], label: str, axes=None, colours=None, form="{:.3g}"
) -> None:
    """Draws horizontal bars with their numbers, the first on top.

    Args:
        label: of the axis, with the unit; colours: one, or one for each bar; form: of the numbers.
    """
    axes = axes_or_new(axes, 0.7 + 0.3 * len(names))
    rows = np.arange(len(names))
    axes.barh(rows, values, color=SKY if colours is None else colours, height=0.7)
    for row, value in zip(rows, values, strict=True):
        axes.text(value, row, " " + form.format(value), va="center", fontsize=9)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(values))
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_color(GREY)


def draw_landscape(costs: Mapping[str, Cost], places: Mapping[str, tuple[float, float]] = NOWHERE, axes=None) -> None:
    """Draws networks by parameters and multiply-adds, both logarithmic; the area of a dot is that of the field's side.

    Args:
        costs: {label: `Cost`}; places: {label: (right, up)} in points, where a label stands otherwise than right of
            its dot; axes: to draw on, a new figure by default.
    """
    from matplotlib.lines import Line2D

    axes = axes_or_new(axes, 5.2)
    colours = {"v1": BLUE, "v2": BLUE, "v3": BLUE, "ResNet": GREY, "DRN": GREEN, "DenseNet": PINK}
    words = {BLUE: "DeepLab", ORANGE: "other segmenters", GREY: "ResNet", GREEN: "DRN", PINK: "DenseNet"}
    used = set()
    for label, cost in costs.items():
        x, y = cost.parameters / 1e6, cost.macs / 1e9
        colour = colours.get(next((kind for kind in colours if label.startswith(kind)), ""), ORANGE)
        used.add(colour)
        axes.scatter(x, y, s=cost.receptive_field / 4, color=colour, alpha=0.75, linewidths=0)
        radius = np.sqrt(cost.receptive_field / 4 / np.pi)  # points
        right, up = places.get(label, (radius + 2, 0))
        side = "left" if right > 0 else "right" if right < 0 else "center"
        axes.annotate(label, (x, y), (right, up), textcoords="offset points", ha=side, va="center", fontsize=9)
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="parameters, 1e6", ylabel="multiply-adds for 513 x 513, 1e9")
    ticks_x, ticks_y = (5, 10, 20, 50, 100), (10, 20, 50, 100, 200)
    axes.set_xticks(ticks_x, [str(t) for t in ticks_x])
    axes.set_yticks(ticks_y, [str(t) for t in ticks_y])
    axes.minorticks_off()
    axes.grid(color="#ececec")
    axes.set_axisbelow(True)
    axes.margins(0.12)
    axes.set_xlim(5.5, 230)
    dots = [
        Line2D([], [], marker="o", ls="", markersize=8, color=c, alpha=0.75, label=words[c]) for c in words if c in used
    ]
    axes.legend(handles=dots, loc="lower right", title="the larger the dot, the wider the field")
