"""Whether an MPI launcher has started this process, and the group that it belongs to then."""

import functools
import os
import shutil
import sys
import warnings
from pathlib import Path

from minideeplab.distributed.group import ALONE, Alone, Ranks
from minideeplab.errors import UsageError

# Variables in which launchers tell the number of processes: Open MPI; MPICH, Intel MPI and MVAPICH; srun of Slurm.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
NUMBERS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")  # of this process, in the same order
INSTALL = 'pip install -e ".[distributed]"'


def started_processes() -> int:
    """How many processes the launcher says that it has started; 1 where there is no launcher."""
    return _told(SIZES, 1)


def is_first_started() -> bool:
    """Whether the launcher calls this process the first: it speaks where the others cannot be reached."""
    return started_processes() == 1 or _told(NUMBERS, 0) == 0


def _told(names: tuple[str, ...], default: int) -> int:
    return next((int(text) for name in names if (text := os.environ.get(name, "")).isdigit()), default)


def mpiexec() -> str | None:
    """The launcher beside this Python, where wheels put theirs, or the first on PATH; None where there is none."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


@functools.cache
def world() -> Alone:
    """The group of all processes that were started together: `Alone` without a launcher, which loads no MPI.

    Raises:
        UsageError: mpi4py is missing, or it belongs to another MPI than the launcher.
    """
    started = started_processes()
    if started <= 1:
        return ALONE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of an environment that does not fit: it is checked below
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, and finds no MPI library
        raise UsageError(
            f"a launcher has started {started} processes, and mpi4py cannot be loaded ({error}); {INSTALL}, and an "
            "MPI, such as the package mpich: minideeplab/distributed/README.md"
        ) from error
    if MPI.COMM_WORLD.Get_size() != started:
        library = " ".join(MPI.Get_library_version().partition("\n")[0].split())
        raise UsageError(
            f"the launcher has started {started} processes, but mpi4py sees {MPI.COMM_WORLD.Get_size()}: the launcher "
            f"belongs to another MPI than mpi4py, which found {library}; take the mpiexec of that one, or with srun "
            "the right --mpi (srun --mpi=list)"
        )
    return Ranks(MPI.COMM_WORLD)
