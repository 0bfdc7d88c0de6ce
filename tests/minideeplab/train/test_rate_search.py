"""The search for a learning rate: what it finds, and that it leaves no trace."""

import dataclasses

import numpy as np
import pytest
from train_runs import assert_same_run, command

import minideeplab
from minideeplab import models
from minideeplab.data import Loader, TrainTransform, open_dataset
from minideeplab.errors import DataError, DivergedError, UsageError
from minideeplab.train import command as train
from minideeplab.train import rate_search
from minideeplab.train.arguments import settle, train_parser
from minideeplab.train.loop import Training
from minideeplab.train.rate_search import search_rates, suggested_rate
from minideeplab.train.state import TrainState


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(rate_search, "STEPS", 12)


def training_of(data, name="deeplabv3plus", **options):
    """A training before its first step, of a network with dropout."""
    args = train_parser().parse_args(["--data", str(data), "--crop-size", "33", "--batch-size", "2", "--model", name])
    settle(args, {"crop_size"}, 4)
    args.epochs = 1
    train_set = open_dataset(data)
    model = models.build(name, num_classes=train_set.num_classes, width=1 / 16, **options)
    loader = Loader(train_set, TrainTransform(33), 2)
    return Training(args, loader, train_set, model, TrainState(), None)


def everything(training):
    """All numbers that a later step depends on."""
    model = training.model
    found = model.state_dict() | {f"v.{name}": v for name, v in training.optimiser.state_dict().items()}
    modules = dict(model.named_modules())
    return found, {n: (m.training, m.seed) for n, m in modules.items()}, [p.grad for p in model.parameters()]


@pytest.mark.parametrize("name", ["deeplabv3plus", "deeplabv1-largefov"])
def test_nothing_is_changed(data, name):
    """Weights, statistics, velocities, modes, dropout streams: bit for bit, also by rates that diverge."""
    training = training_of(data, name)
    training.model.eval()
    before = everything(training)
    found = search_rates(training)
    after = everything(training)
    for key, array in before[0].items():
        np.testing.assert_array_equal(array, after[0][key], err_msg=key)
    assert before[1:] == after[1:]
    assert len(found.rates) == len(found.losses) == len(found.smoothed) > 6


def test_the_rates_grow_by_one_factor(data, monkeypatch):
    monkeypatch.setattr(rate_search, "GIVE_UP", np.inf)
    steps = []
    found = search_rates(training_of(data), lambda: steps.append(1))
    np.testing.assert_allclose(found.rates, 1e-7 * 10 ** (8 * np.arange(12) / 11)[: len(found.rates)])
    assert len(steps) == len(found.rates)


def test_it_stops_where_the_smoothed_loss_explodes(data, monkeypatch):
    losses = iter([2.0, 2.0, 1.0, 1.0, 50.0, 60.0, 1.0])

    class Given:
        weight = 1.0

        def item(self):
            return next(losses)

    monkeypatch.setattr(rate_search, "train_step", lambda *args: Given())
    found = search_rates(training_of(data))
    assert found.losses == [2.0, 2.0, 1.0, 1.0, 50.0]
    mean, by_hand = 0.0, []
    for k, loss in enumerate(found.losses, 1):
        mean = 0.8 * mean + 0.2 * loss
        by_hand.append(mean / (1 - 0.8**k))
    np.testing.assert_allclose(found.smoothed, by_hand)


def test_hard_pixels_count_in_each_step(data, monkeypatch):
    shares, step = [], rate_search.train_step
    monkeypatch.setattr(rate_search, "train_step", lambda *args: shares.append(args[-2]) or step(*args))
    training = training_of(data)
    training.schedule = dataclasses.replace(training.schedule, hard_share=0.25, hard_ramp=50)
    search_rates(training)
    assert set(shares) == {0.25}


def test_a_search_and_a_dry_run_are_two_things(data, capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--data", str(data), "--find-lr", "--dry-run"])
    assert ended.value.code == 2 and "--dry-run: not allowed with argument --find-lr" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--dry-run: not allowed with argument --find-lr"):
        minideeplab.fit(data, find_lr=True, dry_run=True)


def test_divergence_ends_it_and_at_once_is_an_error(data, monkeypatch):
    calls = []

    def diverges(*args):
        calls.append(1)
        raise DivergedError("the loss is nan")

    training = training_of(data)
    before = training.model.state_dict()
    monkeypatch.setattr(rate_search, "train_step", diverges)
    with pytest.raises(DivergedError, match="the loss is nan"):
        search_rates(training)
    assert len(calls) == 1
    for key, array in training.model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_batches_of_void_count_for_nothing(data, monkeypatch):
    training = training_of(data)
    training.loader.transform = lambda image, mask, rng: (
        np.zeros((33, 33, 3), np.float32),
        np.full((33, 33), 255, np.uint8),
    )
    with pytest.raises(DataError, match="no crop of 12 batches has a labelled pixel; take larger crops"):
        search_rates(training)


def test_the_suggestion_lies_between_the_fall_and_the_lowest_loss():
    """A known fall around position 60; where the lowest loss lies matters by its root only."""
    rates = np.geomspace(1e-7, 10, 100)
    position = np.arange(100)
    fall = 2 - 1.5 / (1 + np.exp(-(position - 60) / 4))
    grows = fall + np.where(position > 80, position - 80, 0)
    assert suggested_rate(rates.tolist(), grows.tolist()) == float(f"{np.sqrt(rates[60] * rates[80] / 10):.1g}") == 0.01
    creeps = fall - 1e-3 * position
    half = np.argmax(creeps <= (np.median(creeps[:10]) + creeps[-1]) / 2)
    assert suggested_rate(rates.tolist(), creeps.tolist()) == float(f"{np.sqrt(rates[half]):.1g}")
    assert suggested_rate(rates.tolist(), [2.0] * 100) is None
    assert suggested_rate(rates.tolist(), (2 + position / 100).tolist()) is None  # it only grows
    assert suggested_rate(rates[:3].tolist(), [2.0, 1.0, 0.9]) is not None  # few steps


def test_the_command_writes_one_picture_and_the_next_command_trains(data, run, tmp_path, capsys):
    out = tmp_path / "out"
    assert train.main(command(data, out, "--find-lr")) == 0
    text = capsys.readouterr().out
    assert [path.name for path in out.iterdir()] == ["lr_finder.png"]
    assert "first step" not in text and f"steps: {out / 'lr_finder.png'}" in text
    assert "suggestion: --lr " in text or "no suggestion: at no rate" in text
    assert train.main(command(data, out)) == 0  # the folder is still free, and the run the same as without a search
    assert_same_run(run, out)


def test_the_next_command_is_the_same_with_the_rate(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = rate_search.RateSearch([1e-7, 0.1], [2.0, 1.0], [2.0, 1.0], 0.01)
    monkeypatch.setattr(rate_search, "search_rates", lambda training, report: found)
    arguments = [
        word for word in command(data, "x", "--find-lr", "--lr", "3", "--no-mirror") if word not in ("--out", "x")
    ]
    assert train.main(arguments) == 0
    assert (tmp_path / "lr_finder.png").exists() and found.picture.name == "lr_finder.png"
    line = capsys.readouterr().out.splitlines()[-1]
    assert "--lr=0.01" in line and "--no-mirror" in line and "--crop-size=65" in line and "--find-lr" not in line
    assert "--lr=3" not in line and "--preset=none" in line


@pytest.mark.parametrize("option", ["--find-lr", "--dry-run"])
def test_a_run_that_has_begun_is_not_tried_out(run, option, capsys):
    assert train.main(["--resume", "--out", str(run), option]) == 2
    assert f"{option} is for a run that has not begun; leave out --resume" in capsys.readouterr().err
