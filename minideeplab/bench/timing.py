"""How everything is measured: in turn, in one process, medians; and the two bounds of a device.

A GPU works behind the back of the program: what is timed there runs often enough to last, and then is waited for.
"""

import importlib
import statistics
import time

import numpy as np

import kernels
from kernels.bfloat16 import BFLOAT16
from kernels.cpu.bfloat16 import numbers
from minideeplab.autograd.precision import precision_in_use

_PAUSE = 0.02  # seconds: threads that have run out of work wait for more in a loop, and would hold the next one's cores
_LASTING = 0.02  # seconds that calls on a GPU take together
_SHORT = 0.2  # seconds: what takes less is run until it is warm, for after the pause caches and threads are cold
_WARM = 0.02  # seconds of that


def medians(functions, repeats, device="cpu"):
    """Median seconds of each function, run in turn after one warm-up each, the order reversed every other round."""
    return [statistics.median(seconds) for seconds in timings(functions, repeats, device)]


def timings(functions, repeats, device="cpu"):
    """All seconds of each function, as `medians` takes them."""
    wait = kernels.load(device).synchronize
    for f in functions:
        f()
    wait()
    calls = [1 if device == "cpu" else max(1, int(_LASTING / _timed(f, 1, wait))) for f in functions]
    seconds = [[] for _ in functions]
    for repeat in range(repeats):
        for i in range(len(functions)) if repeat % 2 else reversed(range(len(functions))):
            time.sleep(_PAUSE)
            began = time.perf_counter()
            took = _timed(functions[i], calls[i], wait)
            while took < _SHORT and time.perf_counter() < began + _WARM:
                took = _timed(functions[i], calls[i], wait)
            seconds[i].append(took)
    return seconds


def _timed(function, calls, wait):
    """Seconds of one call."""
    began = time.perf_counter()
    for _ in range(calls):
        function()
    wait()
    return (time.perf_counter() - began) / calls


def spread(seconds):
    """(largest - smallest) / median of the middle half: how far a median can be trusted."""
    low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    return (high - low) / middle


def feature_maps(device, *shapes):
    """Standard normal numbers in arrays as the engine makes them, in the precision in use."""
    k, generator = kernels.load(device), np.random.default_rng(0)
    arrays = [k.copy(kernels.to_device(generator.standard_normal(shape, np.float32), device)) for shape in shapes]
    return [k.to_bfloat16(a) for a in arrays] if precision_in_use() == "bf16" else arrays


def torch_tensor(torch, array):
    """An array as a tensor in host memory, of its dtype."""
    array = kernels.to_device(array, "cpu")
    if array.dtype == BFLOAT16:
        return torch.from_numpy(numbers(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def peak_gflops(device="cpu", repeats=7):
    """Fused multiply-adds in GFLOP/s, nothing but registers: on the CPU the tile, over and over on one small block."""
    run_tiles = importlib.import_module(f"kernels.{device}.peak").run_tiles
    flops = run_tiles(1)
    loops = max(1, int(2e10 / flops))
    return flops * loops / medians([lambda: run_tiles(loops)], repeats, device)[0] / 1e9


def copy_bandwidth(device="cpu", size=1 << 25, repeats=7):
    """Bytes read and written by a copy of `size` float32 numbers, in GB/s; 128 MiB leave a CPU's caches."""
    copy = importlib.import_module(f"kernels.{device}.peak").copy
    source = kernels.to_device(np.ones(size, np.float32), device)
    target = kernels.load(device).empty((size,), np.float32)
    return 2 * source.nbytes / medians([lambda: copy(source, target)], repeats, device)[0] / 1e9


def numpy_matmul_gflops(repeats=7):
    """NumPy's matrix product of 1536 x 1536 float32: a second yardstick that most readers know."""
    a = np.random.default_rng(0).standard_normal((1536, 1536), np.float32)
    return 2 * 1536**3 / medians([lambda: a @ a], repeats)[0] / 1e9
