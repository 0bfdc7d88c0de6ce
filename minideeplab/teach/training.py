"""Pictures of a training: the key of its classes, losses, confusion."""

from collections.abc import Mapping, Sequence

import numpy as np

from minideeplab.teach.images import classes
from minideeplab.teach.style import axes_or_new


def draw_key(axes=None) -> None:
    """Draws one row that says which colour is which class of the synthetic set."""
    axes = axes_or_new(axes, 0.5)
    left, known = 0.0, classes()  # left in letters
    for label, name in [*enumerate(known.class_names), (known.ignore_index, "void")]:
        text = f"{label} {name}"
        axes.barh(0, 2.5, left=left, color=known.palette[label] / 255, edgecolor="black", linewidth=0.8)
        axes.text(left + 3, 0, text, va="center", fontsize=8.5)
        left += len(text) + 5.5
    axes.set(xlim=(-0.5, left), ylim=(-0.9, 0.9))
    axes.set_axis_off()


def draw_curves(losses: Mapping[str, Sequence[float]], chance: float | None = None, axes=None) -> None:
    """Draws the loss of each step, on a logarithmic axis, a curve for each name.

    Args:
        losses: {name: (steps,) numbers above 0, nats}, four names at most.
        chance: loss of a network that knows nothing, ln K, as a dotted line.
    """
    axes = axes_or_new(axes, 2.4)
    for (name, values), dashes in zip(losses.items(), ("-", "--", "-.", ":"), strict=False):
        axes.plot(np.arange(len(values)), values, dashes, label=name)
    if chance is not None:
        axes.axhline(chance, color="black", linestyle=":", linewidth=1)
        axes.annotate("ln K", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.set(yscale="log", xlabel="step", ylabel="loss (nats per pixel)")
    if len(losses) > 1:
        axes.legend()


def draw_confusion(counts: np.ndarray, names: Sequence[str], axes=None) -> None:
    """Draws a confusion matrix, each row as percent of its sum; a row without counts is empty.

    Args:
        counts: (K, K) numbers, a row for each true class; names: K.
    """
    axes = axes_or_new(axes, 3.6)
    share = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        text = f"{value:.0f}" if value >= 0.5 else "·"
        axes.text(column, row, text, ha="center", va="center", color="white" if value > 55 else "black", fontsize=9)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="what the network says", ylabel="what is true", title="share of each true class, percent")
