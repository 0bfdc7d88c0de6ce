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


def test_without_compilation_kernels_are_python():
    """NUMBA_DISABLE_JIT=1, to step through them in a debugger; dense convolution in bfloat16 alone needs compiling."""
    code = """
import numpy as np, kernels
from kernels.geometry import Window
k, r = kernels.load("cpu"), kernels.load("reference")
x, w = (np.random.default_rng(0).standard_normal(s, np.float32) for s in ((1, 5, 6, 4), (3, 3, 4, 5)))
win, deep = Window.conv(x.shape, w.shape, padding="same"), Window.depthwise(x.shape, (3, 3, 4), padding="same")
for name, args in (
    ("add", (x, x)), ("conv2d", (x, w, win)), ("depthwise_conv2d", (x, w[..., 0], deep)),
    ("depthwise_conv2d_grad_weight", (x, x, deep)), ("resize_bilinear", (x, 9, 7, True)),
):
    np.testing.assert_allclose(getattr(k, name)(*args), getattr(r, name)(*args), rtol=1e-4, atol=1e-4, err_msg=name)
halves = k.to_bfloat16(x)
assert (k.to_float32(k.add(halves, halves)) == r.to_float32(r.add(halves, halves))).all()
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, check=True)
