"""Programs on several ranks: `run` waits for one, `start` lets a test kill it, `on_ranks` calls a function on each."""

import functools
import importlib.util
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import ROOT

LONGEST = 120  # seconds that a job may take; a few are usual
CALL = "import mpi_runs; mpi_runs.call_on_this_rank()"
needs_mpi = pytest.mark.usefixtures("mpi")  # skips where no job can start; the fixture stands in conftest.py


@dataclass
class Ended:
    """How a job has ended: exit code of mpiexec, what all ranks have printed, and seconds from start to end."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    def __str__(self):
        return f"exit code {self.code} after {self.seconds:.1f} s\n{self.stdout}\n{self.stderr}"


def mpiexec() -> str | None:
    """The launcher beside this Python, where wheels put theirs, or that of the system."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


@functools.cache
def signals_reach_ranks() -> bool:
    """Whether the launcher passes SIGTERM and SIGINT on, and waits: that of MPICH does, that of Open MPI kills."""
    version = subprocess.run([mpiexec(), "--version"], capture_output=True, text=True).stdout
    return "HYDRA" in version


@functools.cache
def why_not() -> str:
    """Why no job can start here; "" where one can. It costs a job of two ranks, once."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    if mpiexec() is None:
        return "there is no mpiexec"
    with start(2, "-c", "from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1), flush=True)") as job:
        ended = job.wait(60) or job.kill()
    return "" if ended.code == 0 and "".join(ended.stdout.split()) == "22" else f"MPI does not start here: {ended}"


class Job:
    """A program on several ranks; the end of a `with` block kills what still runs."""

    def __init__(self, ranks, arguments, environment):
        self.ranks, self.began = ranks, time.monotonic()
        self._files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # a pipe would last as long as any descendant
        self.process = subprocess.Popen(
            [mpiexec(), "-n", str(ranks), sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=self._files[0], stderr=self._files[1], env=_environment(environment),
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.kill()

    def printed(self) -> tuple[str, str]:
        """What the ranks have printed up to now, on stdout and stderr."""
        printed = (os.pread(file.fileno(), 1 << 24, 0) for file in self._files)
        return tuple(text.decode(errors="replace").replace("\0", "") for text in printed)  # of Open MPI's launcher

    def until(self, text, times=1, timeout=LONGEST):
        """Waits until the ranks have printed a text so often; fails the test where they end without."""
        limit = time.monotonic() + timeout
        while "".join(self.printed()).count(text) < times:
            if self.process.poll() is not None or time.monotonic() > limit:
                pytest.fail(f"the job has not printed {text!r} {times} times: {self.kill()}")
            time.sleep(0.02)

    def pids(self, timeout=LONGEST) -> list[int]:
        """Process numbers of the ranks, in their order."""
        limit = time.monotonic() + timeout
        while len(found := _ranks_below(self.process.pid)) < self.ranks:
            if self.process.poll() is not None or time.monotonic() > limit:
                pytest.fail(f"the job has {len(found)} of {self.ranks} ranks: {self.kill()}")
            time.sleep(0.02)
        return [found[rank] for rank in sorted(found)]

    def send(self, number, pid=None):
        """Sends a signal to one rank, or to the launcher."""
        os.kill(pid or self.process.pid, number)

    def wait(self, timeout) -> Ended | None:
        """How it has ended; None where it has not within so many seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        return Ended(self.process.returncode, *self.printed(), time.monotonic() - self.began)

    def end(self, timeout=LONGEST) -> Ended:
        """Waits for the end; a job that takes longer is killed, and fails the test."""
        ended = self.wait(timeout)
        if ended is None:
            pytest.fail(f"the job has not ended within {timeout} s: {self.kill()}")
        return ended

    def kill(self) -> Ended:
        """Kills the launcher, the ranks, and whatever they have started."""
        everybody = [self.process.pid, *_descendants(self.process.pid)]
        for pid in everybody:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return self.wait(LONGEST)


def start(ranks, *arguments, **environment) -> Job:
    """Starts `python *arguments` on so many ranks, with the environment of the test and the variables given.

    A test that sends signals does it within `with start(...) as job`, so that nothing runs on where the test fails.
    """
    return Job(ranks, arguments, environment)


def run(ranks, *arguments, timeout=LONGEST, check=None, **environment) -> Ended:
    """Runs `python *arguments` on so many ranks, see `start`.

    Args:
        timeout: seconds, after which all is killed and the test fails; check: the exit code it must have, or None.
    """
    with start(ranks, *arguments, **environment) as job:
        ended = job.end(timeout)
    assert check is None or ended.code == check, f"{ended}"
    return ended


def on_ranks(ranks, function, *arguments, timeout=LONGEST, **environment) -> list:
    """What function(group, *arguments) returns on each rank, in their order.

    Args:
        function: of a module under tests/ that ranks can import by its name, such as `mpi_jobs`; not of a test file.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = function.__module__, function.__qualname__, arguments
        Path(folder, "task").write_bytes(pickle.dumps(task))
        run(ranks, "-c", CALL, folder, timeout=timeout, check=0, **environment)
        return [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(ranks)]


def call_on_this_rank():
    """The other side of `on_ranks`; an error ends all ranks."""
    from minideeplab.distributed import world

    folder, group = Path(sys.argv[1]), world()
    try:
        module, name, arguments = pickle.loads(Path(folder, "task").read_bytes())
        result = getattr(importlib.import_module(module), name)(group, *arguments)
        Path(folder, str(group.rank)).write_bytes(pickle.dumps(result))
    except BaseException:
        print(f"rank {group.rank}: {traceback.format_exc()}", file=sys.stderr, flush=True)
        if group.size == 1:
            raise
        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(1)


def _environment(more):
    """Ranks find the project and the modules of tests/, share few cores, and may be started by root."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    openmpi = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",  # more ranks than cores: version 4
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # version 5
    }
    return {**os.environ, **openmpi, "PYTHONPATH": paths, "OMP_WAIT_POLICY": "passive", **more}


def _descendants(pid):
    """Process numbers of children, their children, and so on."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    found, last = [], [pid]
    while last := [child for child, parent in parents.items() if parent in last]:
        found += last
    return found


def _ranks_below(pid):
    """rank -> process number, of those that the launcher has started: nearest to it, if a rank has children."""
    found = {}
    for child in _descendants(pid):
        try:
            variables = dict(
                entry.partition("=")[::2] for entry in Path(f"/proc/{child}/environ").read_text().split("\0")
            )
        except OSError:
            continue
        rank = variables.get("OMPI_COMM_WORLD_RANK", variables.get("PMI_RANK", ""))
        if rank.isdigit():
            found.setdefault(int(rank), child)
    return found
