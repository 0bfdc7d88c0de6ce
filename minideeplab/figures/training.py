"""The pictures of a training run: its curves, and what was taken for what."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from minideeplab.evaluation.epochs import best_row, over_some, validated
from minideeplab.evaluation.metrics import ConfusionMatrix, percent
from minideeplab.figures.canvas import drawing
from minideeplab.figures.fonts import drawable_names

LIGHT_BLUE, DARK_BLUE = "#8fa6c8", "#1f4e8c"
FEW_STEPS = 12  # a curve of no more points shows them
LONGEST_NAME = 32


def save_curves(path: Path, steps: list[dict], epochs: list[dict], classes: int | None = None) -> None:
    """curves.png: loss and learning rate over steps, validation metrics over epochs.

    Args:
        path: file to write.
        steps: rows of metrics.jsonl with `step`, `loss`, `lr`.
        epochs: rows of metrics.csv; those without validation are skipped.
        classes: of the data set: a best mean IoU over fewer is called so; None says nothing.
    """
    with drawing(path, (12, 3.6)) as figure:
        loss_axes, lr_axes, score_axes = figure.subplots(1, 3)

        number = np.array([row["step"] for row in steps])
        loss = np.array([row["loss"] for row in steps], float)
        window = max(1, len(loss) // 50)
        points = {"marker": "o", "markersize": 4} if len(number) <= FEW_STEPS else {}
        loss_axes.plot(number, loss, color=LIGHT_BLUE, linewidth=0.8, label="each step", **points)
        if window > 1:
            smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
            loss_axes.plot(number[window - 1 :], smooth, color=DARK_BLUE, label=f"mean of {window} steps")
        loss_axes.set(title="training loss", xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, 1.05 * max(loss)))
        loss_axes.legend(frameon=False)

        rate = [row["lr"] for row in steps]
        lr_axes.plot(number, rate, color=DARK_BLUE, **points)
        lr_axes.set(title="learning rate", xlabel="step", ylabel="rate", ylim=(0, 1.05 * max(rate)))

        rows = validated(epochs)
        number = [row["epoch"] for row in rows]
        score_axes.plot(number, [row["val_miou"] for row in rows], ".-", color=DARK_BLUE, label="mean IoU")
        if best := best_row(epochs):
            label = f"best, {percent(best['val_miou'])} %{over_some(best, classes) if classes else ''}"
            score_axes.plot(best["epoch"], best["val_miou"], "o", ms=10, mfc="none", color=DARK_BLUE, label=label)
        accuracy = [row["val_pixel_accuracy"] for row in rows]
        score_axes.plot(number, accuracy, ".-", color=LIGHT_BLUE, label="pixel accuracy")
        score_axes.set(title="validation", xlabel="epoch", ylim=(0, 1))
        score_axes.legend(frameon=False, loc="best")

        for axes in (loss_axes, lr_axes, score_axes):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)


def save_confusion(path: Path, confusion: ConfusionMatrix, class_names: tuple[str, ...]) -> None:
    """confusion.png: each row is a true class and adds up to 100 %; an absent class has no row, but a note.

    A dot is a cell of less than 0.5 %, an empty cell has no pixel. Cells keep their size however long the names are.
    """
    total = confusion.counts.sum(axis=1, keepdims=True)
    share = np.full(confusion.counts.shape, np.nan)
    np.divide(100 * confusion.counts, total, out=share, where=total > 0)
    classes = confusion.num_classes
    cell = min(max(0.42 - 0.006 * (classes - 20), 0.2), 0.42)  # inches
    font, side = min(26 * cell, 8), max(cell * classes, 1.5)
    names = [_shortened(name) for name in drawable_names(class_names)]
    with drawing(path, (side, side), 100, names, "none", bbox_inches="tight", pad_inches=0.15) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_facecolor("#eeeeee")
        edges = np.arange(classes + 1) - 0.5
        image = axes.pcolormesh(edges, edges, share, cmap="Blues", vmin=0, vmax=100)  # faster than imshow when large
        axes.invert_yaxis()
        for row, column in np.argwhere(share >= 0.5):
            colour = "white" if share[row, column] > 55 else "#303030"
            text = f"{share[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=font, color=colour)
        rows, columns = np.nonzero((share > 0) & (share < 0.5))
        axes.scatter(columns, rows, s=max(5 * cell, 1.5) ** 2, color="#606060", linewidths=0)
        for row in np.flatnonzero(total[:, 0] == 0):
            note = "no pixels of this class" if classes > 3 else "no pixels"
            axes.text((classes - 1) / 2, row, note, ha="center", va="center", fontsize=font, color="#707070")
        axes.set_xticks(range(classes), names, rotation=90, fontsize=max(font, 6.5))
        axes.set_yticks(range(classes), names, fontsize=max(font, 6.5))
        axes.set(xlabel="prediction", ylabel="truth")
        title = f"share of each true class in %, · below 0.5\n{confusion.summary()}"
        axes.set_title(title, fontsize=10, loc="left", pad=10)
        height = min(side, 4.0) / side
        figure.colorbar(image, cax=figure.add_axes((1 + 0.2 / side, (1 - height) / 2, 0.16 / side, height)))


def _shortened(name: str) -> str:
    """The name; a very long one without its middle."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 12]}...{name[-9:]}"
