"""The picture of a search for a learning rate."""

from collections.abc import Sequence
from pathlib import Path

from minideeplab.figures.canvas import drawing
from minideeplab.figures.training import DARK_BLUE, LIGHT_BLUE


def save_rates(
    path: str | Path,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
) -> None:
    """The loss of each step over its learning rate, and where the suggestion lies; what diverges leaves the picture.

    Args:
        path: file to write, .png.
        rates, losses, smoothed: of each step; suggestion: a rate, or None.
    """
    with drawing(path, (7, 4.2)) as figure:
        axes = figure.subplots()
        axes.plot(rates, losses, ".-", color=LIGHT_BLUE, linewidth=0.8, markersize=4, label="each step")
        axes.plot(rates, smoothed, color=DARK_BLUE, linewidth=2, label="smoothed")
        top, bottom = max(smoothed[:10]), min(*losses, *smoothed)
        axes.set_ylim(max(0, bottom - 0.1 * (top - bottom)), top + 0.5 * (top - bottom) + 1e-3)
        if suggestion is not None:
            axes.axvline(suggestion, color="#c05000", linestyle="--", label=f"suggestion: --lr {suggestion:g}")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="learning rate", ylabel="cross-entropy (nats)")
        axes.set_title("the loss while the learning rate grows from step to step", fontsize=11)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left")
