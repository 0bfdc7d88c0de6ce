"""The training command: arguments, refusals, exit codes, and every kind of network."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from places import ROOT
from train_runs import assert_same_run, command
from voc_folder import list_ids, make_set

import kernels
from kernels.bfloat16 import BFLOAT16
from minideeplab import evaluate
from minideeplab.data import read_mask, write_mask, write_synthetic
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.weights import Checkpoint


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
    said = (
        "not those that this run began with (split 'train' had 4 images, and has 5: 1 new (shapes_00004); split 'val'"
    )
    assert said in capsys.readouterr().err


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


def test_a_run_in_bfloat16_resumes_with_the_same_numbers(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kernels, "has_bfloat16", lambda: True)
    for out, more in (("whole", []), ("halves", ["--stop-after", "1"])):
        assert train.main(command(data, tmp_path / out, "--precision", "bf16", *more)) == 0
    assert train.main(["--resume", "--out", str(tmp_path / "halves")]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "halves")
    checkpoint = Checkpoint.load(tmp_path / "halves" / "last.npz")
    assert checkpoint.args["precision"] == "bf16"
    assert all(a.dtype != BFLOAT16 for part in (checkpoint.state, checkpoint.optimiser) for a in part.values())
    capsys.readouterr()
    assert (
        evaluate.main(
            ["--checkpoint", str(tmp_path / "whole" / "last.npz"), "--data", str(data), "--precision", "bf16"]
        )
        == 0
    )


def test_rates_follow_the_crop_and_too_large_ones_are_named(data, tmp_path, capsys):
    assert train.main(command(data, tmp_path / "a", "--stop-after", 1)) == 0
    assert "warning: crops" not in capsys.readouterr().out
    assert Checkpoint.load(tmp_path / "a" / "last.npz").args["atrous_rates"] == [1, 2, 3]  # a map of 5 x 5
    assert train.main(command(data, tmp_path / "b", "--stop-after", 1, "--atrous-rates", 4, 5, 18)) == 0
    assert "crops of 65 are too small for the atrous rates [5, 18]" in capsys.readouterr().out


def test_no_rates_are_a_choice_that_a_run_keeps(data, tmp_path, capsys):
    """DeepLab on MobileNetV2 as released: stopped, resumed from its checkpoint, and the same as in one go."""
    chosen = ("--backbone", "mobilenet_v2", "--no-decoder", "--atrous-rates")
    for out, more in (("whole", []), ("halves", ["--stop-after", "1"])):
        assert train.main(command(data, tmp_path / out, *more, *chosen)) == 0
    assert train.main(["--resume", "--out", str(tmp_path / "halves")]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "halves")
    checkpoint = Checkpoint.load(tmp_path / "halves" / "last.npz")
    assert checkpoint.args["atrous_rates"] == [] == checkpoint.model["atrous_rates"]
    assert "warning: crops" not in capsys.readouterr().out


def test_the_default_folder_is_numbered(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [part for part in command(data, "") if part not in ("--out", "")]
    for _ in range(2):
        assert train.main([*arguments, "--dataset", "auto", "--stop-after", "1"]) == 0
    name = f"deeplabv3plus-resnet18-{data.name}"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {name, f"{name}-2"}


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
    assert "Add --label-map binary" in (tmp_path / "out" / "log.txt").read_text().split(warning)[1].split("\n")[0]


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


@pytest.mark.parametrize("name", ["deeplabv1-largefov", "pspnet", "drn-d-22", "spp-net"])
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


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])}


def _hear_signals():
    """A shell that runs the tests in the background may have these signals ignored in all of its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "minideeplab.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=_hear_signals,
    )


def wait_for_steps(process, out):
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").stat().st_size == 0:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_command_that_continues_is_named(data, tmp_path, signum):
    """Also where nobody reads what is printed any more, as after the terminal was closed."""
    out = tmp_path / "stopped"
    process = start([*command(data, out), "--epochs", "100000", "--eval-every", "100000", "--threads", "1"])
    try:
        if signum == signal.SIGHUP:
            process.stdout.close()
            process.stderr.close()
        wait_for_steps(process, out)
        process.send_signal(signum)
        process.wait(timeout=60)
        _, stderr = ("", "") if signum == signal.SIGHUP else process.communicate()
    finally:
        process.kill()
    assert process.returncode == 128 + signum, stderr
    assert f"-m minideeplab.train --resume --out {out}" in (out / "log.txt").read_text()
    assert "Traceback" not in stderr
    steps = Checkpoint.load(out / "last.npz").progress["step"]
    assert steps >= 1 and len((out / "metrics.jsonl").read_text().splitlines()) == steps


@pytest.mark.skipif(os.name != "posix", reason="runs a shell")
def test_training_goes_on_without_its_reader(data, run, tmp_path):
    """`train ... 2>&1 | head -1`, which closed the pipe after the first line."""
    out = tmp_path / "piped"
    line = shlex.join([sys.executable, "-m", "minideeplab.train", *command(data, out, "--threads", 1)])
    shell = ["bash", "-c", f"{line} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(shell, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert "finished after" in (out / "log.txt").read_text()
    assert_same_run(run, out)


def test_the_process_ends_with_the_exit_code_of_the_error(tmp_path):
    process = start(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert stderr.startswith("error: ") and "nowhere" in stderr and "Traceback" not in stderr
