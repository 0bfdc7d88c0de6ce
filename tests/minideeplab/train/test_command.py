"""The training command: what it leaves behind, exact resumption, and how it ends when something is wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from voc_folder import list_ids, make_set

import kernels
from minideeplab import cli, evaluate
from minideeplab.data import read_mask, write_mask, write_synthetic
from minideeplab.errors import CheckpointError, DataError
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.train.run_folder import EPOCH_COLUMNS
from minideeplab.weights import Checkpoint

FILES = {
    "args.json",
    "metrics.csv",
    "metrics.jsonl",
    "curves.png",
    "last.npz",
    "best.npz",
    "per_class.csv",
    "confusion.png",
    "samples",
    "log.txt",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    write_synthetic(root, train=4, val=2)
    return root


def command(data, out, *more):
    """Arguments of a run of two epochs of two steps with a network that is quick to train and to write."""
    sizes = ["--crop-size", "65", "--batch-size", "2", "--epochs", "2", "--width", "0.125", "--head-width", "16"]
    return ["--data", str(data), *sizes, "--out", str(out), *map(str, more)]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run, not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train.main(command(data, out)) == 0
    return out


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


def without_times(path):
    """metrics.csv or metrics.jsonl without what a clock decides."""
    if path.suffix == ".csv":
        return [line.split(",")[:-2] for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(one, other):
    for name in ("last.npz", "best.npz"):
        first, second = Checkpoint.load(one / name), Checkpoint.load(other / name)
        for part in ("state", "optimiser"):
            arrays, others = getattr(first, part), getattr(second, part)
            assert arrays.keys() == others.keys()
            for key in arrays:
                np.testing.assert_array_equal(arrays[key], others[key], err_msg=f"{name}: {key}")
    for name in ("metrics.csv", "metrics.jsonl"):
        assert without_times(one / name) == without_times(other / name)


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


@pytest.mark.parametrize("place", ["Predictor.confusion", "figures.save_curves", "figures.save_sample"])
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


def test_resuming_a_finished_run_says_so(run, capsys):
    before = (run / "last.npz").read_bytes()
    assert train.main(["--resume", "--out", str(run)]) == 0
    out = capsys.readouterr().out
    assert "training of 2 epochs is finished, nothing to resume" in out
    assert "-m minideeplab.evaluate --checkpoint" in out
    assert (run / "last.npz").read_bytes() == before


def test_a_resumed_run_keeps_its_arguments(run, capsys):
    assert train.main(["--resume", "--out", str(run), "--lr", "0.5"]) == 2
    assert "--lr 0.5: this run began with 0.01" in capsys.readouterr().err
    assert train.main(["--resume", "--out", str(run), "--crop-size", "129"]) == 2  # the default, but given


def test_resume_refuses_other_data(run, tmp_path, capsys):
    write_synthetic(tmp_path, train=5, val=2)
    assert train.main(["--resume", "--out", str(run), "--data", str(tmp_path)]) == 3
    assert "are not those that this run began with" in capsys.readouterr().err


def test_resume_needs_a_run(tmp_path, capsys):
    assert train.main(["--resume"]) == 2
    assert "--out RUN" in capsys.readouterr().err
    assert train.main(["--resume", "--out", str(tmp_path)]) == 4
    assert "last.npz: no such file" in capsys.readouterr().err


def test_an_existing_folder_is_never_overwritten(data, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("precious")
    assert train.main(command(data, tmp_path)) == 2
    assert "the folder is not empty (notes.txt)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_stopped_before_it_saved_anything_can_be_started_again(data, tmp_path, monkeypatch, capsys):
    def too_large(*args, **options):
        raise MemoryError("Unable to allocate 9 GiB")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("minideeplab.nn.losses.cross_entropy", too_large)
        patch.setattr(loop.Training, "_pause", lambda training: None)
        assert train.main(command(data, out)) == 1
    assert "not enough memory (Unable to allocate 9 GiB); take smaller images" in capsys.readouterr().err
    assert (out / "args.json").exists()
    assert train.main(["--resume", "--out", str(out)]) == 4
    assert "start it again without --resume" in capsys.readouterr().err
    assert train.main(command(data, out, "--stop-after", 1)) == 0
    assert train.main(command(data, out)) == 2
    assert "add --resume to continue" in capsys.readouterr().err


def test_a_device_that_is_not_there(data, tmp_path, monkeypatch, capsys):
    def refuse():
        raise ImportError('the device cuda needs numba-cuda: pip install -e ".[cuda13]"')

    monkeypatch.setattr("kernels.cuda.device.require", refuse)
    monkeypatch.setattr(kernels, "_loaded", {})
    assert train.main(command(data, tmp_path / "out", "--device", "cuda")) == 2
    assert "--device cuda: the device cuda needs numba-cuda: pip install" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tf32_is_for_tensor_cores(data, tmp_path, capsys):
    assert train.main(command(data, tmp_path / "out", "--precision", "tf32")) == 2
    assert "--precision tf32 needs tensor cores: add --device cuda" in capsys.readouterr().err


def test_rates_follow_the_crop_and_too_large_ones_are_named(data, tmp_path, capsys):
    assert train.main(command(data, tmp_path / "a", "--stop-after", 1)) == 0
    assert "warning: crops" not in capsys.readouterr().out
    assert Checkpoint.load(tmp_path / "a" / "last.npz").args["atrous_rates"] == [1, 2, 3]  # a map of 5 x 5
    assert train.main(command(data, tmp_path / "b", "--stop-after", 1, "--atrous-rates", 4, 5, 18)) == 0
    assert "crops of 65 are too small for the atrous rates [5, 18]" in capsys.readouterr().out


def test_the_default_folder_is_numbered(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [part for part in command(data, "") if part not in ("--out", "")]
    for _ in range(2):
        assert train.main([*arguments, "--dataset", "auto", "--stop-after", "1"]) == 0
    name = f"deeplabv3plus-resnet18-{data.name}"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {name, f"{name}-2"}


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


def test_bad_data_stop_before_a_folder_is_made(tmp_path, capsys):
    write_synthetic(tmp_path / "data", train=4, val=2)
    mask = next((tmp_path / "data" / "SegmentationClass").glob("*.png"))
    write_mask(mask, np.full_like(read_mask(mask), 38))
    assert train.main(command(tmp_path / "data", tmp_path / "out")) == 3
    assert "label 38" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_classes_without_a_pixel_are_named_before_training(tmp_path, capsys):
    """Two classes as painting programs store them: 0 and 255, which is void."""
    mask = np.zeros((70, 90), np.uint8)
    mask[10:40, 20:60] = 255
    data = make_set(tmp_path / "data", "ab", ("background", "thing"), masks=[mask, mask], splits=("train", "val"))
    assert train.main([*command(data, tmp_path / "out"), "--stop-after", "1"]) == 0
    log = (tmp_path / "out" / "log.txt").read_text()
    warning = "warning: split 'train' has no pixel of 1 of 2 classes, which cannot be learnt: 'thing' (1); 19.0 %"
    assert warning in log and log.index(warning) < log.index("initial loss")
    assert "Was label 1 meant?" in log and warning in capsys.readouterr().out


@pytest.mark.parametrize("void_split", ["train", "val"])
def test_a_split_without_a_labelled_pixel_is_refused(tmp_path, capsys, void_split):
    masks = [np.zeros((70, 90)), np.full((70, 90), 255)]
    data = make_set(tmp_path / "data", "ab", ("background", "thing"), masks=masks)
    list_ids(data, "a", split="val" if void_split == "train" else "train")
    list_ids(data, "b", split=void_split)
    assert train.main(command(data, tmp_path / "out")) == 3
    assert f"no mask of split '{void_split}' has a labelled pixel" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "deeplabv9"],
        ["--backbone", "resnet19"],
        ["--epochs", "0"],
        ["--lr", "fast"],
        ["--momentum", "1"],
        ["--jitter", "1"],
    ],
)
def test_arguments_that_do_not_parse_end_with_usage(data, tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        train.main(command(data, tmp_path / "out", *arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: argument {arguments[0]}: ") and arguments[1] in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale-range", "2", "1"], "--scale-range 2.0 1.0: LOW must not be above HIGH"),
        (["--threads", "100000"], "--threads 100000"),
    ],
)
def test_arguments_that_do_not_fit_are_usage_errors(data, tmp_path, capsys, arguments, message):
    assert train.main(command(data, tmp_path / "out", *arguments)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["deeplabv1-largefov", "pspnet", "unet", "drn-d-22", "spp-net"])
def test_every_kind_of_network_is_trained_resumed_and_used(data, tmp_path, name, capsys):
    sizes = ["--crop-size", "65", "--batch-size", "2", "--steps", "3", "--width", "0.03125", "--model", name]
    arguments = ["--data", str(data), *sizes, "--lr-every", "2"]
    for out, more in (("whole", []), ("halves", ["--stop-after", "1"])):
        assert train.main([*arguments, "--out", str(tmp_path / out), *more]) == 0
    assert train.main(["--resume", "--out", str(tmp_path / "halves")]) == 0
    whole, halves = (Checkpoint.load(tmp_path / out / "last.npz") for out in ("whole", "halves"))
    for key, array in whole.state.items():
        np.testing.assert_array_equal(halves.state[key], array, err_msg=key)
    rows = [json.loads(line) for line in (tmp_path / "halves" / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([row["lr"] for row in rows], [0.01, 0.01, 0.001])
    best = str(tmp_path / "whole" / "best.npz")
    assert evaluate.main(["--checkpoint", best, "--data", str(data)]) == 0
    assert name in capsys.readouterr().out


def test_options_of_another_network_are_refused(data, tmp_path, capsys):
    assert (
        train.main(["--data", str(data), "--model", "segnet", "--backbone", "resnet50", "--out", str(tmp_path / "o")])
        == 2
    )
    assert "--backbone: segnet has no such option; of the network's options it has --width" in capsys.readouterr().err


def test_init_from_takes_the_weights(data, run, tmp_path, capsys):
    out = tmp_path / "tuned"
    arguments = ("--init-from", run / "best.npz", "--lr", "1e-12", "--stop-after", "1", "--weight-decay", "0")
    assert train.main(command(data, out, *arguments)) == 0
    assert "weights of" in capsys.readouterr().out
    source, tuned = (Checkpoint.load(path).state for path in (run / "best.npz", out / "last.npz"))
    name = next(iter(source))
    np.testing.assert_allclose(tuned[name], source[name], atol=1e-6)


def test_help_shows_defaults_and_an_example(capsys):
    with pytest.raises(SystemExit, match="0"):
        train.main(["--help"])
    text = capsys.readouterr().out
    assert "(default: 0.01)" in text and "(default: None)" not in text
    assert "example:\n  python -m minideeplab.train --data synthetic" in text


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "minideeplab.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])},
        # A shell that runs the tests in the background may have Ctrl-C ignored in all of its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_saves_and_names_the_command_that_continues(data, tmp_path):
    out = tmp_path / "stopped"
    process = start([*command(data, out), "--epochs", "100000", "--eval-every", "100000"])
    try:
        deadline = time.monotonic() + 120
        while not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").stat().st_size == 0:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == cli.INTERRUPTED, stderr
    assert f"-m minideeplab.train --resume --out {out}" in stdout
    assert "Traceback" not in stderr
    steps = Checkpoint.load(out / "last.npz").progress["step"]
    assert steps >= 1 and len((out / "metrics.jsonl").read_text().splitlines()) == steps


def test_the_process_ends_with_the_exit_code_of_the_error(tmp_path):
    process = start(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert stderr.startswith("error: ") and "nowhere" in stderr and "Traceback" not in stderr


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
    assert all(weights == ["best.npz", "last.npz"] for _, weights in drawn)
    log = (out / "log.txt").read_text()
    assert (
        "warning: " in log and "confusion.png could not be drawn (ValueError: no such formula); training goes on" in log
    )


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
    assert "warning" not in (out / "log.txt").read_text()


def test_a_line_of_metrics_that_was_cut_short_is_dropped(data, run, tmp_path):
    """As after a loss of power: the checkpoint knows more steps than lines have reached the disk."""
    out = tmp_path / "parts"
    assert train.main(command(data, out, "--stop-after", 2)) == 0
    path = out / "metrics.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second[:9]}")
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3, 4]
    assert (out / "curves.png").exists() and "warning" not in (out / "log.txt").read_text()


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
