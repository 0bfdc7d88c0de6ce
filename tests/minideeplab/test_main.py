"""`python -m minideeplab`."""

import re
import subprocess
import sys

import pytest
from places import ROOT

from minideeplab import __main__ as minideeplab_main
from minideeplab.__main__ import COMMANDS


def test_the_commands_are_listed(capsys):
    for argv in ([], ["--help"]):
        assert minideeplab_main.main(argv) == 0
        out = capsys.readouterr().out
        assert re.findall(r"(?m)^python -m minideeplab\.(\w+) +\S+ \S+", out) == list(COMMANDS)


def test_the_list_is_whole():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("| `python -m minideeplab.` | |")[1].split("\n\n")[0]
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", table)) == set(COMMANDS)


@pytest.mark.parametrize(
    ("given", "said"), [("trian", "did you mean train?"), ("zzz", "there are train, evaluate, predict, inspect_data")]
)
def test_an_unknown_command_is_told_the_near_one(given, said, capsys):
    assert minideeplab_main.main([given]) == 2
    assert f"error: no command {given}; {said}" in capsys.readouterr().err


def test_a_command_behind_a_space_is_the_command():
    arguments = [sys.executable, "-m", "minideeplab", "summary", "--widht", "2"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    expected = (
        "error: unknown option --widht; did you mean --width?; python -m minideeplab.summary --help lists the options\n"
    )
    assert done.stderr == expected
