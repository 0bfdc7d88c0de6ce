"""Names of files for what has a name of its own."""

import hashlib
import os
import re

_NOT_IN_NAMES = re.compile(r"[%/\x00-\x1f]")
_LONGEST = 200  # bytes of a name, of the 255 that file systems have


def file_name(sample: str) -> str:
    """The name, without a suffix, of a file that is written for a sample, another one for each id.

    What no file name may hold, such as the "/" of folders, is written as in addresses of the web, %2F. An id too long
    for a name is cut and numbered by its hash.
    """
    name = _NOT_IN_NAMES.sub(lambda found: f"%{ord(found[0]):02X}", sample)
    data = os.fsencode(name)
    if len(data) > _LONGEST:
        name = f"{data[:_LONGEST].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:16]}"
    return name
