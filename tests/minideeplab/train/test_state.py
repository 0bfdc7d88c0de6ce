"""What a checkpoint says of a run is taken for nothing but words: wrong ones are a CheckpointError."""

import copy
import json

import numpy as np
import pytest

from minideeplab.errors import CheckpointError, DataError
from minideeplab.train import command as train
from minideeplab.train.arguments import parse_arguments
from minideeplab.train.state import TrainState
from minideeplab.weights import Checkpoint

NUMBERS = [-1, 7, 1.5, -0.5, 10**30, 1e308, float("nan"), float("-inf")]
OTHERS = [None, True, *NUMBERS, "", "cpu", "0.1", [], [None], ["a"], {}, {"a": 1}]


def places(content, path=()):
    """The path of each value in nested dicts and lists."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def variants(content):
    """The content with each value replaced by every other, and without each value."""
    for *path, key in places(content):
        for value in [*OTHERS, "REMOVED"]:
            variant = copy.deepcopy(content)
            place = variant
            for step in path:
                place = place[step]
            place[key] = value
            if value == "REMOVED":
                del place[key]
            yield variant


def test_every_value_of_progress_by_every_other(run):
    """Either it is refused, or it is a state like any other."""
    progress = Checkpoint.load(run / "last.npz").progress
    outcomes = []
    for variant in variants(progress):
        try:
            state = TrainState.restore("last.npz", variant, progress["fingerprint"])
            state.require_within("last.npz", 4, 2, 2)
        except CheckpointError as error:
            outcomes.append(False)
            assert str(error).startswith("last.npz: it ") and len(str(error)) < 500
        except DataError:
            assert variant.get("fingerprint") != progress["fingerprint"]
        else:
            outcomes.append(True)
            assert state.epoch == len(state.history) and 0 <= state.step <= 4
            assert all(isinstance(row["train_loss"] * row["step"], int | float) for row in state.history)
            assert state.best is None or state.best in [row["val_miou"] for row in state.history]
    assert len(outcomes) > 400 and outcomes.count(False) > 0.5 * len(outcomes)


def test_every_argument_by_every_other(run, tmp_path, monkeypatch):
    """Either it is refused, or it is an argument that the command line could have given."""
    checkpoint = Checkpoint.load(run / "last.npz")
    (tmp_path / "last.npz").touch()
    began, outcomes = vars(parse_arguments(["--resume", "--out", str(run)])[0]), []
    monkeypatch.setattr(Checkpoint, "load", lambda path: checkpoint)
    original = checkpoint.args
    for variant in [*variants(original), original | {"teleport": 1}, original | {"epochs": None, "steps": None}]:
        checkpoint.args = variant
        try:
            args, *_ = parse_arguments(["--resume", "--out", str(tmp_path)])
        except CheckpointError as error:
            outcomes.append(False)
            assert str(error).startswith(f"{tmp_path / 'last.npz'}: its arguments are not those of a run (")
            assert "; start a new run with --init-from" in str(error) and len(str(error)) < 600
        else:
            outcomes.append(True)
            for name, value in vars(args).items():
                if (was := began[name]) is not None and value is not None:
                    assert type(value) is type(was), name
                    assert not isinstance(was, list) or {type(each) for each in value} <= {type(was[0])}
    assert not outcomes[-1] and not outcomes[-2]
    assert len(outcomes) > 400 and outcomes.count(False) > 0.5 * len(outcomes)


META = {
    "format_version": [None, True, 1.0, "1", 2, []],
    "model": [None, 3, "x", [], {}, {"name": "deeplabv3plus"}, {"name": 3, "num_classes": 7}],
    "class_names": [None, 7, "abc", {}, [1, 2], [None] * 7, list("abc")],
    "ignore_index": [None, True, -1, 256, 1.0, "255", []],
    "mean": [None, 1, "x", {}, [0], [None] * 3, [[]] * 3, [float("nan")] * 3],
    "std": [None, 1, "x", {}, [0], [None] * 3, [{}] * 3, [1e308] * 3],
    "progress": [None, 1, "x", [], {}],
    "args": [None, 1, "x", [], {}],
}


@pytest.mark.parametrize("key", META)
def test_every_part_of_meta_by_others(run, tmp_path, key, capsys):
    """Through the whole command, which ends with the code of checkpoints."""
    with np.load(run / "last.npz") as archive:
        members = dict(archive)
    meta = json.loads(members["meta"].tobytes())
    for other in META[key]:
        changed = np.frombuffer(json.dumps(meta | {key: other}).encode(), np.uint8)
        np.savez(tmp_path / "last.npz", **members | {"meta": changed})
        assert train.main(["--resume", "--out", str(tmp_path)]) == 4, other
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "last.npz: " in error


def test_every_option_of_the_network_by_every_other(run, tmp_path):
    """Either no model can be built, or it is one that the arrays fit."""
    path, checkpoint = tmp_path / "last.npz", Checkpoint.load(run / "last.npz")
    refused = 0
    for variant in list(variants(checkpoint.model))[::3]:
        checkpoint.model = variant
        try:
            checkpoint.build_model(path)
        except CheckpointError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
    assert refused > 40
