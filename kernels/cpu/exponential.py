"""exp as arithmetic in vectors: Numba's own exp is one library call for each element.

exp(x) = 2^n exp(r), n = round(x / log 2), r = x - n log 2 in two parts (Cody and Waite 1980), exp(r) by its Taylor
polynomial on |r| <= log(2) / 2, and 2^n written straight into the exponent bits (llvm_exponential.py). Error below
2 ulp (tests/kernels/test_exponential.py).
"""

from .jit import jit
from .llvm_exponential import exponentiate_intrinsic

_exponentiate = exponentiate_intrinsic(64)  # bytes of a vector; a processor with shorter ones takes several


@jit
def exponentiate(x):
    """x <- exp(x) in place; x: (n,) float32 or float64, first kept between -87 and 88 (-708 and 709).

    So the result is never 0 nor infinite. NaN stays NaN.
    """
    _exponentiate(x)
