"""A picture of what a network costs, layer by layer."""

from pathlib import Path

import numpy as np

from minideeplab.figures.canvas import drawing
from minideeplab.figures.training import DARK_BLUE


def save_costs(path: Path, cost, title: str) -> None:
    """Bars of multiply-adds, parameters and activations, a bar for each layer in the order in which they run.

    Args:
        path: file to write; cost: a `Cost`; title: above the picture.
    """
    with drawing(path, (12, 6.5)) as figure:
        figure.suptitle(title)
        number = np.arange(len(cost.layers))
        quantities = (
            ("multiply-adds (millions)", [layer.macs / 1e6 for layer in cost.layers], f"{cost.macs / 1e9:.2f} x 1e9"),
            ("parameters (thousands)", [layer.parameters / 1e3 for layer in cost.layers], f"{cost.parameters:,}"),
            (
                "activations (MB)",
                [layer.activation_bytes / 1e6 for layer in cost.layers],
                f"{cost.activation_bytes / 1e6:.0f} MB",
            ),
        )
        parts = _parts_of(cost)
        for axes, (label, values, total) in zip(figure.subplots(3, 1, sharex=True), quantities, strict=True):
            for i, (_, first, last) in enumerate(parts):
                axes.axvspan(first - 0.5, last + 0.5, color="#f2f2f2" if i % 2 else "white", zorder=0)
            axes.bar(number, values, width=0.9, color=DARK_BLUE, zorder=2)
            axes.set_title(f"{label}, {total} in all", fontsize=10, loc="left")
            axes.grid(axis="y", alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlim(-0.5, len(number) - 0.5)
        axes.set_xticks(
            [(first + last) / 2 for _, first, last in parts], [name for name, *_ in parts], rotation=90, fontsize=8
        )
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("layers in the order in which they run")


def _parts_of(cost) -> list[tuple[str, int, int]]:
    """(name, first layer, last layer) of the parts of a network; what has no weights belongs to the part before it."""
    parts = []
    for i, layer in enumerate(cost.layers):
        name = ".".join(layer.name.split(".")[: 2 if layer.name.startswith("backbone.") else 1])
        if parts and (not layer.parameters or name == parts[-1][0]):
            parts[-1] = (*parts[-1][:2], i)
        else:
            parts.append((name, i, i))
    return parts
