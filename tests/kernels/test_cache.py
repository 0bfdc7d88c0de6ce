"""Compiled kernels are kept on disk, and nothing about that disk stops the program."""

import os
import subprocess
import sys

PROGRAM = """
import numpy as np, kernels
assert kernels.load("cpu").activate(np.array([-1.0, 2.0], np.float32), "relu").tolist() == [0, 2]
"""


def run(folder, program=PROGRAM, **environment):
    """The program in a process of its own, with its kernels kept in `folder`."""
    settings = {**os.environ, "MINIDEEPLAB_CACHE_DIR": str(folder), **environment}
    return subprocess.run([sys.executable, "-c", program], env=settings, capture_output=True, text=True)


def files(folder):
    return sorted(f for f in folder.rglob("*") if f.is_file())


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    assert run(tmp_path).returncode == 0
    first = [(f, f.stat().st_mtime_ns) for f in files(tmp_path)]
    assert first
    assert run(tmp_path).returncode == 0
    assert [(f, f.stat().st_mtime_ns) for f in files(tmp_path)] == first


def test_damaged_files_mean_compiling_again(tmp_path):
    run(tmp_path)
    for damage in (b"", b"not a pickle", os.urandom(2000)):  # each run writes them anew
        for file in files(tmp_path):
            file.write_bytes(damage)
        result = run(tmp_path)
        assert result.returncode == 0, result.stderr


def test_a_folder_that_cannot_be_made_means_no_cache(tmp_path):
    obstacle = tmp_path / "file"
    obstacle.write_text("")
    result = run(obstacle / "cache")
    assert result.returncode == 0, result.stderr


def test_a_folder_that_cannot_be_written_is_read(tmp_path):
    """The process asks for files as a user would whom the folder does not belong to; root may write anywhere."""
    assert run(tmp_path).returncode == 0
    first = [(f, f.stat().st_mtime_ns) for f in files(tmp_path)]
    refuse = """
import os, tempfile, numba.core.caching as caching
def refuse(*args, **options):
    raise PermissionError(13, "Permission denied")
tempfile.TemporaryFile = os.replace = refuse
"""
    check = """
from kernels.cpu import elementwise, jit
assert jit.FOUND_COMPILED
hits = [f.stats.cache_hits for f in vars(elementwise).values() if hasattr(f, "stats") and f.signatures]
assert hits and all(sum(each.values()) for each in hits), hits
assert kernels.load("cpu").add(np.ones(3, np.float64), np.ones(3, np.float64)).tolist() == [2, 2, 2]  # not kept
"""
    result = run(tmp_path, refuse + PROGRAM + check)
    assert result.returncode == 0, result.stderr
    assert [(f, f.stat().st_mtime_ns) for f in files(tmp_path)] == first


def test_no_cache_on_request(tmp_path):
    assert run(tmp_path, MINIDEEPLAB_CACHE="0").returncode == 0
    assert files(tmp_path) == []
