"""Hypothesis profiles, the `--long` option, and a compile cache that never outlives the kernels it was made from."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

KERNELS = Path(__file__).parent.parent / "kernels" / "cpu"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="ten times the examples, and the tests marked `long`")


def pytest_configure(config):
    _choose_cache(config)
    common = dict(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("default", max_examples=40, **common)
    settings.register_profile("long", max_examples=400, **common)
    settings.load_profile("long" if config.getoption("--long") else "default")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes: run with --long"))


def _choose_cache(config):
    """Keep compiled kernels in a folder named after their source.

    Numba recompiles a function when its own file changes, not when a file that it imports does: without this, an edit of
    tile.py would be tested with the old code. Set before anything imports Numba; subprocesses inherit it.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(KERNELS.glob("*.py")))).hexdigest()[:16]
    os.environ.setdefault("NUMBA_CACHE_DIR", str(config.cache.mkdir(f"kernels-{digest}")))
