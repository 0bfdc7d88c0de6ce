"""How a command ends on several ranks: together, soon, with one message that says who and why."""

import re
import signal
import sys
import time
from pathlib import Path

import pytest
from mpi_runs import needs_mpi, run, signals_reach_ranks, start
from places import ROOT
from strategies import SIMULATED

from minideeplab.distributed.group import LONGEST_ALONE

pytestmark = [needs_mpi, pytest.mark.skipif(SIMULATED, reason="no kernel to simulate")]
COMMAND = ROOT / "tests" / "mpi_command.py"
SOON = LONGEST_ALONE + 15  # seconds; on a machine that has nothing else to do it is less than LONGEST_ALONE + 1


def ended(ranks, how, code, *more):
    """How the command ends: its lines on stderr, without those that the ranks print at their start."""
    job = run(ranks, COMMAND, how, *more, check=code)
    assert job.stdout.startswith(f"{how} {list(more)}\n") and job.stdout.count(how) == 1, "the first rank alone prints"
    return [line for line in said(job) if line and not line.startswith("pid ")]


def said(job):
    """Lines on stderr, without what Open MPI's launcher says: between two lines of dashes, or after [host:pid]."""
    return re.sub(r"(?ms)^-{70,}$.*^-{70,}$|^\[\S+:\d+\] .*?$", "", job.stderr).strip().splitlines()


def test_all_refuse_with_one_message():
    assert ended(3, "all refuse", 2) == ["error: --steps and --epochs exclude each other"]


def test_errors_of_their_own_have_names():
    """That of the first rank is printed as of one process."""
    first, *others = sorted(ended(3, "each for itself", 3))
    assert first == "error: image 0: no such file"
    assert [line.partition(" on ")[0] for line in others] == ["rank 1 of 3", "rank 2 of 3"]
    assert [line.partition(": ")[2] for line in others] == [f"error: image {r}: no such file" for r in (1, 2)]


def test_one_that_fails_where_all_agree():
    (line,) = ended(2, "agreed", 5)
    assert line.startswith("rank 1 of 2 on ") and line.endswith(": error: the loss is nan")


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("one refuses", 3, "error: image 7: no such file"),
        ("one has a bug", 1, "ZeroDivisionError: a bug"),
        ("one leaves", 4, "rank 1 of 2 on"),
    ],
)
def test_one_that_fails_ends_those_that_wait_for_it(how, code, text):
    with start(2, COMMAND, how) as job:
        job.until("waiting")
        began = time.monotonic()
        found = job.end()
    assert time.monotonic() - began < SOON and found.code == code
    lines = said(found)
    assert any(line.startswith("rank 1 of 2 on ") for line in lines)
    assert sum(text in line for line in lines) == 1
    assert ("Traceback" in found.stderr) == (how == "one has a bug")


def test_a_bug_on_all_has_one_traceback():
    lines = ended(2, "all have a bug", 1)
    assert lines[0].startswith("Traceback") and lines[-1] == "ZeroDivisionError: a bug"
    assert sum("Traceback" in line for line in lines) == 1


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the ranks are looked for in /proc")
@pytest.mark.parametrize(
    ("how", "number", "who", "code", "text"),
    [
        ("others wait", signal.SIGKILL, "rank", None, ""),
        ("steps", signal.SIGKILL, "rank", None, ""),
        ("steps", signal.SIGTERM, "launcher", 143, "stopped by SIGTERM"),
        ("steps", signal.SIGINT, "launcher", 130, "interrupted"),
        ("steps", signal.SIGTERM, "rank", 143, "stopped by SIGTERM"),
        ("others wait", signal.SIGTERM, "launcher", 143, "stopped by SIGTERM"),  # who waits for a sum hears it, too
    ],
)
def test_a_signal_ends_all(how, number, who, code, text):
    """A rank that is killed takes the others with it; one that is asked to stop tells them.

    The launcher of Open MPI leaves ranks no time to stop, but ends them all, too.
    """
    with start(2, COMMAND, how) as job:
        job.until("working" if how == "steps" else "pid ", times=2)
        job.until("working" if how == "steps" else "waiting")
        pids, began = job.pids(), time.monotonic()
        job.send(number, pids[1] if who == "rank" else None)
        found = job.end()
        assert time.monotonic() - began < SOON
        while any(map(is_running, pids)):
            assert time.monotonic() - began < SOON, "a rank runs on without its launcher"
            time.sleep(0.05)
    assert found.code != 0 and "Traceback" not in found.stderr
    if who == "rank" or signals_reach_ranks():
        assert code in (found.code, None)
        assert found.stderr.count(text) == 1 or not text


def test_a_command_for_one_process_refuses_several():
    done = run(2, "-m", "minideeplab.summary", "--model", "deeplabv3plus", check=2)
    assert said(done) == ["error: this command is for one process, and 2 were started: leave mpiexec out"]
    assert not done.stdout


@pytest.mark.parametrize(("option", "code", "text"), [("--help", 0, "usage:"), ("--stepps", 2, "error: unrecognized")])
def test_the_parser_speaks_once(option, code, text):
    """All ranks have the same arguments, and leave with SystemExit; the first prints."""
    done = run(2, COMMAND, "parse", option, check=code)
    assert (done.stdout + done.stderr).count(text) == 1 and "rank" not in done.stderr
