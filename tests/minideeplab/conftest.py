"""Fixtures of the tests of the engine."""

import time
import tracemalloc

import pytest

import kernels
from minideeplab.errors import CheckpointError
from minideeplab.weights.containers import read_arrays


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Arrays this small cost less than waking a second thread; bits do not depend on threads."""
    before = kernels.num_threads()
    kernels.set_num_threads(1)
    yield
    kernels.set_num_threads(before)


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file of a name that says nothing about its format."""

    def read_bytes(data, **options):
        path = tmp_path / "weights.bin"
        path.write_bytes(data)
        return read_arrays(path, **options)

    return read_bytes


@pytest.fixture
def refuses(read):
    """The message of the refusal, which must name the file and come cheaply."""

    def message(data, **options):
        tracemalloc.start()
        start = time.perf_counter()
        try:
            with pytest.raises(CheckpointError) as caught:
                read(data, **options)
        finally:
            seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert "weights.bin: " in str(caught.value) and "; " in str(caught.value)
        assert len(str(caught.value)) < 1000
        assert seconds < 20 and peak < 300e6
        return str(caught.value)

    return message
