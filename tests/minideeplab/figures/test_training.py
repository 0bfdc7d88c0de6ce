"""Pictures of a run: small counts are seen, long names take no room from the matrix, short runs are drawn whole."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from minideeplab import figures
from minideeplab.evaluation import ConfusionMatrix
from minideeplab.figures.training import LONGEST_NAME


def drawn(path, counts, names=None):
    matrix = ConfusionMatrix(len(counts))
    matrix.counts[...] = counts
    figures.save_confusion(path, matrix, names or [f"c{i}" for i in range(len(counts))])
    return np.asarray(Image.open(path).convert("L")).astype(int)


def test_a_single_pixel_is_a_dot_and_none_is_nothing(tmp_path):
    counts = np.diag([100_000] * 4)
    counts[0, 2] = 1
    one = drawn(tmp_path / "a.png", counts)
    counts[0, 2], counts[0, 3] = 0, 1
    other = drawn(tmp_path / "b.png", counts)
    moved = np.abs(one - other) > 50
    assert one.shape == other.shape and 4 <= moved.sum() <= 100  # two dots, and nothing else
    across = np.flatnonzero(moved.any(axis=0))
    assert 35 <= across[-1] - across[0] <= 50  # a cell apart


def test_long_names_do_not_shrink_the_matrix(tmp_path):
    """The dark cells of the diagonal keep their size."""
    counts = np.diag([100_000] * 5)
    short, long = (drawn(tmp_path / f"{n}.png", counts, ["x" * n] * 5) for n in (1, 400))
    rows = [(each < 90).sum(axis=1).max() for each in (short, long)]
    assert abs(int((short < 90).sum()) - int((long < 90).sum())) < 0.5 * (short < 90).sum()
    assert rows[0] >= 35 and long.shape[1] < short.shape[1] + 12 * LONGEST_NAME


@pytest.mark.long
def test_many_classes_stay_legible(tmp_path):
    """150 names of at least 6 points: 2 900 pixels for the cells, fewer than 4 000 for all."""
    picture = drawn(tmp_path / "x.png", np.diag([1000] * 150))
    assert 3000 < min(picture.shape) and max(picture.shape) < 4000


@pytest.mark.parametrize(("present", "text"), [(1, "best, 43.90 % over 1 of 2 classes"), (2, "best, 43.90 %")])
def test_a_mean_over_some_classes_is_called_so(tmp_path, monkeypatch, present, text):
    labels, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: labels.append(k.get("label")) or plot(self, *a, **k))
    epochs = [{"epoch": 1, "val_miou": 0.439, "val_pixel_accuracy": 0.6, "val_classes_present": present}]
    figures.save_curves(tmp_path / "x.png", [{"step": 1, "loss": 1.0, "lr": 0.1}], epochs, 2)
    assert text in labels


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_short_runs_are_drawn_whole(tmp_path, steps):
    """The points of a run of few steps lie inside the frame: no row of the picture cuts one in half."""
    rows = [{"step": i + 1, "loss": 2.0 + 0.01 * i, "lr": 0.1} for i in range(steps)]
    epochs = [{"epoch": 1, "val_miou": 0.5, "val_pixel_accuracy": 0.6}]
    figures.save_curves(tmp_path / "x.png", rows, epochs)
    picture = np.asarray(Image.open(tmp_path / "x.png").convert("RGB")).astype(int)
    blue = (np.abs(picture - (143, 166, 200)).sum(axis=-1) < 12)[:, : picture.shape[1] // 3]  # of each step
    top = np.flatnonzero(blue.any(axis=1))[0]
    assert blue[top].sum() < 8 and blue[top : top + 12].sum() > 15
