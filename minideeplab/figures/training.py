"""The pictures of a training run: its curves, and what was taken for what."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from minideeplab.evaluation.metrics import ConfusionMatrix, percent
from minideeplab.figures.canvas import drawing

LIGHT_BLUE, DARK_BLUE = "#8fa6c8", "#1f4e8c"


def save_curves(path: Path, steps: list[dict], epochs: list[dict]) -> None:
    """curves.png: loss and learning rate over steps, validation metrics over epochs.

    Args:
        path: file to write.
        steps: rows of metrics.jsonl with `step`, `loss`, `lr`.
        epochs: rows of metrics.csv; those without validation are skipped.
    """
    with drawing(path, (12, 3.6)) as figure:
        loss_axes, lr_axes, score_axes = figure.subplots(1, 3)

        number = np.array([row["step"] for row in steps])
        loss = np.array([row["loss"] for row in steps], float)
        window = max(1, len(loss) // 50)
        loss_axes.plot(number, loss, color=LIGHT_BLUE, linewidth=0.8, label="each step")
        if window > 1:
            smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
            loss_axes.plot(number[window - 1 :], smooth, color=DARK_BLUE, label=f"mean of {window} steps")
        loss_axes.set(title="training loss", xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, None))
        loss_axes.legend(frameon=False)

        lr_axes.plot(number, [row["lr"] for row in steps], color=DARK_BLUE)
        lr_axes.set(title="learning rate", xlabel="step", ylabel="rate", ylim=(0, None))

        validated = [row for row in epochs if row["val_miou"] is not None]
        number = [row["epoch"] for row in validated]
        score_axes.plot(number, [row["val_miou"] for row in validated], ".-", color=DARK_BLUE, label="mean IoU")
        if validated:  # what best.npz holds
            best = max(validated, key=lambda row: row["val_miou"])
            label = f"best, {percent(best['val_miou'])} %"
            score_axes.plot(best["epoch"], best["val_miou"], "o", ms=10, mfc="none", color=DARK_BLUE, label=label)
        accuracy = [row["val_pixel_accuracy"] for row in validated]
        score_axes.plot(number, accuracy, ".-", color=LIGHT_BLUE, label="pixel accuracy")
        score_axes.set(title="validation", xlabel="epoch", ylim=(0, 1))
        score_axes.legend(frameon=False, loc="best")

        for axes in (loss_axes, lr_axes, score_axes):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)


def save_confusion(path: Path, confusion: ConfusionMatrix, class_names: tuple[str, ...]) -> None:
    """confusion.png: each row is a true class and adds up to 100 %; an absent class has no row, but a note."""
    total = confusion.counts.sum(axis=1, keepdims=True)
    share = np.full(confusion.counts.shape, np.nan)
    np.divide(100 * confusion.counts, total, out=share, where=total > 0)
    classes = confusion.num_classes
    side = 3.2 + 0.42 * classes
    with drawing(path, (side, side * 0.92), dpi=100, bbox_inches="tight") as figure:
        axes = figure.subplots()
        axes.set_facecolor("#eeeeee")
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.argwhere(share >= 0.5):
            colour = "white" if share[row, column] > 55 else "#303030"
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=8, color=colour)
        for row in np.flatnonzero(total[:, 0] == 0):
            axes.text(
                (classes - 1) / 2,
                row,
                "no pixels of this class",
                ha="center",
                va="center",
                fontsize=8,
                color="#808080",
            )
        axes.set_xticks(range(classes), class_names, rotation=90)
        axes.set_yticks(range(classes), class_names)
        axes.set(xlabel="prediction", ylabel="truth", title=f"share of each true class in %\n{confusion.summary()}")
        axes.title.set_fontsize(10)
        figure.colorbar(image, ax=axes, shrink=0.6)
