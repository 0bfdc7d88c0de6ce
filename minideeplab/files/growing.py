"""Text files that grow by lines."""

import os
from pathlib import Path

# A pipe in the place of the file is an error, not a wait for its reader; a link is not followed.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class GrowingFile:
    """A text file to which lines are added; each is on its way to the disk before the next.

    Args:
        path: the file, which is made by the first line.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._handle = None
        self._cut = False  # whether the last line may be there in part

    def add(self, line: str) -> None:
        """Adds a line, UTF-8. After a fault the next one begins a line of its own.

        Raises:
            OSError: it cannot be written; what stands in the file stays.
        """
        if self._handle is None:
            self._cut = _ends_within_a_line(self.path)
            self._handle = os.open(self.path, _APPEND, 0o666)
        data = memoryview(("\n" * self._cut + line + "\n").encode("utf-8", "backslashreplace"))
        self._cut = True
        while data:
            data = data[os.write(self._handle, data) :]
        self._cut = False

    def close(self) -> None:
        """Done; a later `add` opens the file again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _ends_within_a_line(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
