"""Options that are misspelt, and commands as text."""

import os
import shlex
import subprocess
import sys

import pytest

from minideeplab import cli, evaluate, inspect_data, predict, summary
from minideeplab.bench import __main__ as bench
from minideeplab.crf import __main__ as crf
from minideeplab.errors import UsageError
from minideeplab.train import command as train

COMMANDS = (train, evaluate, predict, summary, inspect_data, crf, bench)


@pytest.mark.parametrize(
    ("command", "given", "wrong", "meant"),
    [
        (train, "--widht 0.25", "--widht", "--width"),
        (train, "--batch_size 4", "--batch_size", "--batch-size"),
        (train, "-lr 0.1", "-lr", "--lr"),
        (train, "--no-miror", "--no-miror", "--no-mirror"),
        (train, "--epoch=3", "--epoch", "--epochs"),
        (train, "--crop-sise -5", "--crop-sise", "--crop-size"),
        (evaluate, "--checkpiont best.npz", "--checkpiont", "--checkpoint"),  # which is required, too
        (predict, "--checkpoint best.npz photo.jpg --scale 2", "--scale", "--scales"),
        (summary, "--clases 3", "--clases", "--classes"),
        (inspect_data, "--data x --spilt val", "--spilt", "--split"),
        (crf, "--imge x.png", "--imge", "--image"),
        (bench, "--suit conv", "--suit", "--suite"),
    ],
)
def test_a_misspelt_option_is_told_the_one_that_was_meant(command, given, wrong, meant, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(given.split())
    error = capsys.readouterr().err
    assert error.startswith(f"error: unknown option {wrong}; did you mean {meant}?; python -m minideeplab.")
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_word_that_is_near_nothing_is_only_named(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--zzzzzz"])
    assert "did you mean" not in capsys.readouterr().err


def test_values_are_not_taken_for_options():
    parser = cli.command_parser("x", "X.", "x")
    parser.add_argument("--number", type=float)
    assert parser.parse_args(["--number", "-5"]).number == -5
    parser.raises = True
    with pytest.raises(UsageError, match=r"argument --number: invalid float value: 'five'; python -m minideeplab\.x"):
        parser.parse_args(["--number", "five"])


def test_a_command_is_quoted_for_the_shell_of_the_system(monkeypatch):
    words = ["--out", "my runs/it's", "--data", 'a"b']
    assert shlex.split(cli.command_line("train", *words)) == [sys.executable, "-m", "minideeplab.train", *words]
    monkeypatch.setattr(os, "name", "nt")
    text = cli.command_line("train", "--out", r"C:\my runs\one", 5)
    assert text == rf'{sys.executable} -m minideeplab.train --out "C:\my runs\one" 5'


def test_peak_memory_grows_and_is_unknown_on_windows(monkeypatch):
    before = cli.peak_memory()
    held = bytearray(before + 2**20)
    assert cli.peak_memory() >= len(held)
    del held
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert cli.peak_memory() is None


def test_no_command_needs_a_module_of_posix():
    """`resource`, `fcntl` and `signal.SIGHUP` are not there on Windows."""
    code = "import signal, subprocess, sys;"
    code += "sys.modules |= dict.fromkeys(('resource', 'fcntl', 'pwd', 'grp', 'termios'));"
    code += "import types; sys.modules['msvcrt'] = types.ModuleType('msvcrt');"
    code += "[delattr(signal, n) for n in ('SIGHUP', 'SIGKILL', 'SIGUSR1')];"
    code += "import minideeplab.train.command, minideeplab.evaluate, minideeplab.predict, minideeplab.summary;"
    code += "import minideeplab.inspect_data, minideeplab.bench.__main__, minideeplab.crf.__main__"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
