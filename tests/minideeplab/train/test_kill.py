"""A training that is killed at any moment goes on, and ends as one that was never stopped.

The children are forks of the test, and run the real command on a network without kernels: what is tested is the disk.
"""

import os
import random
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from train_runs import FILES, assert_same_run, command

from minideeplab.errors import CheckpointError
from minideeplab.evaluation import ConfusionMatrix
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.train.folder_states import newest_checkpoint
from minideeplab.train.run_folder import RunFolder
from minideeplab.weights import Checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills")
EPOCHS = 10_000  # for the killed ones; never reached


class Number:
    """A loss without a tensor."""

    def __init__(self, value):
        self.item, self.weight = lambda: value, 1.0


@pytest.fixture
def without_kernels(monkeypatch):
    """Steps and validations that depend on weights, batch and step, in NumPy: GNU OpenMP cannot be forked."""

    def step(model, optimiser, images, labels, lr, *options):
        for name, parameter in optimiser.parameters.items():
            optimiser.velocity[name] += np.float32(images.mean()) + parameter.data
            parameter.data += np.float32(lr) * optimiser.velocity[name]
        return Number(float(np.float32(labels.mean())))

    def confusion(training, predictor):
        matrix = ConfusionMatrix(training.val_set.num_classes)
        first = next(iter(predictor.model.parameters())).data
        matrix.counts[0, :2] = 1000, abs(int(first.astype(np.float64).sum() * 100)) % 1000
        return matrix

    monkeypatch.setattr(loop, "train_step", step)
    monkeypatch.setattr(loop, "first_not_finite", lambda arrays: None)
    monkeypatch.setattr(loop.Training, "_validate", confusion)
    monkeypatch.setattr(loop.Training, "_draw", lambda training, path, *arguments: path.touch())


def child(run, *arguments):
    """Calls a function in a process of its own, which ends with the code that it returns; returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code = run(*arguments)
    finally:
        os._exit(code)


def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def saves_seen(path, before):
    """Whether last.npz is another file than before, and which."""
    with suppress(FileNotFoundError):
        now = path.stat()
        return (now.st_ino, now.st_mtime_ns) != before, (now.st_ino, now.st_mtime_ns)
    return False, before


def kill_and_resume(data, out, kills, chance):
    """Kills a training `kills` times; returns the number of saves that were seen."""
    saves, saved, step = 0, None, 0
    for _ in range(kills):
        try:
            progress = newest_checkpoint(out).checkpoint.progress
        except CheckpointError:
            assert not saved, "a run that was saved is lost"
            arguments = [*command(data, out), "--epochs", str(EPOCHS)]
        else:
            assert progress["step"] >= step
            step, arguments = progress["step"], ["--resume", "--out", str(out)]
        pid = child(train.main, arguments)
        wanted, deadline = chance.randint(0, 5), time.monotonic() + 60
        while wanted and time.monotonic() < deadline:
            new, saved = saves_seen(out / "last.npz", saved)
            wanted, saves = wanted - new, saves + new
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended by itself"
        time.sleep(chance.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        assert code_of(pid) == -signal.SIGKILL
    return saves


def kill_loop(data, tmp_path, kills, least):
    out, whole, chance = tmp_path / "killed", tmp_path / "whole", random.Random(0)
    assert kill_and_resume(data, out, kills, chance) >= least
    done = newest_checkpoint(out).checkpoint.progress["step"]
    code = code_of(child(train.main, ["--resume", "--out", str(out), "--stop-after", "3"]))
    assert code == 0
    assert (
        code_of(child(train.main, [*command(data, whole), "--epochs", str(EPOCHS), "--stop-after", str(done + 3)])) == 0
    )
    assert_same_run(out, whole)
    left = {path.name for path in out.iterdir()} - FILES
    assert left == {"last.prev.npz"}


def save_for_ever(out, checkpoint):
    folder = RunFolder(out).hold()
    while True:
        checkpoint.progress["step"] += 1
        folder.add_step({"step": checkpoint.progress["step"], "loss": 1.0, "lr": 0.1})
        folder.save_last(checkpoint)


def test_saving_is_killed_at_fifty_moments(run, tmp_path):
    """Each time last.npz is whole, and the lock and what was half written are gone with the process."""
    folder, chance, step = RunFolder(tmp_path), random.Random(0), 0
    checkpoint = Checkpoint.load(run / "last.npz")
    checkpoint.progress["step"] = 0
    folder.save_last(checkpoint)
    for _ in range(50):
        saved = os.stat(folder.last).st_ino
        pid = child(save_for_ever, tmp_path, checkpoint)
        while os.stat(folder.last).st_ino == saved:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        assert code_of(pid) == -signal.SIGKILL
        found = newest_checkpoint(tmp_path)
        assert found.path == folder.last and found.checkpoint.progress["step"] > step
        checkpoint = found.checkpoint
        step = checkpoint.progress["step"]
        with folder.hold():
            assert not list(tmp_path.glob("*.tmp")) and folder.step_rows()[-1]["step"] >= step
    assert step >= 50


def test_a_killed_run_is_the_same_run(data, tmp_path, without_kernels):
    kill_loop(data, tmp_path, kills=6, least=6)


@pytest.mark.long
def test_a_run_killed_a_hundred_times_is_the_same_run(data, tmp_path, without_kernels):
    kill_loop(data, tmp_path, kills=120, least=200)
