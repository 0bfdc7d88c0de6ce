"""Suite distributed: what two processes gain over one on this machine, and what communication costs them."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import kernels
from minideeplab import cli
from minideeplab.distributed import mpiexec
from minideeplab.errors import MiniDeepLabError, UsageError

RANKS = 2
NETWORKS = {  # name: (images a rank, side, options of models.build)
    "v3+ xception65 4x257x257": (4, 257, {"backbone": "xception65"}),
    "v3+ xception65 1x257x257": (1, 257, {"backbone": "xception65"}),
    "v3+ resnet50 1x257x257": (1, 257, {"backbone": "resnet50"}),
    "v3+ resnet18, width 0.25, 8x129x129": (
        8, 129, {"backbone": "resnet18", "width": 0.25, "head_width": 64, "separable": True}
    ),
}  # fmt: skip


def run(repeats, precision):
    """A row for each network, measured in a job of its own on RANKS ranks, which share the threads in use equally.

    Raises:
        UsageError: no MPI, or fewer threads than ranks. MiniDeepLabError: the job has failed.
    """
    launcher, threads = _launcher(), kernels.num_threads() // RANKS
    if threads == 0:
        raise UsageError(f"--suite distributed needs {RANKS} threads, one a rank, got {kernels.num_threads()}")
    cores = sorted(os.sched_getaffinity(0))[: threads * RANKS] if hasattr(os, "sched_setaffinity") else []
    rows = []
    for name, network in NETWORKS.items():
        row = {"network": name} | _job(launcher, network, cores, threads, repeats, precision)
        rows.append(row)
        print(_table(row), flush=True)
    return {"rows": rows}


def _launcher() -> str:
    found = mpiexec()
    if found is None or importlib.util.find_spec("mpi4py") is None:
        missing = "mpi4py" if found else "mpiexec"
        raise UsageError(
            f'--suite distributed does not find {missing}: pip install -e ".[distributed]", and an MPI, such as the '
            "package mpich; --simulate needs neither"
        )
    return found


def _job(launcher, network, cores, threads, repeats, precision):
    """Figures of one network, from the ranks."""
    network = dict(zip(("images", "side", "options"), network, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figures.json")
        command = [launcher, "-n", str(RANKS), sys.executable, "-m", "minideeplab.bench.ranks", json.dumps(network)]
        command += ["--cores", json.dumps(cores), "--threads", str(threads), "--repeats", str(repeats)]
        ended = subprocess.run(
            [*command, "--precision", precision, "--json", str(file)], stdin=subprocess.DEVNULL, check=False,
            env={**os.environ, "NUMBA_NUM_THREADS": str(threads * RANKS)},  # a launcher may bind each to one core
        )  # fmt: skip
        if ended.returncode or not file.exists():
            raise MiniDeepLabError(f"the ranks have ended with exit code {ended.returncode}; what they say is above")
        return json.loads(file.read_text(encoding="utf-8"))


def _table(row):
    ranks, seconds, spread = row["ranks"], row["seconds"], row["spread"]
    lines = [f"\n{row['network']} a rank; {ranks} ranks of {cli.counted(row['threads_a_rank'], 'thread')}"]

    def line(words, job, rest=""):
        lines.append(f"  {words:46s} {seconds[job]:8.4f} s (spread {spread[job]:4.0%})  {rest}".rstrip())

    line("one rank, others asleep", "alone")
    line("all ranks, nothing sent", "independent", f"efficiency {row['ceiling']:.3f}: the ceiling")
    for job, words in (
        ("synchronised", "together, batch norm synchronised"),
        ("own_statistics", "together, own batch norm"),
    ):
        of = row[job]
        line(words, job, f"efficiency {of['efficiency']:.3f}, of the ceiling {of['of_ceiling']:.3f}")
        waited = {kind: of[f"waited_{kind}"] for kind in ("norms", "buckets")}
        lines.append(
            f"    waited {sum(waited.values()) / seconds[job]:.1%} of the step: "
            f"{1e3 * waited['norms']:.1f} ms for {of['norms']} small sums ({of['norm_bytes'] / 1e6:.2f} MB), "
            f"{1e3 * waited['buckets']:.1f} ms for {cli.counted(of['buckets'], 'bucket')} "
            f"({of['bucket_bytes'] / 1e6:.1f} MB)"
        )
    line("the buckets alone, after backward", "blocking")
    if "divided" in seconds:
        line("the batch of one rank, divided", "divided", f"efficiency {row['strong_efficiency']:.3f}: strong scaling")
    times = f"{row['threads_over_ranks']:.3f} times as long as all ranks together"
    line("the batch of all on one rank, all threads", "one_rank_all_threads", times)
    if row.get("taken_by_others", 0) > 0.02:
        lines.append(f"  other programs took {row['taken_by_others']:.0%} of these cores meanwhile")
    return "\n".join(lines)
