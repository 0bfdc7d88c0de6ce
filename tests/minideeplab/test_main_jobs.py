"""The jobs that the project promises, at full length: `pytest --long tests/minideeplab/test_main_jobs.py`."""

import csv
from pathlib import Path

import pytest
from places import SHARED, readme_commands

import kernels
from minideeplab.train.command import main

VOC = SHARED / "data" / "VOCdevkit" / "VOC2012"


@pytest.fixture(autouse=True)
def all_threads():
    before = kernels.num_threads()
    kernels.set_num_threads(before if before > 1 else min(2, _most_threads()))
    yield
    kernels.set_num_threads(before)


def _most_threads():
    import numba

    return numba.config.NUMBA_NUM_THREADS


def train(*arguments):
    """Run the training command; returns the best mIoU."""
    *arguments, out = map(str, arguments)
    assert main([*arguments, "--out", out]) == 0
    rows = list(csv.DictReader(Path(out, "metrics.csv").open()))
    return max(float(row["val_miou"]) for row in rows if row["val_miou"])


@pytest.mark.long
def test_the_synthetic_set_is_learnt(tmp_path):
    """The README's first command reaches mIoU 0.80."""
    command = readme_commands("main job")[-1]
    assert train(*command.split("minideeplab.train ")[1].split(), tmp_path / "run") >= 0.80


@pytest.mark.long
@pytest.mark.skipif(not VOC.is_dir(), reason="needs the real photographs beside the checkout")
def test_four_photographs_are_learnt_by_heart(tmp_path):
    """Overfitting: what a network that trains at all must be able to do."""
    options = "--split train --val-split train --limit 4 --width 0.5 --head-width 128 --batch-size 4 --crop-size 321"
    options += " --atrous-rates 3 6 9 --scale-range 1 1 --no-mirror --lr 0.1 --steps 700 --eval-every 100"
    assert train("--data", VOC, *options.split(), tmp_path / "run") > 0.95
