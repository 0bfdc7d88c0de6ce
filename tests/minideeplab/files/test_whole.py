"""Files are written in full or not at all."""

import os

import pytest

from minideeplab.files.whole import write_text, written_whole


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file_and_a_replaced_one(tmp_path):
    path = tmp_path / "notes.bin"
    for content in (b"first", b"the second"):
        with written_whole(path) as file:
            file.write(content)
            assert not path.exists() or path.read_bytes() != content  # not before it is complete
        assert path.read_bytes() == content and names(tmp_path) == ["notes.bin"]


def test_an_error_in_the_block_keeps_the_old_file(tmp_path):
    path = tmp_path / "notes.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as file:
        file.write(b"half of the new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and names(tmp_path) == ["notes.bin"]


@pytest.mark.parametrize("broken", ["fsync", "chmod", "replace"])
def test_a_failing_system_keeps_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "notes.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)  # not the one of new files, so that it is set

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match=r"No space left on device: 3 bytes are needed, [0-9,]+ are free") as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["notes.bin"]


def test_all_bytes_are_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    path, order = tmp_path / "notes.bin", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append(os.fstat(handle).st_size), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("replace"), replace(*names)))
    with written_whole(path) as file:
        file.write(b"12345")
    assert order[:2] == [5, "replace"] and len(order) == 3  # and the folder after it


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_of_any_other(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "notes.txt", "hello")
        assert os.umask(mask) == mask  # read and set back
    finally:
        os.umask(before)
    assert (tmp_path / "notes.txt").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_private_file_stays_private(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert path.stat().st_mode & 0o777 == 0o600


def test_text_is_utf_8_with_lines_as_given(tmp_path):
    write_text(tmp_path / "notes.txt", "é\n$\r\n")
    assert (tmp_path / "notes.txt").read_bytes() == "é\n$\r\n".encode()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_text(tmp_path / "nowhere" / "notes.txt", "hello")
