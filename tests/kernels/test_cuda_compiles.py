"""Every CUDA kernel compiles for three generations of GPUs, none of which need be there; needs numba-cuda."""

import subprocess
import sys
from pathlib import Path

import pytest
from numba import cuda
from strategies import SIMULATED

SCRIPT = Path(__file__).parent.parent / "compile_cuda.py"
HAS_COMPILER = not SIMULATED and getattr(cuda, "implementation", "") == "NVIDIA"


@pytest.mark.skipif(not HAS_COMPILER, reason='needs numba-cuda: pip install -e ".[cuda13]"')
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
def test_kernels_compile_and_convolutions_stay_in_registers(arch):
    result = subprocess.run([sys.executable, str(SCRIPT), arch], capture_output=True, text=True)
    print(result.stdout)  # registers and spills of every kernel: pytest -rP shows them
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert f"{arch}: compiled" in result.stdout
