"""Files that options name: ordinary ones, for a pipe would be waited for, and a device read without end."""

import os
import stat
from pathlib import Path

from minideeplab.files.refusal import Refusal


def require_ordinary(path: str | Path) -> None:
    """Refusal where the path leads to a folder, a pipe or a device; OSError where it leads nowhere."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise Refusal("a folder; give a file" if stat.S_ISDIR(mode) else "a pipe or a device; write it to a file first")


def read_small(path: str | Path, most_bytes: int) -> bytes:
    """The bytes of an ordinary file.

    Raises:
        Refusal: (a ValueError) no ordinary file, or larger than `most_bytes`.
        OSError: no such file, or it cannot be read.
    """
    require_ordinary(path)
    with open(path, "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise Refusal(f"it has more than {most_bytes} bytes")
    return data
