"""One thread for the tests of the engine."""

import pytest

import kernels


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Arrays this small cost less than waking a second thread; bits do not depend on threads."""
    before = kernels.num_threads()
    kernels.set_num_threads(1)
    yield
    kernels.set_num_threads(before)
