"""Small trained networks, and the command that compiles."""

import numpy as np
import pytest

from minideeplab import models
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.evaluation import Predictor
from minideeplab.teach import __main__ as command
from minideeplab.teach import sample, trained
from minideeplab.teach.networks import save_small


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "answers").mkdir()
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "weights"


def tiny():
    return models.build("segnet", num_classes=7, width=0.125, seed=3)


def test_what_is_kept_says_what_the_network_said(folder):
    model = tiny().eval()
    save_small(folder / "tiny.npz", model)
    found = trained("tiny")
    assert not found.model.training and found.model.config == model.config
    assert found.class_names[1] == "disc" and len(found.class_names) == 7
    for (name, value), (other, kept) in zip(model.state_dict().items(), found.model.state_dict().items(), strict=True):
        assert name == other and value.shape == kept.shape and kept.dtype == np.float32
        np.testing.assert_allclose(kept, value, rtol=2**-11, atol=2**-24)  # three digits
    image = sample()[0][:64, :64]
    before, after = (Predictor(each)(image).probabilities for each in (model, found.model))
    assert np.abs(before - after).max() < 0.02


def test_a_network_that_is_missing_is_named_with_those_that_are_there(folder):
    with pytest.raises(UsageError, match=r"v9\.npz is missing; there are: none\. `git checkout tutorials/weights`"):
        trained("v9")
    save_small(folder / "b.npz", tiny())
    save_small(folder / "a.npz", tiny())
    with pytest.raises(UsageError, match="there are: a, b"):
        trained("v9")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"no zip file"])
def test_a_damaged_network_is_said_to_be_damaged(folder, damage):
    path = folder / "a.npz"
    save_small(path, tiny())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"a\.npz is damaged; `git checkout"):
        trained("a")


def test_one_step_of_warming_up(monkeypatch):
    """One narrow network of those that `warm` runs, and the same crops."""
    seen, model = [], tiny()
    monkeypatch.setattr(command.models, "build", lambda name, **options: seen.append((name, options)) or model)
    command._step("densenet121", *sample())
    assert model.parameters()[0].grad is not None
    assert seen == [("densenet121", {"num_classes": 7, "width": 0.25, "dense": True})]


def test_the_command_says_what_it_has_done(monkeypatch, capsys):
    steps = []
    monkeypatch.setattr(command, "_step", lambda name, image, labels: steps.append(name))
    monkeypatch.setattr(command, "refine", lambda probabilities, picture: steps.append(picture.shape[0]))
    assert command.main(["warm"]) == 0
    assert len(steps) == 8 and steps[-1] == sample()[0].shape[0] and all(name in models.NAMES for name in steps[:-1])
    assert "kernels are compiled" in capsys.readouterr().err


def test_the_command_knows_one_task():
    with pytest.raises(SystemExit) as caught:
        command.main(["boil"])
    assert caught.value.code == 2
