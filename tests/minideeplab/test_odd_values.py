"""Huge and odd values of options: each command refuses them with one sentence, soon, and without a traceback."""

import importlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from voc_folder import make_set

from minideeplab import models
from minideeplab.data import voc_colour_map
from minideeplab.weights import Checkpoint

HUGE = str(10**26)
DIGITS = "9" * 5000  # more than Python turns into a number
ODD = ["", "nan", "-1", "é", "\udcff", "\x1b[31m", DIGITS]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a data set, a checkpoint and scores; the working directory of every command."""
    folder = tmp_path_factory.mktemp("odd")
    make_set(folder / "set", names=["background", "a", "b"], size=(40, 48), splits=("train", "val"))
    np.save(folder / "scores.npy", np.full((40, 48, 3), 1 / 3, np.float32))
    model = models.build("unet", num_classes=3, width=1 / 64)
    names = ["background", "a", "b"]
    Checkpoint(model.config, model.state_dict(), names, voc_colour_map()).save(folder / "best.npz")
    return folder


TRAIN = [
    "train.command",
    "--data",
    "set",
    "--model",
    "unet",
    "--width",
    "0.02",
    "--crop-size",
    "33",
    "--batch-size",
    "2",
]
EVALUATE = ["evaluate", "--checkpoint", "best.npz", "--data", "set"]
PREDICT = ["predict", "--checkpoint", "best.npz", "--out", "predicted", "set/JPEGImages/a.png"]
CRF = ["crf.__main__", "--image", "set/JPEGImages/a.png", "--probabilities", "scores.npy", "--out", "refined.png"]
SUMMARY = ["summary", "--width", "0.1"]
INSPECT = ["inspect_data", "--data", "set"]

NUMBERS = {  # values that no run could have; ODD comes to each
    "--crop-size": (TRAIN, ["1e9", "1000000000", HUGE]),
    "--batch-size": (TRAIN, ["1e9", "1000000000", HUGE]),
    "--steps": (TRAIN, [HUGE]),
    "--epochs": (TRAIN, [HUGE]),
    "--blur": (TRAIN, ["1e300", "inf", "1e9"]),
    "--jitter": (TRAIN, ["1e300"]),
    "--lr": (TRAIN, ["1e300", "inf"]),
    "--seed": (TRAIN, [str(10**40)]),
    "--width": (TRAIN, ["1e300", "1e9"]),
    "--head-width": ([*TRAIN, "--model=deeplabv3plus"], ["1000000000", HUGE]),
    "--atrous-rates": ([*TRAIN, "--model=deeplabv3plus"], ["1000000000", HUGE]),
    "--threads": (TRAIN, ["1000000000", HUGE]),
    "--limit": (EVALUATE, [str(10**30)]),
    "--scales": (EVALUATE, ["1e9", "1e300", "1000"]),
    "--tile": (EVALUATE, [str(10**12), HUGE]),
    "--trimap": (EVALUATE, [HUGE]),
    "--output-stride": (PREDICT, [HUGE, "1000000000"]),
    "--save-probabilities": (PREDICT, [HUGE]),
    "--crf": (PREDICT, ["deeplab-v2,iterations=1e9", f"deeplab-v2,srgb={'9' * 400}", f"deeplab-v2,sxy={'(' * 1000}"]),
    "--iterations": (CRF, ["1000000000", "1e9"]),
    "--sxy": (CRF, ["1e300", "1e-400"]),
    "--unknown": (CRF, [HUGE]),
    "--preset": (CRF, ["deeplab-v2,iterations=1000000000"]),
    "--classes": (SUMMARY, ["1000000000", HUGE]),
    "--size": ([*SUMMARY, "--time"], ["1000000000", HUGE]),
    "--ignore-index": (INSPECT, ["256", HUGE]),
    "--val-share": (INSPECT, ["1", "1e300"]),
    "--label-map": (INSPECT, ["/dev/null", "{" * 5000]),
}


FINE = {("--ignore-index", "-1")}  # odd, and meant


def run(command, capsys):
    """Exit code and stderr of a command in this process, which must come soon."""
    name, *arguments = command
    start = time.process_time()
    try:
        code = importlib.import_module(f"minideeplab.{name}").main(arguments)
    except SystemExit as error:  # of the parser
        code = error.code
    assert time.process_time() - start < 5
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("option", "values"), NUMBERS.items(), ids=list(NUMBERS))
def test_absurd_values_are_usage_errors(place, capsys, monkeypatch, option, values):
    monkeypatch.chdir(place)
    command, absurd = values
    for value in (*absurd, *(odd for odd in ODD if (option, odd) not in FINE)):
        code, text = run([*command, f"{option}={value}"], capsys)
        assert code == 2, (value[:50], code, text)
        assert text.splitlines()[-1].startswith("error: ") and "Traceback" not in text, text
        assert len(text) < 13_000 and "\x1b" not in text, text[:300]


@pytest.mark.parametrize(
    ("command", "option", "code"),
    [(EVALUATE, "--checkpoint", 4), (EVALUATE, "--data", 3), (INSPECT, "--data", 3), (CRF, "--image", 3),
     (CRF, "--probabilities", 3), (TRAIN, "--init-from", 4), (EVALUATE, "--split", 3), (EVALUATE, "--json", 2),
     (PREDICT, "--out", 2), (EVALUATE, "--class-names", 2)],
)  # fmt: skip
def test_paths_that_cannot_be(place, capsys, monkeypatch, command, option, code):
    monkeypatch.chdir(place)
    for value in ("x" * 300, "x/" * 3000, "set/ImageSets/Segmentation/train.txt/x"):
        found, text = run([*command, f"{option}={value}"], capsys)
        assert found == code, (value[:50], found, text)
        assert "error: " in text and "Traceback" not in text


# ---------------------------------------------------------------- files that are none


def bad_inputs(folder):
    """Things of the file system that are no image, in a new folder."""
    folder.mkdir()
    (folder / "folder.jpg").mkdir()
    (folder / "lies.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xff\xff\xf0IHDR" + bytes(50))
    (folder / "empty.png").write_bytes(b"")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket.png"))
    return sorted(folder.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO")
def test_predict_names_what_is_no_image_and_does_the_rest(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    found = [path.relative_to(place) for path in bad_inputs(place / "inputs")]
    long = "y" * 300 + ".png"
    code, text = run([*PREDICT, *map(str, found), "nothing.png", long], capsys)
    assert code == 3
    assert (place / "predicted/masks/a.png").exists()
    for path in (*found, "nothing.png", long):
        assert str(path) in text, path


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO")
@pytest.mark.parametrize(
    ("command", "option", "code"),
    [(EVALUATE, "--checkpoint", 4), (EVALUATE, "--data", 3), (CRF, "--probabilities", 3), (CRF, "--image", 3),
     (INSPECT, "--label-map", 2), (EVALUATE, "--class-names", 2), (TRAIN, "--init-from", 4),
     (TRAIN, "--class-weights", 2), (TRAIN, "--config", 2)],
)  # fmt: skip
def test_a_pipe_is_not_waited_for(place, capsys, monkeypatch, command, option, code):
    monkeypatch.chdir(place)
    if not (place / "pipe").exists():
        os.mkfifo("pipe")
    assert run([*command, f"{option}=pipe"], capsys)[0] == code


# ---------------------------------------------------------------- terminals


def as_process(place, arguments, name="run", **environment):
    """Exit code, stdout and stderr of a command as a process, which run into files."""
    with open(place / f"{name}.out", "wb") as out, open(place / f"{name}.err", "wb") as err:
        code = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=place, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
            timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"} | environment,
        ).returncode  # fmt: skip
    return code, (place / f"{name}.out").read_bytes(), (place / f"{name}.err").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="file names of other systems are text")
def test_an_ascii_terminal_and_paths_that_are_no_text(place):
    strange = os.fsdecode(b"caf\xe9 \xff")
    target = Path(place / "strange")
    target.mkdir()
    (target / f"{strange}.png").write_bytes((place / "set/JPEGImages/a.png").read_bytes())
    ascii_only = {"PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C", "COLUMNS": "1", "PYTHONUTF8": "0"}
    command = ["minideeplab.predict", "--checkpoint", "best.npz", f"strange/{strange}.png", "--out", "out é"]
    code, out, err = as_process(place, [*command, "--csv", "areas.csv"], **ascii_only)
    assert code == 0, err
    assert b"Traceback" not in out + err and out.isascii()
    assert (place / f"out é/masks/{strange}.png").exists()
    (place / "areas.csv").read_text(encoding="utf-8")
    code, out, err = as_process(place, ["minideeplab.predict", "--help"], **ascii_only)
    assert code == 0 and b"--checkpoint" in out and b"Traceback" not in err
