"""The report of a run: the same after a stop, there when it is due, and never in the way of training."""

import json
import shutil

import numpy as np
import pytest
from train_runs import command

from minideeplab.report import fixed_samples, page
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.weights import Checkpoint


def test_a_stopped_and_resumed_run_has_the_same_report(data, run, tmp_path):
    out = tmp_path / "parts"
    for arguments in (command(data, out, "--stop-after", 3), ["--resume", "--out", str(out)]):
        assert train.main(arguments) == 0
    names = sorted(file.name for file in (run / "report").iterdir())
    assert names == ["best.json", "epoch-00001.json", "epoch-00002.json", "samples.json"]
    for name in names:
        assert (out / "report" / name).read_bytes() == (run / "report" / name).read_bytes()
    assert (out / "report.html").read_text().count("data:image/png") == (run / "report.html").read_text().count(
        "data:image/png"
    )


@pytest.fixture
def due(run, tmp_path):
    """A finished run that was stopped before it drew its pictures."""
    out = tmp_path / "out"
    shutil.copytree(run, out)
    (out / "report.html").unlink()
    shutil.rmtree(out / "report")
    (out / ".pictures-due").touch()
    return out


def test_a_report_that_is_due_comes_with_the_next_start(run, due):
    assert train.main(["--resume", "--out", str(due)]) == 0
    best = json.loads((due / "report" / "best.json").read_text())
    assert best["confusion"] == json.loads((run / "report" / "best.json").read_text())["confusion"]
    assert np.sum(best["confusion"]) > 0 and "<h2>Worst images</h2>" in (due / "report.html").read_text()


def test_a_stop_before_the_pictures_costs_the_report_no_epoch(run, due):
    """Whichever of the two epochs is the better one."""
    shutil.copytree(run / "report", due / "report")
    last = due / "report" / "epoch-00002.json"
    last.unlink()
    checkpoint = Checkpoint.load(due / "last.npz")
    first = checkpoint.progress["history"][0]
    first["val_miou"] = checkpoint.progress["best"] = 0.99
    checkpoint.save(due / "last.npz")
    assert train.main(["--resume", "--out", str(due)]) == 0
    assert last.read_bytes() == (run / "report" / "epoch-00002.json").read_bytes()


def test_a_report_that_fails_is_a_warning(due, monkeypatch):
    monkeypatch.setattr(page, "_facts", lambda content: 1 / 0)
    assert train.main(["--resume", "--out", str(due)]) == 0
    assert "report.html could not be drawn (ZeroDivisionError" in (due / "log.txt").read_text()
    assert (due / "curves.png").exists() and not (due / "report.html").exists()


def test_the_samples_of_the_page_are_those_of_the_folder(run):
    shown = [scene["id"] for scene in json.loads((run / "report" / "samples.json").read_text())]
    assert {f"{name}.png" for name in shown} == {file.name for file in (run / "samples").iterdir()}
    assert loop.fixed_samples is fixed_samples
