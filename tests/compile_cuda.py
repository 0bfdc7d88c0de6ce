"""Compiles every kernel of kernels.cuda for a GPU that need not be there: `python tests/compile_cuda.py sm_90`.

It calls every kernel with arrays in host memory and, instead of launching, compiles to PTX for the types of the
arguments. With `ptxas` (package nvidia-cuda-nvcc) it prints the registers of each kernel and what it keeps in local
memory; that of a convolution must be none, because its sums are then no longer in registers. Exit code 1 if there is
any. Needs numba-cuda.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import kernel_calls
import numba.cuda.dispatcher
import numpy as np
from hosted import Hosted
from numba import cuda, typeof

import kernels.cuda
from kernels.cuda import arrays, device, lattice, tile
from kernels.geometry import Window

IN_REGISTERS = ("sum_over_channels", "sum_over_pixels", "sum_over_taps", "grad_weight")


class Buffer(np.ndarray):
    """Host memory in the place of a device array."""

    def copy_to_device(self, array):
        self[...] = array

    def copy_to_host(self):
        return np.array(self)


def collect(tensor_cores):
    """{(kernel, types of its arguments): name} of every launch that the kernels' own calls lead to."""
    seen = {}

    def record(kernel, grid, block, arguments):
        signature = tuple(typeof(np.asarray(a) if isinstance(a, Buffer) else a) for a in arguments)
        seen[kernel.function, signature] = kernel.name

    arrays.address_of, arrays._PINNED_FROM = (lambda buffer: 0), float("inf")
    arrays._allocate = lambda elements, dtype: np.zeros(elements, dtype).view(Buffer)
    device.launch, tile.has_tensor_cores = record, lambda: tensor_cores
    numbered = lattice._numbered
    lattice._numbered = lambda keys, corners: (*numbered(keys, corners)[:4], 1)  # where nothing runs, nothing is found
    k = Hosted(kernels.cuda)
    for dtype in (np.float32, np.float64):
        for call in kernel_calls.calls(k, dtype).values():
            call()
    layers = (
        (129, 304, 256),
        (33, 728, 728),
        (33, 64, 64),
        (33, 64, 24),
        (129, 7, 200),
        (33, 6, 50),
    )  # every tile, with and without loads of four
    for precision in ("float32", "tf32") if tensor_cores else ("float32",):
        kernels.cuda.set_precision(precision)
        for layer in layers:
            _call_convolutions(k, *layer)
    return seen


def _call_convolutions(k, side, c_in, c_out):
    x_shape, rows = (1, side, side, c_in), (3, 3, c_in)
    win, deep = Window.conv(x_shape, (*rows, c_out), padding="same"), Window.depthwise(x_shape, rows, padding=1)
    x, w, y, d = (np.zeros(shape, np.float32) for shape in (x_shape, win.w_shape, win.y_shape, rows))
    k.conv2d(x, w, win), k.conv2d_grad_input(y, w, win), k.conv2d_grad_weight(x, y, win)
    k.depthwise_conv2d(x, d, deep), k.depthwise_conv2d_grad_weight(x, x, deep)


def find_ptxas():
    """Path of ptxas in the package nvidia-cuda-nvcc, whose version fits numba-cuda's, or on PATH; None without."""
    installed = (Path(folder) / "nvidia" for folder in sys.path)
    return next((str(p) for folder in installed for p in folder.glob("**/bin/ptxas")), None) or shutil.which("ptxas")


def resources(ptxas, arch, ptx):
    """(registers, bytes of local memory) of a kernel."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [ptxas, "-v", f"-arch={arch}", str(source), "-o", os.devnull]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    local = sum(int(size) for size in re.findall(r"(\d+) bytes (?:stack frame|spill)", report))
    return int(re.search(r"Used (\d+) registers", report).group(1)), local


def main(arch):
    capability = int(arch[3:-1]), int(arch[-1])
    gpu = types.SimpleNamespace(compute_capability=capability)
    numba.cuda.dispatcher.get_current_device = lambda: gpu  # functions that kernels call are compiled for it
    ptxas, failed = find_ptxas(), []
    for (function, signature), name in sorted(
        collect(capability >= (8, 0)).items(), key=lambda item: (item[1], str(item[0][1]))
    ):
        ptx, _ = cuda.compile_ptx(function, signature, cc=capability)
        floats = "float64" if "float64" in str(signature) and "float32" not in str(signature) else "float32"
        tensor = "tensor cores" if "mma.sync" in ptx else ""
        line = f"{arch} {name:24s} {floats} {tensor:12s}"
        if ptxas:
            registers, local = resources(ptxas, arch, ptx)
            line += f"  {registers:3d} registers  {local:4d} bytes of local memory"
            if local and name in IN_REGISTERS and floats == "float32":
                failed.append(name)
        print(line)
    print(f"{arch}: compiled" + ("" if ptxas else "; ptxas (package nvidia-cuda-nvcc) would show registers and spills"))
    if failed:
        print(f"{arch}: not in registers: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
