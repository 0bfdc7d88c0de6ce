"""Every kernel gives the same bits on 1, 2 and 4 threads, and from memory filled with rubbish."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_calls import SHAPE, calls
from strategies import assert_close

import kernels
from kernels.bfloat16 import BFLOAT16, widen
from kernels.cpu import arrays

TESTS = Path(__file__).parent.parent
FILES = kernels.CONTRACT | kernels.CRF_CONTRACT
NAMES = sorted(name for file, names in FILES.items() if file != "arrays" for name in names)


def digests(dtype=np.float32):
    """name -> hash of the bits of all results."""

    def digest(results):
        return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in results)).hexdigest()

    return {name: digest(call()) for name, call in calls(kernels.load("cpu"), dtype).items()}


def digests_of_both():
    """The same in float32 and, for kernels that take them, with bfloat16 feature maps."""
    return {name: [bits, halves[name]] for halves in [digests(BFLOAT16)] for name, bits in digests().items()}


def run(program, **environment):
    """What a fresh Python process prints as JSON."""
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / "kernels")))
    command = [sys.executable, "-c", f"import json, kernels, numpy, test_threads\n{program}"]
    result = subprocess.run(
        command, env=os.environ | environment | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


BY_THREADS = """
results = {}
for threads in (1, 2, 4):
    kernels.set_num_threads(threads)
    results[threads] = test_threads.digests_of_both()
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def called():
    """Names of the kernels that were called, here: from now on every process finds them in the cache."""
    return list(digests_of_both())


@pytest.fixture(scope="module")
def by_threads(called):
    """Digests for 1, 2 and 4 threads."""
    return run(BY_THREADS, NUMBA_NUM_THREADS="4")


@pytest.fixture(scope="module")
def in_dirty_memory(called):
    """Digests of a process whose fresh memory (of glibc) is full of 3.4e38."""
    return run("print(json.dumps(test_threads.digests_of_both()))", MALLOC_PERTURB_="128")


def test_every_kernel_is_called(called):
    assert sorted(called) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_on_any_number_of_threads(name, by_threads):
    assert by_threads["1"][name] == by_threads["2"][name] == by_threads["4"][name]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_whatever_fresh_memory_holds(name, by_threads, in_dirty_memory):
    assert in_dirty_memory[name] == by_threads["1"][name]


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64", "BFLOAT16"])
def test_the_same_bits_compiled_now_and_loaded_from_the_cache(dtype, tmp_path):
    """LLVM optimises a kernel once more on its way to the cache, and may then fuse other multiplies and adds."""
    program = (
        f"print(json.dumps(test_threads.digests(test_threads.{'BFLOAT16' if dtype == 'BFLOAT16' else f'np.{dtype}'})))"
    )
    first, second = (run(program, MINIDEEPLAB_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert [name for name in NAMES if first[name] != second[name]] == []


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_no_result_depends_on_what_its_memory_held(name, dtype, monkeypatch):
    """Every buffer of the pool is filled with NaN (-1 as an integer) before the kernel takes it."""
    monkeypatch.setattr(arrays, "_POOLED_FROM", 0)  # small arrays come from the pool, too
    call = calls(kernels.load("cpu"), dtype)[name]
    clean = call()
    copies = [np.array(a) for a in clean]
    del clean  # its buffers go to the pool
    for buffers in arrays._free.values():
        for buffer in buffers:
            buffer.fill(0xFF)
    for expected, actual in zip(copies, call(), strict=True):
        assert not np.isnan(widen(actual) if getattr(actual, "dtype", None) == BFLOAT16 else actual).any()
        np.testing.assert_array_equal(actual, expected)
    arrays.release_pool()


@pytest.mark.parametrize("name", NAMES)
def test_both_backends_agree_on_the_same_calls(name):
    """On sizes at which threads share work; in float64, where the rounding of a sum over all pixels is small."""
    actual, expected = (calls(kernels.load(backend), np.float64)[name]() for backend in ("cpu", "reference"))
    for a, e in zip(actual, expected, strict=True):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)  # argmax, too
        assert_close(a, e, magnitude=1 + np.abs(e).max(), terms=np.prod(SHAPE[:3]))
