"""A small data set, and a finished run on it."""

import pytest
from train_runs import command

from minideeplab.data import write_synthetic
from minideeplab.train import command as train
from minideeplab.train import loop


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    write_synthetic(root, train=4, val=2)
    return root


@pytest.fixture(scope="session")
def run(data, tmp_path_factory):
    """A finished run, not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train.main(command(data, out)) == 0
    return out


@pytest.fixture(scope="session")
def begun(data, tmp_path_factory):
    """The same run, stopped after its first step of four; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "begun"
    assert train.main(command(data, out, "--stop-after", 1)) == 0
    return out


@pytest.fixture(scope="session")
def halves(data, tmp_path_factory):
    """The same run, stopped after its third step of four: last.npz, last.prev.npz and best.npz; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "halves"
    assert train.main(command(data, out, "--stop-after", 3)) == 0
    return out


@pytest.fixture
def quick_pictures(monkeypatch):
    """Empty files in the place of pictures, which take most of the time of a run this small."""
    monkeypatch.setattr(loop.Training, "_draw", lambda training, path, *arguments: path.touch())
