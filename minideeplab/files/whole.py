"""Files that are written in full or not at all."""

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# A file under way: a name that nobody can guess, and that no existing file or link has (O_EXCL).
_TEMPORARY = re.compile(r"\.minideeplab-[0-9a-f]{16}\.tmp")
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextlib.contextmanager
def written_whole(path: str | Path, need: int | None = None) -> Iterator[BinaryIO]:
    """A file to write to, which takes the name `path` when the block ends without an error.

    Whatever happens meanwhile, `path` is the old file or the new one. Where `path` is a link, the link is replaced, and
    what it leads to is left alone.

    Args:
        path: the file.
        need: bytes that it will have, for the message where the disk is full; None where nobody knows.

    Raises:
        OSError: the disk is full, the folder is not writable, and the like; the old file is untouched. `filename` is
            `path`, `strerror` the cause, and how much space is needed where there is not enough.
    """
    path = Path(path)
    # In the same folder, since os.replace is atomic only within one file system.
    temporary = path.with_name(f".minideeplab-{secrets.token_hex(8)}.tmp")
    written = 0
    try:
        with os.fdopen(os.open(temporary, _CREATE, 0o666), "wb") as file:
            try:
                yield file
                file.flush()
            finally:
                written = os.fstat(file.fileno()).st_size
            os.fsync(file.fileno())
        if path.exists() and (mode := path.stat().st_mode & 0o777) != temporary.stat().st_mode & 0o777:
            os.chmod(temporary, mode)  # a private file stays private
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)  # before the free space is counted
        if error.filename in (None, str(temporary)):
            raise _named(error, path, f"{need:,}" if need else f"more than {written:,}") from error
        raise  # of another file, which the block reads
    finally:
        _remove(temporary)
    _sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file, UTF-8, in full or not at all; errors as of `written_whole`."""
    data = text.encode(errors="backslashreplace")  # a path in it may hold bytes that are no text
    with written_whole(path, len(data)) as file:
        file.write(data)


def remove_abandoned(folder: str | Path, before: float) -> None:
    """Removes what processes that were killed left of files under way in a folder.

    Args:
        folder: not searched below; one that is not there has nothing to remove.
        before: seconds since 1970; younger files may still be written.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        os.unlink(entry.path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _named(error: OSError, path: Path, need: str) -> OSError:
    """The same error, which names the file, and on a full disk what is needed and what is there."""
    cause = error.strerror or str(error)
    if error.errno in DISK_FULL:
        cause += f": {need} bytes are needed"
        with contextlib.suppress(OSError):
            cause += f", {shutil.disk_usage(path.parent).free:,} are free"
    return OSError(error.errno, cause, str(path))


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself durable; systems that cannot do that for a folder do without."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
