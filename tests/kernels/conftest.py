"""Fixtures of the tests of kernels."""

import pytest

import kernels


@pytest.fixture(scope="module")
def one_thread():
    """To wake a second one costs more than small sizes do; test_threads.py looks at several."""
    before = kernels.num_threads()
    kernels.set_num_threads(1)
    yield
    kernels.set_num_threads(before)


@pytest.fixture
def by_tiles(monkeypatch):
    """float32 convolutions are sums of the register tile, on processors with tile registers for bfloat16, too."""
    monkeypatch.setattr("kernels.cpu.bfloat16_block.ENGINE", "plain")
