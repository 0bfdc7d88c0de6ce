"""The one place that imports Numba's CUDA target: whether it can run here, and what a kernel is.

Without a GPU kernels run in Numba's simulator (NUMBA_ENABLE_CUDASIM=1), which starts an operating-system thread for
each CUDA thread: blocks are small there. Sizes of blocks and tiles are constants of the modules, because the sizes of
shared arrays must be known when a kernel is compiled.
"""

import inspect

import numba
import numpy as np
from numba import cuda

numba.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small kernels are meant: a sum of 21 classes has few blocks
SIMULATED = bool(numba.config.ENABLE_CUDASIM)
THREADS = 4 if SIMULATED else 256  # threads of a block in a kernel over a flat range
MAX_BLOCKS = 3 if SIMULATED else 4096  # of such a kernel; a thread then takes every (THREADS * blocks)-th element


def require():
    """Raise unless kernels can run here.

    Raises:
        ImportError: numba-cuda is not installed. RuntimeError: no usable GPU.
    """
    if SIMULATED:
        return
    if getattr(cuda, "implementation", "") != "NVIDIA":
        raise ImportError(
            'the device cuda needs numba-cuda: pip install -e ".[cuda13]", or [cuda12] for a driver of CUDA 12'
        )
    if not cuda.is_available():
        raise RuntimeError(f"the device cuda found no usable GPU ({_why_not()}); use the device cpu")


def select_device(number):
    """Compute on GPU `number` from now on, counted modulo those that there are: one for each process of a machine.

    To be called before anything lies on a GPU: arrays stay where they are.
    """
    if not SIMULATED:
        cuda.select_device(number % len(cuda.gpus))


def has_tensor_cores():
    """Whether the GPU multiplies in TF32."""
    return SIMULATED or cuda.get_current_device().compute_capability >= (8, 0)


def _why_not():
    try:
        cuda.current_context()
    except Exception as error:  # whatever the driver or its absence raises
        return " ".join(str(error).split()) or type(error).__name__
    return "Numba says that CUDA is not available"


class Kernel:
    """A CUDA kernel, compiled at its first launch for the types of its arguments.

    Device arrays arrive in it as flat, contiguous memory: shapes are arguments of their own.
    """

    def __init__(self, function):
        self.name = function.__name__.lstrip("_")
        self.function, self.parameters = function, tuple(inspect.signature(function).parameters)
        self.compiled = cuda.jit(function)

    def __call__(self, grid, block, *arguments):
        """Launch on the default stream; `grid` blocks of `block` threads, each an int or a tuple."""
        for name, argument in zip(self.parameters, arguments, strict=True):
            if isinstance(argument, np.ndarray):
                raise TypeError(f"{self.name}: {name} lies in host memory; copy it by kernels.load('cuda').from_numpy")
        launch(self, grid, block, [getattr(argument, "buffer", argument) for argument in arguments])

    def flat(self, count, *arguments):
        """Launch for a loop `for i in range(cuda.grid(1), count, cuda.gridsize(1))`; nothing for an empty range."""
        if count:
            self(min(-(-count // THREADS), MAX_BLOCKS), THREADS, *arguments)


def launch(kernel, grid, block, arguments):
    """Hand a kernel to Numba. Tests of the compiler replace it, to see every kernel with its types and no GPU."""
    launch.count += 1
    kernel.compiled[grid, block](*arguments)


launch.count = 0  # what a training step costs the program that drives the GPU


def device_function(function):
    """Decorator: a function that kernels call."""
    return cuda.jit(function, device=True)
