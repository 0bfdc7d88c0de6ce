"""Tables as .csv files, which spreadsheets open."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from minideeplab.files.whole import write_text


def write_csv(path: str | Path, rows: Sequence[Sequence]) -> None:
    """Writes rows, the heading first, in full or not at all: UTF-8, None as an empty cell, floats with all digits.

    Raises:
        OSError: the file cannot be written; the old one is untouched.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())
