"""Work goes on without a reader of its output; output that somebody wants is not lost in silence."""

import io
import os
import sys

import pytest

from minideeplab import cli


@pytest.fixture(params=["stdout", "stderr"])
def unread(request, monkeypatch):
    """A stream into a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = io.TextIOWrapper(io.FileIO(writing, "wb"), write_through=True)
    monkeypatch.setattr(sys, request.param, stream)
    yield stream
    stream.close()  # as the interpreter does at its end: this must not fail either


def test_a_command_goes_on_without_its_reader(unread):
    done = []

    def main(argv):
        for i in range(1000):
            print("line", i)
            print("line", i, file=sys.stderr, flush=True)
            done.append(i)
        return 7

    before = sys.stdout, sys.stderr
    assert cli.main_guard(main)() == 7
    assert len(done) == 1000
    assert (sys.stdout, sys.stderr) == before


def test_buffered_lines_without_a_reader_are_no_error_at_the_end(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main_guard(lambda argv: print("line") or 0)() == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is full")
def test_a_full_disk_is_an_error(monkeypatch, capsys):
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main_guard(lambda argv: print("line") or 0)() == 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert "No space left on device; free some space" in capsys.readouterr().err


@pytest.mark.parametrize("closed", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_streams_that_are_closed_from_the_beginning(monkeypatch, closed):
    def main(argv):
        print("line")
        print("line", file=sys.stderr)
        with cli.Progress(1, "work") as bar:
            bar.update()
        return 0

    for name in closed:
        monkeypatch.setattr(sys, name, None)
    assert cli.main_guard(main)() == 0
    assert all(getattr(sys, name) is None for name in closed)


def test_what_a_terminal_has_no_letters_for_is_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    assert cli.main_guard(lambda argv: print("é\udcff") or 0)() == 0
    assert raw.getvalue() == b"\\xe9\\udcff\n"
