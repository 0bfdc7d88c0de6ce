"""One batch through everything."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from train_runs import command

from minideeplab.data import open_dataset, write_synthetic
from minideeplab.errors import DivergedError
from minideeplab.train import command as train
from minideeplab.train import dry_run as module
from minideeplab.train.fit import fit
from minideeplab.weights import Checkpoint


def test_it_says_what_a_run_will_take_and_writes_nothing(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(command(data, tmp_path / "out", "--dry-run")) == 0
    text = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert "shapes images 2 x 65 x 65 x 3, labels 2 x 65 x 65, a validation image" in text
    assert "a uniform guess gives 1.9459" in text and "all finite" in text
    for word in ("data ", "model ", "run ", "memory ", "time ", "total "):
        assert f"\n{word}" in f"\n{text}", word
    assert "evaluate" not in text and "wrote" not in text


def test_its_numbers_are_those_of_the_run(data, run):
    sizes = {"crop_size": 65, "batch_size": 2, "epochs": 2, "width": 0.125, "head_width": 16}
    found = fit(data, dry_run=True, progress=False, **sizes)
    first = open_dataset(data, split="val").sample(0)[0]
    assert found.shapes["a validation image"] == first.shape and found.shapes["its prediction"] == first.shape[:2]
    state = Checkpoint.load(run / "last.npz").state
    assert found.parameters == sum(a.size for name, a in state.items() if "running" not in name)
    assert found.uniform_loss == math.log(7) and 0.5 < found.loss / math.log(7) < 1.5
    assert found.gradient > 0 and found.activation_bytes > 2 * 65 * 65 * 3 * 4
    assert found.peak_bytes is None or found.peak_bytes > found.activation_bytes
    expected = 4 * found.step_seconds + 2 * 2 * found.image_seconds
    assert found.total_seconds == pytest.approx(expected)


def test_the_loss_of_the_first_batch_is_that_of_the_run(data, run):
    sizes = {"crop_size": 65, "batch_size": 2, "epochs": 2, "width": 0.125, "head_width": 16}
    found = fit(data, dry_run=True, progress=False, **sizes)
    assert found.loss == json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["loss"]


def test_bad_data_end_it_as_they_would_end_the_run(tmp_path, capsys):
    write_synthetic(tmp_path / "data", train=2, val=2)
    (tmp_path / "data" / "SegmentationClass" / "shapes_00000.png").write_bytes(b"")
    assert train.main(command(tmp_path / "data", tmp_path / "out", "--dry-run")) == 3
    assert "1 of 2 samples of split 'train' cannot be used" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_divergence_ends_it_as_it_would_end_the_run(data, tmp_path, capsys):
    assert train.main(command(data, tmp_path / "out", "--dry-run", "--lr", "1e30")) == DivergedError.exit_code
    error = capsys.readouterr().err
    assert "error: the dry run diverged in step 2: the loss is " in error and "such as --lr 0.01" in error
    assert not (tmp_path / "out").exists()


def test_a_gradient_that_is_not_finite_is_named(data, tmp_path, monkeypatch, capsys):
    step = module.train_step

    def poisoned(model, *args):
        loss = step(model, *args)
        name, parameter = next(iter(model.named_parameters()))
        parameter.grad[...] = np.nan
        poisoned.name = name
        return loss

    monkeypatch.setattr(module, "train_step", poisoned)
    assert train.main(command(data, tmp_path / "out", "--dry-run")) == DivergedError.exit_code
    assert f"the gradient of '{poisoned.name}' is not finite after one batch" in capsys.readouterr().err


def test_the_process_prints_plain_lines(data, tmp_path):
    with open(tmp_path / "stderr", "wb") as stderr:
        arguments = [sys.executable, "-m", "minideeplab.train", *command(data, tmp_path / "out", "--dry-run")]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=stderr, text=True)
    text = (tmp_path / "stderr").read_text()
    assert done.returncode == 0 and "\ntotal  about 0:00:" in done.stdout, text
    assert "\r" not in text and "Traceback" not in text
