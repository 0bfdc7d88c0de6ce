"""A run: what it leaves behind, exact resumption, and what goes wrong on the way."""

import errno
import io
import json
import os
import re
import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from train_runs import FILES, assert_same_run, command

from minideeplab import cli
from minideeplab.data import write_synthetic
from minideeplab.errors import CheckpointError, DataError
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.train.run_folder import EPOCH_COLUMNS
from minideeplab.weights import Checkpoint


def test_the_run_folder_is_complete(run):
    assert {path.name for path in run.iterdir()} == FILES
    assert len(list((run / "samples").glob("*.png"))) == 2
    content = json.loads((run / "args.json").read_text())
    assert content["arguments"]["crop_size"] == 65
    assert content["seed"] == 0 and content["threads"] >= 1 and content["parameters"] > 0
    assert content["data"]["fingerprint"] and content["versions"]["numpy"] == np.__version__


def test_metrics_have_a_row_per_epoch_and_a_line_per_step(run):
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert header == ",".join(EPOCH_COLUMNS)
    assert [row.split(",")[:2] for row in rows] == [["1", "2"], ["2", "4"]]
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    np.testing.assert_allclose([step["lr"] for step in steps], 0.01 * (1 - np.arange(4) / 4) ** 0.9, rtol=1e-6)


def test_the_log_tells_what_was_run(run):
    log = (run / "log.txt").read_text()
    assert re.search(r"4 training images \('train'\), 2 validation images \('val'\), 7 classes", log)
    assert re.search(r"initial loss \d\.\d+; a uniform guess gives ln 7 = 1\.9459", log)
    assert re.search(r"of 7 classes present\), pixel accuracy", log)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_paused_and_resumed_run_equals_an_uninterrupted_one(data, run, tmp_path, steps):
    out = tmp_path / "parts"
    assert train.main(command(data, out, "--stop-after", steps)) == 0
    assert Checkpoint.load(out / "last.npz").progress["step"] == steps
    # As after a kill: rows of steps that no checkpoint knows, the last one half written.
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"step": 9}\n{"st')
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert_same_run(run, out)


@pytest.mark.parametrize("place", ["Predictor.confusion", "figures.save_sample"])
def test_ctrl_c_while_validating_or_drawing_loses_nothing(data, run, tmp_path, place):
    def interrupted(*args):
        raise KeyboardInterrupt

    out = tmp_path / "parts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"minideeplab.train.loop.{place}", interrupted)
        assert train.main(command(data, out)) == cli.INTERRUPTED
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert_same_run(run, out)
    assert {path.name for path in out.iterdir()} == FILES


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_divergence_stops_the_run_and_spares_the_checkpoints(data, tmp_path, capsys):
    out = tmp_path / "hot"
    assert train.main(command(data, out, "--lr", "1e30")) == 5
    error = capsys.readouterr().err
    assert "training diverged" in error and "--lr 0.01" in error
    assert (out / "diverged.npz").exists()
    assert not (out / "best.npz").exists() and not (out / "last.npz").exists()


def test_weights_that_are_not_finite_are_named_and_never_saved(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "poisoned"
    assert train.main(command(data, out, "--stop-after", 1)) == 0
    epochs = loop.Training._epochs

    def poisoned(training, bar):
        next(iter(training.model.parameters())).data[...] = np.nan
        return epochs(training, bar)

    good = (out / "last.npz").read_bytes()
    name = next(iter(Checkpoint.load(out / "last.npz").state))
    monkeypatch.setattr(loop.Training, "_epochs", poisoned)
    assert train.main(["--resume", "--out", str(out)]) == 5
    error = capsys.readouterr().err
    assert f"the first weight that is not finite is '{name}'" in error and "last.npz is the last good one" in error
    assert (out / "last.npz").read_bytes() == good
    with pytest.raises(CheckpointError, match="not finite"):
        Checkpoint.load(out / "diverged.npz")


def test_a_file_that_goes_bad_costs_no_work(data, tmp_path, monkeypatch, capsys):
    def broken(*args):
        raise DataError("x.png: gone")

    out = tmp_path / "bad"
    monkeypatch.setattr(loop.Predictor, "confusion", broken)
    assert train.main(command(data, out)) == 3
    assert "x.png: gone" in capsys.readouterr().err
    progress = Checkpoint.load(out / "last.npz").progress
    assert (progress["step"], progress["epoch"], progress["batch"]) == (2, 0, 2)


def test_a_repaired_file_does_not_keep_a_run_from_going_on(tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    write_synthetic(data, train=4, val=2)
    assert train.main(command(data, out, "--stop-after", 1)) == 0
    image = data / "JPEGImages" / "shapes_00003.jpg"
    Image.open(image).convert("L").save(image, quality=50)
    assert train.main(["--resume", "--out", str(out)]) == 0


def test_epochs_without_validation_are_saved_now_and_then(data, tmp_path, monkeypatch):
    """An epoch may be one step long: what is not on disk yet is saved by the next pause."""
    saves = []
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, path: (saves.append(path.name), save(self, path)))
    out = tmp_path / "out"
    steps = ("--epochs", 5, "--eval-every", 5)
    assert train.main(command(data, out, *steps, "--stop-after", 5)) == 0  # 2 steps each: in the third epoch
    assert saves == ["last.npz"]
    assert [row["epoch"] for row in Checkpoint.load(out / "last.npz").progress["history"]] == [1, 2]
    assert len((out / "metrics.csv").read_text().splitlines()) == 3
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert saves == ["last.npz", "best.npz", "last.npz"]
    assert len((out / "metrics.csv").read_text().splitlines()) == 6


def test_pictures_come_after_the_weights_and_cost_nothing(data, run, tmp_path, monkeypatch):
    """A picture that fails is a warning: weights and numbers are those of a run without faults."""
    drawn = []

    def fails(path, *args):
        drawn.append((path.name, sorted(each.name for each in out.glob("*.npz"))))
        raise ValueError("no such formula")

    out = tmp_path / "out"
    for name in ("save_confusion", "save_sample", "save_curves"):
        monkeypatch.setattr(loop.figures, name, fails)
    assert train.main(command(data, out)) == 0
    assert_same_run(run, out)
    assert {name for name, _ in drawn} >= {"confusion.png", "curves.png"}
    assert all({"best.npz", "last.npz"} <= set(weights) for _, weights in drawn)
    log = (out / "log.txt").read_text()
    assert (
        "warning: " in log and "confusion.png could not be drawn (ValueError: no such formula); training goes on" in log
    )


def full(path, *arguments):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_reports_that_cannot_be_written_are_warnings(run, begun, tmp_path, capsys):
    """A folder stands where each should be, and a file for `samples`: weights are those of a run without faults."""
    out = shutil.copytree(begun, tmp_path / "out")
    reports = ("metrics.csv", "metrics.jsonl", "log.txt", "per_class.csv", "curves.png", "confusion.png")
    for report in reports:
        (out / report).unlink(missing_ok=True)
        (out / report / "obstacle").mkdir(parents=True)
    (out / "samples").rmdir()
    (out / "samples").touch()
    assert train.main(["--resume", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    warnings = [line for line in (captured.out + captured.err).splitlines() if line.startswith("warning: ")]
    for report in (*reports, "samples"):
        assert any(f"{out / report}" in line and "training goes on" in line for line in warnings), report
    assert len([line for line in warnings if "metrics.jsonl" in line]) == 1  # not at each step
    for name in ("last.npz", "best.npz"):
        whole, resumed = (Checkpoint.load(folder / name).state for folder in (run, out))
        assert all(np.array_equal(array, resumed[key]) for key, array in whole.items())


@pytest.mark.parametrize("name", ["best.npz", "last.npz"])
def test_a_disk_that_is_full_for_a_checkpoint_costs_as_little_as_can_be(
    run, begun, tmp_path, monkeypatch, capsys, quick_pictures, name
):
    """best.npz does not fit: the steps are in last.npz. last.npz does not fit: the one before is there."""
    out, save = shutil.copytree(begun, tmp_path / "out"), Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", lambda self, path: full(path) if path.name == name else save(self, path))
        assert train.main(["--resume", "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert f"error: {out / name}: No space left on device; free some space, and start the command" in captured.err
    if name == "best.npz":
        assert "stopped after step 2 of 4; to continue:\n" in captured.out
        assert Checkpoint.load(out / "last.npz").progress["step"] == 2
    else:
        assert (
            f"step 2 cannot be saved: {out / name}: No space left on device; {out / name} is the last" in captured.out
        )
        assert Checkpoint.load(out / "last.npz").progress["step"] == 1
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert_same_run(run, out)
    assert {path.name for path in out.iterdir()} == FILES


def test_a_disk_that_fills_up_while_saving_keeps_what_was_saved(
    run, begun, tmp_path, monkeypatch, capsys, quick_pictures
):
    """Pieces are written, then there is no room: the old file stays, nothing half written is left, the rest is said."""
    out, fdopen = shutil.copytree(begun, tmp_path / "out"), os.fdopen

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(memoryview(data)[:5000])

    def open_full(handle, mode):
        is_checkpoint = os.readlink(f"/proc/self/fd/{handle}").endswith(".tmp")
        return io.BufferedWriter(Full(handle, mode)) if is_checkpoint else fdopen(handle, mode)

    before = (out / "last.npz").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", open_full)
        assert train.main(["--resume", "--out", str(out)]) == 1
    captured = capsys.readouterr()
    size = Checkpoint.load(out / "last.npz")
    need = sum(array.nbytes for array in [*size.state.values(), *size.optimiser.values()])
    said = re.search(r"best.npz: No space left on device: ([\d,]+) bytes are needed, [\d,]+ are free", captured.err)
    assert need < int(said[1].replace(",", "")) < 1.3 * need
    assert (out / "last.npz").read_bytes() == before and not list(out.glob(".minideeplab*"))
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert_same_run(run, out)


def test_a_folder_made_read_only_keeps_what_was_saved(run, begun, tmp_path, monkeypatch, capsys, quick_pictures):
    """As root the permissions of a folder do not count: the system's calls refuse instead."""
    out, makes = shutil.copytree(begun, tmp_path / "out"), os.open

    def refuse(path, flags, *arguments, **options):
        if str(path).startswith(str(out)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return makes(path, flags, *arguments, **options)

    def in_the_first_step(*arguments):
        patch.setattr(os, "open", refuse)
        return step(*arguments)

    with monkeypatch.context() as patch:
        step = loop.train_step
        patch.setattr(loop, "train_step", in_the_first_step)
        assert train.main(["--resume", "--out", str(out)]) == 1
        assert train.main(["--resume", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"error: {out / 'best.npz'}: Read-only file system; change the permissions, or give another" in error
    assert "no file can be written in this folder (Read-only file system); change that, or give another" in error
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert_same_run(run, out)


@pytest.mark.parametrize("damage", [b"", b"\xff\x00{[" * 50, b'{"step": 1, "loss": 3'])
def test_damaged_records_never_cost_a_resume(run, begun, tmp_path, damage):
    out = shutil.copytree(begun, tmp_path / "out")
    for record in ("metrics.jsonl", "metrics.csv", "curves.png", "log.txt", "args.json", "data.json"):
        (out / record).write_bytes(damage)
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()] == [2, 3, 4]
    whole, resumed = (Checkpoint.load(folder / "last.npz").state for folder in (run, out))
    assert all(np.array_equal(array, resumed[key]) for key, array in whole.items())
    assert "could not be drawn" not in (out / "log.txt").read_text(errors="replace")


def test_names_that_look_like_formulas_are_drawn(tmp_path):
    """`$` in the name of a class or of a file."""
    data, out = tmp_path / "data", tmp_path / "run"
    write_synthetic(data, train=4, val=2)
    names = (data / "class_names.txt").read_text().replace("disc", r"$\frac{1$").replace("star", "$$")
    (data / "class_names.txt").write_text(names)
    old, new = "shapes_00004", "$\\_{00004$"
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (data / folder / f"{old}.{suffix}").rename(data / folder / f"{new}.{suffix}")
    val = data / "ImageSets" / "Segmentation" / "val.txt"
    val.write_text(val.read_text().replace(old, new))
    assert train.main(command(data, out)) == 0
    assert {path.name for path in out.iterdir()} == FILES and (out / "samples" / f"{new}.png").exists()
    assert "could not be drawn" not in (out / "log.txt").read_text()


def test_a_line_of_metrics_that_was_cut_short_is_dropped(data, run, tmp_path):
    """As after a loss of power: the checkpoint knows more steps than lines have reached the disk."""
    out = tmp_path / "parts"
    assert train.main(command(data, out, "--stop-after", 2)) == 0
    path = out / "metrics.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second[:9]}")
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3, 4]
    assert (out / "curves.png").exists() and "could not be drawn" not in (out / "log.txt").read_text()


def test_pictures_that_are_due_come_with_the_next_start(data, run, tmp_path):
    """Also those of a finished run; without a usable best.npz the rest of the run goes on."""
    for damaged in (False, True):
        out = tmp_path / str(damaged)
        shutil.copytree(run, out)
        for path in (out / "confusion.png", out / "curves.png", out / "per_class.csv"):
            path.unlink()
        (out / ".pictures-due").touch()
        if damaged:
            (out / "best.npz").write_bytes(b"PK")
        assert train.main(["--resume", "--out", str(out)]) == 0
        assert (out / "curves.png").exists() and not (out / ".pictures-due").exists()
        assert (out / "per_class.csv").exists() != damaged
        if not damaged:
            assert (out / "per_class.csv").read_bytes() == (run / "per_class.csv").read_bytes()
        else:
            assert "the pictures of the best epoch cannot be drawn" in (out / "log.txt").read_text()


def test_a_checkpoint_that_asks_for_a_giant_network_is_not_resumed(run, tmp_path, capsys):
    """A configuration is words of a file: it costs no memory that the file has no numbers for."""
    out = tmp_path / "out"
    out.mkdir()
    checkpoint = Checkpoint.load(run / "last.npz")
    checkpoint.model |= {"width": 16.0, "head_width": 8192}
    checkpoint.args |= {"width": 16.0, "head_width": 8192}
    checkpoint.save(out / "last.npz")
    tracemalloc.start()
    try:
        assert train.main(["--resume", "--out", str(out)]) == 4
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "no model can be built from its configuration" in capsys.readouterr().err
    assert peak < 100e6


def test_a_state_of_an_older_version_is_taken_up(data, run, tmp_path):
    """Its loss was summed without weights: the mean of the epoch under way begins anew, all else is the same run."""
    out = tmp_path / "parts"
    assert train.main(command(data, out, "--stop-after", 1)) == 0
    checkpoint = Checkpoint.load(out / "last.npz")
    del checkpoint.progress["epoch_weight"]
    checkpoint.progress["epoch_loss"] = 1e9
    checkpoint.save(out / "last.npz")
    assert train.main(["--resume", "--out", str(out)]) == 0
    whole, resumed = (Checkpoint.load(folder / "last.npz") for folder in (run, out))
    for key, array in whole.state.items():
        np.testing.assert_array_equal(array, resumed.state[key], err_msg=key)
    assert all(row["train_loss"] < 10 for row in resumed.progress["history"])
