"""The decorators every CPU kernel uses: one place for flags and for the disk cache.

Flags (never `fastmath=True`: it would remove NaN checks):
    jit        multiply and add may fuse into one FMA; sums keep their written order, so bits do not depend on vector width
    jit_reduce sums may also be reordered into vector lanes; used where one thread reduces one row, never across threads
"""

import os
import tempfile

import numba


def _prepare_cache():
    """Choose where compiled kernels are kept; an unwritable or broken folder never stops the program."""
    wanted = os.environ.get("MINIDEEPLAB_CACHE_DIR")
    if wanted and "NUMBA_CACHE_DIR" not in os.environ:
        try:
            os.makedirs(wanted, exist_ok=True)
            with tempfile.TemporaryFile(dir=wanted):
                numba.config.CACHE_DIR = wanted
        except OSError:
            return False
    return os.environ.get("MINIDEEPLAB_CACHE", "1") != "0"


_CACHE = _prepare_cache()
_EXACT = {"contract"}
_REORDER = {"contract", "nsz", "arcp", "afn", "reassoc"}


def _decorate(function, fastmath, parallel):
    options = dict(fastmath=fastmath, parallel=parallel, error_model="numpy", nogil=True)
    if _CACHE:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to cache in, neither beside the file nor in the user's home
            pass
    return numba.njit(**options)(function)


def jit(function):
    """Serial kernel or helper."""
    return _decorate(function, _EXACT, parallel=False)


def jit_reduce(function):
    """Serial helper whose sums may be reordered into lanes."""
    return _decorate(function, _REORDER, parallel=False)


def jit_parallel(function):
    """Kernel with a `prange` over outputs; each output element belongs to one iteration, so any number of threads gives the same bits."""
    return _decorate(function, _EXACT, parallel=True)
