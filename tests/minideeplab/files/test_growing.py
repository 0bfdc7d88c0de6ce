"""A file that grows keeps what it has, whatever happens to the next line."""

import errno
import os

import pytest

from minideeplab.files.growing import GrowingFile


@pytest.fixture
def file(tmp_path):
    file = GrowingFile(tmp_path / "log.txt")
    yield file
    file.close()


def test_lines_are_there_at_once_and_after_those_of_before(file):
    file.path.write_text("first\n")
    file.add("é")
    file.add("\udcff")  # a byte of a file name that is not UTF-8
    assert file.path.read_bytes() == b"first\n\xc3\xa9\n\\udcff\n"


def test_short_writes_are_gone_on_with(file, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:3]))
    file.add("0123456789")
    assert file.path.read_text() == "0123456789\n"


@pytest.mark.parametrize("kept", range(5))
def test_after_a_fault_the_next_line_is_whole(file, monkeypatch, kept):
    write, room = os.write, [kept]

    def full(handle, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = data[: room[0]]
        room[0] -= len(part)
        return write(handle, part)

    file.add("one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            file.add("lost")
    file.add("two")
    lines = file.path.read_text().split("\n")
    assert lines[0] == "one" and lines[-2:] == ["two", ""] and len(lines) <= 4


def test_a_line_cut_by_a_kill_stays_a_line_of_its_own(file):
    file.path.write_text("one\ntw")
    file.add("three")
    assert file.path.read_text() == "one\ntw\nthree\n"


@pytest.mark.skipif(os.name != "posix", reason="makes pipes and links")
@pytest.mark.parametrize("obstacle", ["pipe", "link", "folder"])
def test_what_is_no_file_is_an_error_and_no_wait(file, tmp_path, obstacle):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    if obstacle == "pipe":
        os.mkfifo(file.path)
    elif obstacle == "link":
        file.path.symlink_to(victim)
    else:
        file.path.mkdir()
    with pytest.raises(OSError, match=r"log\.txt"):
        file.add("line")
    assert victim.read_text() == "precious"
