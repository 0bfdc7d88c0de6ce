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
