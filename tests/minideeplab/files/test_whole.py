"""Files are written in full or not at all."""

import errno
import io
import os
import secrets
import stat

import pytest

from minideeplab.files.whole import remove_abandoned, write_text, written_whole


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


class FullDisk(io.FileIO):
    """A file on a disk that has room for so many bytes, and that takes few of them at a time."""

    def __init__(self, handle, room, piece=7):
        super().__init__(handle, "wb")
        self.room, self.piece = room, piece

    def write(self, data):
        part = memoryview(data)[: min(self.piece, self.room)]
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(part)
        return super().write(part)


@pytest.mark.parametrize("room", [0, 1, 6, 7, 8, 20, 39])
@pytest.mark.parametrize("need", [None, 40])
def test_a_disk_that_fills_up_keeps_the_old_file_and_says_what_is_needed(tmp_path, monkeypatch, room, need):
    path = tmp_path / "notes.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fdopen", lambda handle, mode: io.BufferedWriter(FullDisk(handle, room), 16))
    wanted = "40" if need else r"more than \d+"
    with pytest.raises(
        OSError, match=rf"No space left on device: {wanted} bytes are needed, [\d,]+ are free"
    ) as caught:
        with written_whole(path, need) as file:
            file.write(bytes(40))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["notes.bin"]


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    data = os.urandom(1000)
    monkeypatch.setattr(os, "fdopen", lambda handle, mode: io.BufferedWriter(FullDisk(handle, 10**6), 16))
    with written_whole(tmp_path / "notes.bin") as file:
        file.write(data)
    assert (tmp_path / "notes.bin").read_bytes() == data


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_file_that_cannot_be_made_is_named_by_its_own_name(tmp_path, monkeypatch, code):
    def refuse(path, *arguments):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        write_text(tmp_path / "notes.txt", "hello")
    assert caught.value.filename == str(tmp_path / "notes.txt")


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), written_whole(tmp_path / "notes.bin"):
        open(tmp_path / "elsewhere")


def test_links_are_replaced_and_not_followed(tmp_path, monkeypatch):
    """Also one in the place of the file under way, whose name nobody should guess."""
    victim, path = tmp_path / "victim", tmp_path / "notes.txt"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_text(path, "new")
    assert victim.read_text() == "precious" and not path.is_symlink()
    monkeypatch.setattr(secrets, "token_hex", lambda n: "0" * 16)
    (tmp_path / f".minideeplab-{'0' * 16}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        write_text(path, "newer")
    assert victim.read_text() == "precious" and path.read_text() == "new"


def test_the_longest_name_can_be_written(tmp_path):
    write_text(tmp_path / ("é" * 127), "hello")
    assert names(tmp_path) == ["é" * 127]


def test_only_abandoned_files_of_ours_are_removed(tmp_path):
    ours, young = (tmp_path / f".minideeplab-{n * 16}.tmp" for n in "01")
    kept = [tmp_path / name for name in (".minideeplab-0.tmp", "notes.tmp", ".notes.txt.abcdefgh.tmp")]
    link, folder = (tmp_path / f".minideeplab-{n * 16}.tmp" for n in "23")
    for path in (ours, young, *kept):
        path.write_text("")
    link.symlink_to(kept[1])
    folder.mkdir()
    os.utime(ours, (1000, 1000))
    remove_abandoned(tmp_path, before=2000)
    remove_abandoned(tmp_path / "nowhere", before=2000)
    assert names(tmp_path) == sorted(path.name for path in (young, *kept, link, folder))


def test_a_folder_that_cannot_be_made_durable_is_no_fault(tmp_path, monkeypatch):
    fsync = os.fsync

    def no_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    write_text(tmp_path / "notes.txt", "hello")
    assert (tmp_path / "notes.txt").read_text() == "hello"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_text(tmp_path / "nowhere" / "notes.txt", "hello")
