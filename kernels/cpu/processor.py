"""What the processor can do for which Numba compiles: NUMBA_CPU_FEATURES may say less than it has."""

import llvmlite.binding
import numba


def _features():
    features = numba.config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return frozenset() if numba.config.DISABLE_JIT else frozenset(features.split(","))


FEATURES = _features()  # such as "+avx2"
HAS_AVX512_BF16 = {"+avx512f", "+avx512bf16"} <= FEATURES  # multiplies pairs of bfloat16 numbers, and rounds to them
HAS_AMX_BF16 = {"+amx-tile", "+amx-bf16"} <= FEATURES  # multiplies tiles of them
