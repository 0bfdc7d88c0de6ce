"""Jobs on threads: each runs once, arrays outlive it, a failure is told, a second process loads what is compiled."""

import os
import subprocess
import sys
from typing import NamedTuple

import numba
import numpy as np
import pytest

import kernels
from kernels.cpu.jit import jit_parallel

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="threads are compiled")


class Pair(NamedTuple):
    one: np.ndarray
    other: np.ndarray


@jit_parallel
def count(job, pair, factor, counts):
    own = pair.one[job:].copy()  # memory that lives for one job
    counts[job] += factor * own[0] + pair.other[job]


@jit_parallel
def fill_too_much(job, size, out):
    if job == 1:
        out[job] = np.empty(size, np.float64)[0]


@pytest.fixture
def any_threads():
    yield
    kernels.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.mark.parametrize("jobs", [0, 1, 2, 7, 1000])
def test_each_job_runs_once(jobs, any_threads):
    pair, expected = Pair(np.arange(jobs + 1), np.ones(jobs + 1, np.int64)), 3 * np.arange(jobs) + 1
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        kernels.set_num_threads(threads)
        counts = np.zeros(jobs, np.int64)
        count(jobs, pair, 3, counts)
        np.testing.assert_array_equal(counts, expected)


def test_arrays_are_as_alive_after_the_jobs_as_before():
    pair, counts = Pair(np.arange(9), np.arange(9)), np.zeros(8, np.int64)
    before = [sys.getrefcount(a) for a in (*pair, counts)]
    for _ in range(100):
        count(8, pair, 1, counts)
    assert [sys.getrefcount(a) for a in (*pair, counts)] == before


def test_a_job_without_memory_is_an_error():
    with pytest.raises(MemoryError, match="a kernel found no memory"):
        fill_too_much(4, 1 << 58, np.zeros(4))
    fill_too_much(4, 1, np.zeros(4))  # and the next call runs


def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    code = """
import numpy as np, kernels
from kernels.cpu import elementwise
k = kernels.load("cpu")
print(k.add(np.ones(1000, np.float32), np.ones(1000, np.float32)).sum(), *elementwise._add.stats.cache_hits.values())
"""
    environment = os.environ | {"MINIDEEPLAB_CACHE_DIR": str(tmp_path), "MINIDEEPLAB_CACHE": "1"}
    outputs = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert outputs == ["2000.0\n", "2000.0 1\n"]
