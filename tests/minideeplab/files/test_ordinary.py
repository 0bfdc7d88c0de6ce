"""Ordinary files are read, and nothing else is."""

import os

import pytest

from minideeplab.files.ordinary import read_small
from minideeplab.files.refusal import Refusal, plain


def test_an_ordinary_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_small(path, 5) == b"12345"
    with pytest.raises(Refusal, match="it has more than 4 bytes"):
        read_small(path, 4)


def test_what_is_no_file(tmp_path):
    with pytest.raises(Refusal, match="a folder; give a file"):
        read_small(tmp_path, 5)
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "nothing", 5)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(Refusal, match="a pipe or a device"):
            read_small(path, 5)


def test_a_message_has_no_control_characters():
    assert plain("a\x1b[31m\0\u202e\udcff\n\té") == "a\\x1b[31m\\x00\\u202e\\udcff\n\té"
