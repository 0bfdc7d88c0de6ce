"""The decorators every CPU kernel uses: one place for flags and for the disk cache.

Flags: a multiply and an add may fuse into one FMA; sums keep their written order, so bits do not depend on vector
width. Never `fastmath=True`: it would remove NaN checks.

Cache: compiled kernels are kept in a folder named after a hash of this package's sources, because Numba looks only at
the file that defines a function and would miss a change in a helper from another file. MINIDEEPLAB_CACHE_DIR moves
the folder (default: ~/.cache/minideeplab), MINIDEEPLAB_CACHE=0 keeps nothing. A folder that cannot be written is read,
as one that a teacher has filled for all. A folder that cannot be written or read never stops the program.
"""

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType

import numba
from numba.core.caching import _CacheLocator

from .jobs import run_jobs


def _cache_folder():
    """The folder for this version of the sources; None where it can be neither written nor read, or is not wanted."""
    if os.environ.get("MINIDEEPLAB_CACHE", "1") == "0" or numba.config.DISABLE_JIT:
        return None
    digest = hashlib.sha256(str(Path(__file__).parent).encode())  # Numba files its cache by the sources' path as well
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    root = os.environ.get("MINIDEEPLAB_CACHE_DIR") or Path(os.path.expanduser("~")) / ".cache" / "minideeplab"
    folder = Path(root) / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:
        return str(folder) if _has_kernels(folder) else None


def _has_kernels(folder):
    """Whether kernels lie compiled in a folder, and can be read."""
    try:
        return any(os.access(file, os.R_OK) for file in Path(folder).rglob("*.nbi"))
    except OSError:
        return False


_FOLDER = _cache_folder()
FOUND_COMPILED = bool(_FOLDER) and _has_kernels(_FOLDER)


@contextmanager
def _numba_cache_in(folder):
    """Numba asks for its cache folder when it decorates; other users of Numba in this process keep theirs.

    It refuses a folder that cannot be written. `_cache_folder` has looked at ours, and only writing fails there.
    """
    previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, folder
    ensure, _CacheLocator.ensure_cache_path = _CacheLocator.ensure_cache_path, lambda locator: None
    try:
        yield
    finally:
        numba.config.CACHE_DIR, _CacheLocator.ensure_cache_path = previous, ensure


def _tolerate_faults(cache):
    """A damaged or full cache means compiling again, not an error."""
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*args):
        try:
            return load(*args)
        except Exception:  # whatever a damaged pickle raises
            return None

    def save_overload(*args):
        try:
            save(*args)
        except Exception:  # a damaged index fails here again; the kernel itself is compiled
            return

    cache.load_overload, cache.save_overload = load_overload, save_overload


def _decorate(function, contract=True, kept=True, **more):
    options = {"fastmath": {"contract"} if contract else False, "error_model": "numpy", "nogil": True, **more}
    if not (_FOLDER and kept):
        return numba.njit(**options)(function)
    with _numba_cache_in(_FOLDER):
        dispatcher = numba.njit(cache=True, **options)(function)
    _tolerate_faults(dispatcher._cache)
    return dispatcher


def _launch(jobs, *arguments):
    run_jobs(body, jobs, arguments)  # noqa: F821, a global of each copy


def _launcher(function, contract=True):
    """A kernel that runs `function` as jobs: a copy of `_launch` that bears its name, by which it is filed on disk."""
    if numba.config.DISABLE_JIT:
        return lambda jobs, *arguments: [function(job, *arguments) for job in range(jobs)] and None
    body = _decorate(function, contract, kept=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    names = {"run_jobs": run_jobs, "body": body}
    fields = ("co_name", "co_qualname", "co_filename", "co_firstlineno")
    code = _launch.__code__.replace(**{field: getattr(function.__code__, field) for field in fields})
    launcher = FunctionType(code, names, function.__name__)
    launcher.__module__, launcher.__qualname__ = function.__module__, function.__qualname__
    return _decorate(launcher, contract)


def jit(function):
    """Serial kernel or helper."""
    return _decorate(function)


def jit_inline(function):
    """Helper that is called for every row: a call would hand over each array as seven numbers."""
    return _decorate(function, forceinline=True)


def jit_parallel(function):
    """Kernel of jobs: function(job, ...) becomes a kernel(jobs, ...) that runs them all, on all threads.

    Each element that is written belongs to one job, so threads do not change the bits.
    """
    return _launcher(function)


def jit_rounded(function):
    """`jit` without fused operations, for what decides on differences of one rounding as NumPy would."""
    return _decorate(function, contract=False)
