"""One process holds a folder, until it ends in whatever way."""

import errno
import os
import subprocess
import sys

import pytest
from places import ROOT

from minideeplab.files import lock
from minideeplab.files.lock import FolderHeld, FolderLock, require_not_held

HOLDER = """
import sys, time
from minideeplab.files.lock import FolderHeld, FolderLock
try:
    held = FolderLock(sys.argv[1])
except FolderHeld:
    print("refused", flush=True)
else:
    print("held", flush=True)
    time.sleep(60)
"""


def start(folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, text=True, env=environment)


def test_of_processes_that_start_together_one_gets_it_and_it_dies_with_that_one(tmp_path):
    processes = [start(tmp_path) for _ in range(3)]
    try:
        said = [process.stdout.readline().strip() for process in processes]
        assert sorted(said) == ["held", "refused", "refused"]
        holder = processes[said.index("held")]
        with pytest.raises(FolderHeld, match=rf"^process {holder.pid} on .+, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
        assert (tmp_path / ".lock").exists()  # nobody could remove it
        require_not_held(tmp_path)
        FolderLock(tmp_path).release()
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_second_lock_of_one_process_is_refused_until_the_first_is_released(tmp_path):
    first = FolderLock(tmp_path)
    with pytest.raises(FolderHeld, match=f"process {os.getpid()} on"):
        FolderLock(tmp_path)
    with pytest.raises(FolderHeld, match=f"process {os.getpid()} on"):
        require_not_held(tmp_path)
    first.release()
    first.release()
    assert os.listdir(tmp_path) == []
    require_not_held(tmp_path)
    assert os.listdir(tmp_path) == []
    FolderLock(tmp_path).release()


def test_a_lock_file_that_lost_its_name_does_not_count(tmp_path, monkeypatch):
    """The holder removes it between our opening and our locking it, and a third process makes a new one."""
    flock, thirds = lock.fcntl.flock, []

    def late(handle, operation):
        if not thirds:
            thirds.append(None)
            (tmp_path / ".lock").unlink()
            thirds[0] = FolderLock(tmp_path)
        flock(handle, operation)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with pytest.raises(FolderHeld):
        FolderLock(tmp_path)
    thirds[0].release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x"}', b"\xff" * 2000, b"[" * 2000])
def test_whoever_it_is_the_folder_is_held(tmp_path, content):
    held = FolderLock(tmp_path)
    (tmp_path / ".lock").write_bytes(content)
    with pytest.raises(FolderHeld, match=r"^another process$"):
        FolderLock(tmp_path)
    held.release()


def test_a_file_system_without_locks_holds_nothing_and_says_so(tmp_path, monkeypatch):
    def none(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not first.works and not second.works
    first.release()
    second.release()


def test_a_full_disk_does_not_keep_from_holding(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        held = FolderLock(tmp_path)
    with pytest.raises(FolderHeld, match="another process"):
        FolderLock(tmp_path)
    held.release()


def test_a_link_in_its_place_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(OSError, match=r"\.lock"):
        FolderLock(tmp_path)
    assert victim.read_text() == "precious"
