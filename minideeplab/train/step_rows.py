"""metrics.jsonl: one line for each step, which may end anywhere after a kill, and hold anything after a fault."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from minideeplab.files.growing import GrowingFile
from minideeplab.files.whole import write_text

_LONGEST = 10_000  # characters of a line; ours have about 100


class StepRows:
    """The rows of metrics.jsonl, in the order of their steps. What is no such row is passed over.

    Args:
        path: the file, which need not be there.
    """

    def __init__(self, path: str | Path):
        self._file = GrowingFile(path)
        self.path = self._file.path

    def add(self, row: dict) -> None:
        """Adds a line; OSError where it cannot be written."""
        self._file.add(json.dumps(row))

    def read(self) -> list[dict]:
        """All rows; OSError where the file cannot be read."""
        return [row for row, _ in self._rows()]

    def last_step(self) -> int:
        """The highest step that there is a row of; 0 without any."""
        return max((row["step"] for row, _ in self._rows()), default=0)

    def cut(self, step: int) -> None:
        """Drops the rows after `step`, and what is no row; OSError where the file cannot be read or written."""
        self.close()
        lines = [line for row, line in self._rows() if row["step"] <= step]
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def close(self) -> None:
        self._file.close()

    def _rows(self) -> Iterator[tuple[dict, str]]:
        """Each row and its line."""
        if not self.path.is_file():  # nor a pipe, which would wait
            return
        before = 0
        with self.path.open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(_LONGEST):
                row = _row(line)
                if row is not None and row["step"] > before:
                    before = row["step"]
                    yield row, line.removesuffix("\n")


def _row(line: str) -> dict | None:
    """The row of a line; None where it is cut short, or not a row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int or not 0 < row["step"] < 2**53:
        return None
    numbers = (row.get("loss"), row.get("lr"))
    return row if all(type(each) in (int, float) and abs(each) < math.inf for each in numbers) else None
