"""Web pages in one file: a frame with named gaps, data that a script reads, and a policy that lets one script run."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping


def filled(frame: str, parts: Mapping[str, str]) -> str:
    """The frame with each {{name}} replaced by its part, all at once: a part that says "{{script}}" stays as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


def as_json(value) -> str:
    """JSON that may stand in a script element: no "<", so no end tag and no comment."""
    return json.dumps(value).replace("<", "\\u003c")


def script_hash(script: str) -> str:
    """SHA-256 of a script in base64, by which a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
