"""A folder that one process at a time writes to."""

import contextlib
import datetime
import errno
import json
import os
import platform
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_NAME = ".lock"
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_TRIES, _PAUSE = 3, 0.05  # seconds: a process that only asks whether the folder is held is done by then
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, getattr(errno, "ENOTSUP", errno.EINVAL)}


class FolderHeld(Exception):
    """Another process holds the folder; the message says which, where and since when."""


class FolderLock:
    """Holds a folder until `release`, or until this process ends in whatever way: the system knows who is alive.

    The lock is that of the system on the file FOLDER/.lock (flock, on Windows msvcrt.locking), which says who holds it.
    On NFS it holds between machines that mount the folder with locks (all but `nolock`).

    Args:
        folder: an existing folder.

    Attributes:
        works: False where the file system has no locks, so that nothing is held.

    Raises:
        FolderHeld: by another process, or by another lock of this one.
        OSError: no file can be written there.
    """

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / _NAME
        self._handle, self.works = _locked(self._path)
        since = datetime.datetime.now().replace(microsecond=0).isoformat(" ")
        who = {"pid": os.getpid(), "host": platform.node(), "since": since}
        with contextlib.suppress(OSError):  # a full disk: held all the same
            os.ftruncate(self._handle, 0)
            os.write(self._handle, json.dumps(who).encode())

    def release(self) -> None:
        """Lets the folder go; a second call does nothing."""
        if self._handle is None:
            return
        # The file goes before the lock: whoever takes the lock after that finds that its file has lost the name.
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._handle)
        self._handle = None
        with contextlib.suppress(OSError):
            if fcntl is None:
                self._path.unlink()  # Windows removes no open file


def require_not_held(folder: str | Path) -> None:
    """Raises FolderHeld where another process holds the folder now; a folder without a lock is left as it is."""
    if (Path(folder) / _NAME).exists():
        FolderLock(folder).release()


def _locked(path: Path) -> tuple[int, bool]:
    """An open file with the lock, and whether there are locks."""
    for tries_left in reversed(range(_TRIES)):
        handle = os.open(path, _OPEN, 0o644)
        try:
            works = _lock(handle)
            # Another process may have removed the file between our opening and our locking it.
            if not works or _has_the_name(handle, path):
                return handle, works
        except OSError as error:
            if error.errno not in _HELD:
                os.close(handle)
                raise
            if not tries_left:
                who = _holder(handle)
                os.close(handle)
                raise FolderHeld(who) from error
        os.close(handle)
        time.sleep(_PAUSE)
    raise FolderHeld("another process that has just begun")


def _lock(handle: int) -> bool:
    """Locks the file or raises OSError of _HELD; False where the file system has no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(handle, 2**30, os.SEEK_SET)  # far behind the text, since nobody can read what is locked
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _has_the_name(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    """Who wrote the file, in words."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        who = json.loads(os.read(handle, 1000))
        return f"process {int(who['pid'])} on {str(who['host'])[:100]}, since {str(who['since'])[:19]}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
