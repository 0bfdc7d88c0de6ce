"""The machine that a run ran on."""

import os
import platform
from pathlib import Path

import kernels


def machine(device: str) -> dict[str, str]:
    """Name -> value of what decides how fast a run is: processor, cores, threads, memory, system, device."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "processor": processor(),
        "cores": f"{os.cpu_count()}, {usable} of them for this process",
        "threads": str(kernels.num_threads()),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    return facts | {"system": platform.platform(), "device": device}


def processor() -> str:
    """The name that its maker gave it, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names and names[0]) or platform.processor() or platform.machine()
