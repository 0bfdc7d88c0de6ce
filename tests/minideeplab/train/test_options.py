"""The options of a step, in whole runs: each run that is stopped and resumed equals one that is not."""

import json
import shutil

import numpy as np
import pytest
from train_runs import assert_same_run, command

from minideeplab import evaluate, models
from minideeplab.evaluation import ConfusionMatrix, percent
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.weights import Checkpoint

OPTIONS = {
    "accumulate": ["--accumulate", 2],
    "ema": ["--ema", 0.9, "--warmup", 3],
    "hard pixels": ["--hard-pixels", 0.25, "--hard-ramp", 3, "--class-weights", "median"],
    "head": ["--head-lr-factor", 10],
    "frozen": ["--freeze-bn", "all", "--init-from", "BEST"],
    "all": ["--accumulate", 2, "--ema", 0.5, "--freeze-bn", "--hard-pixels", 0.5, "--class-weights", "FILE"],
}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They have tests of their own, and take most of the time of such short runs."""
    for name in ("save_confusion", "save_sample", "save_curves"):
        monkeypatch.setattr(loop.figures, name, lambda *arguments: None)


def log_of(out):
    return (out / "log.txt").read_text()


def rates(out):
    return [json.loads(line)["lr"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_run_is_the_same_run(data, run, tmp_path, name):
    (tmp_path / "weights").write_text("\n".join("1234567"))
    files = {"BEST": run / "best.npz", "FILE": tmp_path / "weights"}
    options = [files.get(part, part) for part in OPTIONS[name]]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.main(command(data, whole, *options)) == 0
    assert train.main(command(data, parts, *options, "--stop-after", 1)) == 0
    (tmp_path / "weights").unlink()  # a run has read the file once and for all
    assert train.main(["--resume", "--out", str(parts), "--stop-after", "2"]) == 0
    assert train.main(["--resume", "--out", str(parts)]) == 0
    assert_same_run(whole, parts)
    found, plain = Checkpoint.load(whole / "last.npz"), Checkpoint.load(run / "last.npz")
    assert set(found.trained) == (set(found.state) if "--ema" in options else set())
    assert any((found.state[key] != array).any() for key, array in plain.state.items()), "the options change nothing"


def test_the_average_is_what_is_validated_kept_and_used(data, run, tmp_path, capsys):
    """Training itself is the run without average; the average starts with the first weights and follows."""
    out = tmp_path / "out"
    assert train.main(command(data, out, "--ema", 0.9)) == 0
    plain, averaged = Checkpoint.load(run / "last.npz"), Checkpoint.load(out / "last.npz")
    for key, array in plain.state.items():
        np.testing.assert_array_equal(averaged.trained[key], array, err_msg=key)
    best = Checkpoint.load(out / "best.npz")
    assert any((best.state[key] != best.trained[key]).any() for key in best.trained)
    capsys.readouterr()
    assert evaluate.main(["--checkpoint", str(out / "best.npz"), "--data", str(data)]) == 0
    assert f"mIoU {percent(averaged.progress['best'])} " in capsys.readouterr().out


def test_a_checkpoint_without_the_weights_in_training_is_not_resumed(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert train.main(command(data, out, "--ema", 0.9, "--stop-after", 1)) == 0
    checkpoint = Checkpoint.load(out / "last.npz")
    checkpoint.trained.popitem()
    checkpoint.save(out / "last.npz")
    assert train.main(["--resume", "--out", str(out)]) == 4
    assert "last.npz: 1 arrays do not fit the model" in capsys.readouterr().err


def test_frozen_statistics_stay_those_of_the_file(data, run, tmp_path):
    start = Checkpoint.load(run / "best.npz").state
    for name in ("statistics", "all"):
        out = tmp_path / name
        options = ["--init-from", run / "best.npz", "--freeze-bn", name]
        assert train.main(command(data, out, *options, length=("--steps", 1))) == 0
        state = Checkpoint.load(out / "last.npz").state
        for key, array in start.items():
            kind = key.rpartition(".")[2]
            stays = kind in ("running_mean", "running_var") or (kind in ("gamma", "beta") and name == "all")
            assert (state[key] == array).all() == stays, key


def test_options_without_the_effect_that_was_meant_are_warned_of(data, tmp_path):
    assert train.main(command(data, tmp_path / "out", "--freeze-bn", "--warmup", 9, "--stop-after", 1)) == 0
    assert "warning: --freeze-bn without --init-from" in log_of(tmp_path / "out")
    assert "warning: --warmup 9 is longer than the run of 4 steps" in log_of(tmp_path / "out")


def test_a_checkpoint_with_an_average_starts_another_run_with_it(data, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train.main(command(data, first, "--ema", 0.9, "--stop-after", 1)) == 0
    options = ("--init-from", first / "last.npz", "--lr", "1e-12", "--weight-decay", 0, "--freeze-bn")
    assert train.main(command(data, second, *options, "--stop-after", 1)) == 0
    source, tuned = (Checkpoint.load(out / "last.npz") for out in (first, second))
    for key, array in source.state.items():
        np.testing.assert_allclose(tuned.state[key], array, atol=1e-6, err_msg=key)
    assert not tuned.trained


def test_class_weights_are_shown_before_the_first_step(data, tmp_path):
    out = tmp_path / "out"
    assert train.main(command(data, out, "--class-weights", "median", "--accumulate", 2, "--stop-after", 1)) == 0
    log = log_of(out)
    assert log.index("class       pixels %    weight    loss %") < log.index("initial loss")
    assert "batches of 2 crops of 65 x 65 in 2 parts" in log


def test_the_head_alone_learns_faster(data, tmp_path):
    """The first step moves the head ten times as far, and the backbone as before."""
    moved = {}
    for factor in (1, 10):
        out = tmp_path / str(factor)
        assert (
            train.main(command(data, out, "--head-lr-factor", factor, "--weight-decay", 0, length=("--steps", 1))) == 0
        )
        moved[factor] = Checkpoint.load(out / "last.npz")
    start = models.build(**moved[1].model).state_dict()
    for name in moved[1].optimiser:
        one, ten = (moved[factor].state[name] - start[name] for factor in (1, 10))
        np.testing.assert_allclose(ten, one if name.startswith("backbone.") else 10 * one, rtol=2e-3, atol=1e-6)
    assert any(name.startswith("backbone.") for name in start) and any(name.startswith("head.") for name in start)


def test_a_network_without_a_backbone_has_no_head(data, tmp_path, capsys):
    arguments = ["--data", str(data), "--model", "unet", "--width", "0.0625", "--head-lr-factor", "10"]
    assert train.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "--head-lr-factor 10: unet has no backbone that learns more slowly" in capsys.readouterr().err


@pytest.fixture
def scores(monkeypatch):
    """Validations that find these mean IoUs, the last again and again."""

    def let(*values):
        left = list(values)
        monkeypatch.setattr(ConfusionMatrix, "mean_iou", lambda self: values[-1] if not left else left[0])
        validate = loop.Training._validate

        def counted(training, predictor, group):
            confusion = validate(training, predictor, group)
            score = left.pop(0) if left else values[-1]
            monkeypatch.setattr(ConfusionMatrix, "mean_iou", lambda self: score)
            return confusion

        monkeypatch.setattr(loop.Training, "_validate", counted)

    return let


def test_patience_ends_a_run_and_lasts_over_a_stop(data, tmp_path, scores, capsys):
    scores(0.2, 0.5, 0.5, 0.4)
    out = tmp_path / "out"
    stopped = command(data, out, "--patience", 2, "--stop-after", 7, length=("--epochs", 9))
    assert train.main(stopped) == 0  # in the fourth epoch
    assert "ended by --patience" not in log_of(out)
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert len((out / "metrics.csv").read_text().splitlines()) == 1 + 4
    assert "best mIoU 50.00" in log_of(out) and "ended by --patience 2 after 4 of 9 epochs" in log_of(out)
    assert Checkpoint.load(out / "best.npz").progress["epoch"] == 2
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert "training of 4 epochs is finished, nothing to resume" in capsys.readouterr().out


def test_patience_begins_anew_with_an_extension(data, tmp_path, scores):
    scores(0.5, 0.4)
    out = tmp_path / "out"
    assert train.main(command(data, out, "--patience", 1)) == 0
    assert train.main(["--resume", "--out", str(out), "--extend", "5"]) == 0
    assert len((out / "metrics.csv").read_text().splitlines()) == 1 + 3
    assert "ended by --patience 1 after 3 of 7 epochs" in log_of(out)


@pytest.mark.parametrize(("option", "number", "steps"), [("--epochs", 2, 4), ("--steps", 3, 3)])
def test_an_extended_run_spans_the_new_total(data, tmp_path, option, number, steps, capsys):
    """Whether it is stopped on the way or not; the last epoch of before may have been a part of one."""
    whole, parts, total = tmp_path / "whole", tmp_path / "parts", steps + 2
    assert train.main(command(data, whole, length=(option, number))) == 0
    shutil.copytree(whole, parts)
    assert train.main(["--resume", "--out", str(whole), "--extend", "1"]) == 0
    assert train.main(["--resume", "--out", str(parts), "--extend", "1", "--stop-after", "1"]) == 0
    capsys.readouterr()
    assert train.main(["--resume", "--out", str(parts), "--extend", "1"]) == 2
    error = capsys.readouterr().err
    assert f"--extend 1: this run is not finished, it stands at step {steps + 1} of {total}; leave out" in error
    assert train.main(["--resume", "--out", str(parts)]) == 0
    assert_same_run(whole, parts)
    expected = [0.01 * (1 - step / (steps if step < steps else total)) ** 0.9 for step in range(total)]
    np.testing.assert_allclose(rates(whole), expected, rtol=1e-12)
    assert len((whole / "metrics.csv").read_text().splitlines()) == 1 + 3
    assert f"extended by 1 epochs to {total} steps in 3 epochs; the learning rate goes on at" in log_of(whole)
    assert train.main(["--resume", "--config", str(whole / "config.toml"), "--out", str(whole)]) == 0
    assert f"{option[2:]} = {3 if option == '--epochs' else total}\n" in (whole / "config.toml").read_text()
    written = json.loads((whole / "args.json").read_text())["arguments"]
    assert (written["epochs"], written["steps"]) == ((3, None) if option == "--epochs" else (None, total))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accumulate", 3], "--accumulate 3: a batch of 2 has no 3 equal parts; give a divisor of --batch-size"),
        (["--hard-ramp", 3], "--hard-ramp 3: there is no share to fall to; add --hard-pixels SHARE"),
        (["--extend", 3], "--extend 3 makes a finished run longer: add --resume --out RUN"),
        (["--class-weights", "FILE"], "--class-weights: the file has 2 numbers, the data set has 7 classes"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(data, tmp_path, options, message, capsys):
    (tmp_path / "weights").write_text("1\n2")
    options = [tmp_path / "weights" if part == "FILE" else part for part in options]
    assert train.main(command(data, tmp_path / "out", *options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
