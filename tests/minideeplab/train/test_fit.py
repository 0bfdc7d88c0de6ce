"""Training from Python: the same run as by the command, and nothing else is touched."""

import json
import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from train_runs import assert_same_run

import kernels
import minideeplab
from minideeplab.errors import CheckpointError, DataError, DivergedError, UsageError
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.train.fit import Run
from minideeplab.weights import Checkpoint

SIZES = {"crop_size": 65, "batch_size": 2, "epochs": 2, "width": 0.125, "head_width": 16}  # of train_runs.command


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    return minideeplab.fit(data, "deeplabv3plus", progress=False, out=tmp_path_factory.mktemp("fit") / "one", **SIZES)


def test_it_is_the_run_of_the_command(fitted, run):
    assert isinstance(fitted, Run)
    assert_same_run(run, fitted.folder)


def test_config_repeats_the_run(run, tmp_path):
    """The file of a run folder alone, by command and by function."""
    assert train.main(["--config", str(run / "config.toml"), "--out", str(tmp_path / "command")]) == 0
    again = minideeplab.fit(config=run / "config.toml", out=tmp_path / "function", progress=False)
    assert_same_run(run, tmp_path / "command")
    assert_same_run(run, again.folder)
    assert (again.folder / "config.toml").read_text() == (run / "config.toml").read_text()


def test_a_run_is_stopped_and_continued(data, run, tmp_path):
    first = minideeplab.fit(data, stop_after=3, out=tmp_path / "parts", progress=False, **SIZES)
    assert len(first.steps) == 3 and len(first.history) == 1
    second = minideeplab.fit(resume=True, out=first.folder, progress=False)
    assert len(second.history) == 2
    assert_same_run(run, second.folder)


def test_what_a_run_gives(fitted):
    assert [row["epoch"] for row in fitted.history] == [1, 2] and [row["step"] for row in fitted.steps] == [1, 2, 3, 4]
    assert fitted.best()["val_miou"] == max(row["val_miou"] for row in fitted.history)
    assert fitted.best()["val_classes_present"] <= 7
    model, saved = fitted.model(), Checkpoint.load(fitted.folder / "best.npz")
    assert fitted.checkpoint.name == "best.npz" and not model.training
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, saved.state[name])
    assert {"curves", "confusion"} < fitted.figures.keys() and len(fitted.figures) == 4
    assert fitted._repr_png_().startswith(b"\x89PNG") and repr(fitted) == f"Run({str(fitted.folder)!r})"


def test_a_run_without_validation_has_no_best(data, tmp_path):
    first = minideeplab.fit(data, stop_after=1, out=tmp_path / "parts", progress=False, **SIZES)
    assert first.checkpoint.name == "last.npz" and first._repr_png_() is None
    with pytest.raises(CheckpointError, match=r"no epoch was validated yet; continue with resume=True"):
        first.best()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"widht": 0.5}, UsageError, r"fit: there is no option 'widht'; did you mean 'width'\?"),
        ({"lr": "fast"}, UsageError, "fit: argument --lr: fast: expected a number above 0"),
        ({"scale_range": (2, 1)}, UsageError, "LOW must not be above HIGH"),
        ({"model": "deeplabv9"}, UsageError, "unknown model 'deeplabv9'"),
        ({"data": "nowhere"}, DataError, "nowhere"),
        ({"lr": np.float32(1e30)}, DivergedError, "training diverged"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_mistakes_are_exceptions(data, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        minideeplab.fit(**{"data": data, "out": tmp_path / "out", "progress": False, **SIZES, **options})


def test_an_interrupt_saves_the_run(data, run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_finish_epoch", lambda training: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            minideeplab.fit(data, out=tmp_path / "parts", progress=False, **SIZES)
    assert Checkpoint.load(tmp_path / "parts" / "last.npz").progress["step"] == 2
    assert_same_run(run, minideeplab.fit(resume=True, out=tmp_path / "parts", progress=False).folder)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_it_between_two_steps_and_save_the_run(data, run, tmp_path, monkeypatch, signum):
    out, step = tmp_path / "parts", loop.train_step
    before = signal.signal(signum, signal.SIG_DFL)  # nohup has it ignored
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", lambda *arguments: os.kill(os.getpid(), signum) or step(*arguments))
        with pytest.raises(KeyboardInterrupt):
            minideeplab.fit(data, out=out, progress=False, **SIZES)
    signal.signal(signum, before)
    assert Checkpoint.load(out / "last.npz").progress["step"] == 1
    assert_same_run(run, minideeplab.fit(resume=True, out=out, progress=False, preset="auto").folder)


def test_another_thread_may_train(data, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(minideeplab.fit, data, out=tmp_path / "x", progress=False, stop_after=1, **SIZES).result()
    assert len(found.steps) == 1


def test_maps_and_weights_may_be_objects(data, tmp_path, quick_pictures):
    weights = np.arange(1, 8, dtype=np.float32)
    for number, options in enumerate(
        (
            {"label_map": {np.uint8(3): np.int64(0), 4: 1, "*": 2}, "class_weights": weights},
            {"class_weights": [1, 2.5, 3, 4, 5, 6, 7]},
            {"class_weights": {"background": 2}, "label_map": {k: k for k in range(7)}},
        )
    ):
        found = minideeplab.fit(data, out=tmp_path / str(number), progress=False, stop_after=1, **SIZES, **options)
        kept = Checkpoint.load(found.checkpoint).args
        for name, given in options.items():
            plain = {str(k): v for k, v in given.items()} if isinstance(given, dict) else list(given)
            assert json.loads(kept[name]) == plain
    with pytest.raises(UsageError, match="fit: class_weights must hold numbers and names, got"):
        minideeplab.fit(data, class_weights=[object()])
    with pytest.raises(UsageError, match="the data set has 7 classes"):
        minideeplab.fit(data, class_weights=[1, 2], progress=False, out=tmp_path / "few", **SIZES)


def test_the_process_is_as_before(data, tmp_path, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), kernels.num_threads()
    show = warnings.showwarning
    minideeplab.fit(data, stop_after=1, out=tmp_path / "x", progress=False, threads=2, **SIZES)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), kernels.num_threads())
    assert warnings.showwarning is show
    assert capfd.readouterr() == ("", "")


def test_with_progress_the_log_is_printed(data, tmp_path, capsys):
    minideeplab.fit(data, stop_after=1, out=tmp_path / "x", **SIZES)
    assert capsys.readouterr().out == (tmp_path / "x" / "log.txt").read_text()


def test_a_run_is_continued_with_its_own_config_and_refused_with_another(data, run, tmp_path, capsys):
    out = tmp_path / "parts"
    minideeplab.fit(data, stop_after=1, out=out, progress=False, **SIZES)
    config = out / "config.toml"
    other = tmp_path / "other.toml"
    other.write_text(config.read_text().replace("lr = 0.01\n", "lr = 0.02\n"))
    assert train.main(["--resume", "--out", str(out), "--config", str(other)]) == 2
    assert "--lr 0.02: this run began with 0.01" in capsys.readouterr().err
    assert train.main(["--resume", "--out", str(out), "--config", str(config)]) == 0
    assert_same_run(run, out)


def test_a_config_that_is_not_there_ends_the_command(tmp_path, capsys):
    assert train.main(["--config", str(tmp_path / "nowhere.toml")]) == 2
    assert "nowhere.toml: it cannot be read" in capsys.readouterr().err
