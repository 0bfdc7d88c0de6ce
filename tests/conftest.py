"""Hypothesis profiles and the `--long` option."""

import importlib
import os

import pytest
from hypothesis import HealthCheck, settings


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="ten times the examples, and the tests marked `long`")


def pytest_configure(config):
    common = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("default", max_examples=40, **common)
    settings.register_profile("long", max_examples=400, **common)
    settings.register_profile("simulated", max_examples=4, **common)  # NUMBA_ENABLE_CUDASIM: a Python thread each
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    settings.load_profile("long" if config.getoption("--long") else "simulated" if simulated else "default")
    if os.environ.get("MINIDEEPLAB_ONNX") == "required":  # tests of exported networks are skipped without
        for package in ("onnx", "onnxruntime"):
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise pytest.UsageError(
                    f"MINIDEEPLAB_ONNX=required, but {package} cannot be imported: {error}"
                ) from error


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes: run with --long"))


@pytest.fixture(scope="session")
def mpi():
    """Of tests that start ranks, see `mpi_runs.needs_mpi`; MINIDEEPLAB_MPI=required allows no skip."""
    import mpi_runs

    if why := mpi_runs.why_not():
        required = os.environ.get("MINIDEEPLAB_MPI") == "required"
        pytest.fail(why) if required else pytest.skip(why)
