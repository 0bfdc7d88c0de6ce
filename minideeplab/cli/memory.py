"""How much memory this process has taken."""

import sys
from pathlib import Path


def peak_memory() -> int | None:
    """The highest number of bytes that this process held at once, the interpreter included; None on Windows."""
    if sys.platform == "linux":  # getrusage would give the parent's peak, where that is higher
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
