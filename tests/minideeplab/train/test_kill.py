"""A training that is killed at any moment goes on, and ends as one that was never stopped.

The children run the real command on a network without kernels: what is tested is the disk.
"""

import multiprocessing
import random
import time
from contextlib import suppress

import pytest
from killed_runs import LONGEST, Child, save_for_ever, train_without_kernels
from train_runs import FILES, assert_same_run, command

from minideeplab.errors import CheckpointError
from minideeplab.train.folder_states import newest_checkpoint
from minideeplab.train.run_folder import RunFolder
from minideeplab.weights import Checkpoint

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="processes that start in milliseconds"
)
EPOCHS = 10_000  # for the killed ones; never reached


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
        child = Child(train_without_kernels, arguments)
        wanted, deadline = chance.randint(0, 5), time.monotonic() + LONGEST
        while wanted and time.monotonic() < deadline:
            new, saved = saves_seen(out / "last.npz", saved)
            wanted, saves = wanted - new, saves + new
            assert child.runs(), "it ended by itself"
        time.sleep(chance.uniform(0, 0.03))
        child.kill()
    return saves


def kill_loop(data, tmp_path, kills, least):
    out, whole, chance = tmp_path / "killed", tmp_path / "whole", random.Random(0)
    assert kill_and_resume(data, out, kills, chance) >= least
    done = newest_checkpoint(out).checkpoint.progress["step"]
    assert Child(train_without_kernels, ["--resume", "--out", str(out), "--stop-after", "3"]).code() == 0
    length = ["--epochs", str(EPOCHS), "--stop-after", str(done + 3)]
    assert Child(train_without_kernels, [*command(data, whole), *length]).code() == 0
    assert_same_run(out, whole)
    left = {path.name for path in out.iterdir()} - FILES
    assert left == {"last.prev.npz"}


def test_saving_is_killed_at_fifty_moments(run, tmp_path):
    """Each time last.npz is whole, and the lock and what was half written are gone with the process."""
    folder, chance, step = RunFolder(tmp_path), random.Random(0), 0
    checkpoint = Checkpoint.load(run / "last.npz")
    checkpoint.progress["step"] = 0
    folder.save_last(checkpoint)
    for _ in range(50):
        _, saved = saves_seen(folder.last, None)
        child = Child(save_for_ever, tmp_path, checkpoint)
        while not saves_seen(folder.last, saved)[0]:
            assert child.runs(), "it ended by itself"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        child.kill()
        found = newest_checkpoint(tmp_path)
        assert found.path == folder.last and found.checkpoint.progress["step"] > step
        checkpoint = found.checkpoint
        step = checkpoint.progress["step"]
        with folder.hold():
            assert not list(tmp_path.glob("*.tmp")) and folder.step_rows()[-1]["step"] >= step
    assert step >= 50


def test_a_killed_run_is_the_same_run(data, tmp_path):
    kill_loop(data, tmp_path, kills=6, least=6)


@pytest.mark.long
def test_a_run_killed_a_hundred_times_is_the_same_run(data, tmp_path):
    kill_loop(data, tmp_path, kills=120, least=200)
