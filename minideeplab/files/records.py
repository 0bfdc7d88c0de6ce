"""Records as .json files, read back without trust."""

from pathlib import Path

from minideeplab.files.json_text import parse_json
from minideeplab.files.refusal import Refusal

MAX_BYTES, MAX_VALUES = 64 * 2**20, 5_000_000  # a list of all ids of a data set


def read_json(path: str | Path, kind: type = dict, max_bytes: int = MAX_BYTES):
    """What a JSON file holds; None where it is missing, damaged, too large, or no `kind`, dict or list."""
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size <= max_bytes:
            content = parse_json(path.read_bytes(), max_bytes=max_bytes, max_values=MAX_VALUES)
            return content if isinstance(content, kind) else None
    except (OSError, Refusal):
        pass
    return None
