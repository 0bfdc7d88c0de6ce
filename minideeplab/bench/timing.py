"""How everything is measured: in turn, in one process, medians; and the two bounds of the machine."""

import statistics
import time

import numpy as np

_PAUSE = 0.02  # seconds: threads that have run out of work wait for more in a loop, and would hold the next one's cores
_SHORT = 0.2  # seconds: what takes less is run once more before it is timed, for caches and threads have gone cold


def medians(functions, repeats):
    """Median seconds of each function, run in turn after one warm-up each, the order reversed every other round."""
    return [statistics.median(seconds) for seconds in timings(functions, repeats)]


def timings(functions, repeats):
    """All seconds of each function, as `medians` takes them."""
    for f in functions:
        f()
    seconds = [[] for _ in functions]
    for repeat in range(repeats):
        for i in range(len(functions)) if repeat % 2 else reversed(range(len(functions))):
            time.sleep(_PAUSE)
            took = _timed(functions[i])
            seconds[i].append(_timed(functions[i]) if took < _SHORT else took)
    return seconds


def _timed(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def spread(seconds):
    """(largest - smallest) / median of the middle half: how far a median can be trusted."""
    low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    return (high - low) / middle


def peak_gflops(repeats=7):
    """Fused multiply-adds of all threads, in GFLOP/s: the register tile over and over on one small block."""
    from kernels.cpu.peak import run_tiles

    flops = run_tiles(1)
    loops = max(1, int(2e10 / flops))
    return flops * loops / medians([lambda: run_tiles(loops)], repeats)[0] / 1e9


def copy_bandwidth(size=1 << 25, repeats=7):
    """Bytes read and written by all threads that copy `size` float32 numbers, in GB/s; 128 MiB leave the caches."""
    from kernels.cpu.peak import copy

    source = np.ones(size, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / medians([lambda: copy(source, target)], repeats)[0] / 1e9


def numpy_matmul_gflops(repeats=7):
    """NumPy's matrix product of 1536 x 1536 float32: a second yardstick that most readers know."""
    a = np.random.default_rng(0).standard_normal((1536, 1536), np.float32)
    return 2 * 1536**3 / medians([lambda: a @ a], repeats)[0] / 1e9
