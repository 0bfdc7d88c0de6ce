"""Records as .json files, read back without trust."""

import json
from pathlib import Path

MAX_BYTES = 64 * 2**20


def read_json(path: str | Path, kind: type = dict, max_bytes: int = MAX_BYTES):
    """What a JSON file holds; None where it is missing, damaged, too large, or no `kind`, dict or list."""
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size <= max_bytes:
            content = json.loads(path.read_bytes())
            return content if isinstance(content, kind) else None
    except (OSError, ValueError, RecursionError):
        pass
    return None
