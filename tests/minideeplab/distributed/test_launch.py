"""Who has started this process: what launchers leave in the environment, and what is said where it does not fit."""

import os
import subprocess
import sys

import pytest
from mpi_runs import needs_mpi, run
from places import ROOT
from strategies import SIMULATED

from minideeplab.distributed import is_first_started, launch

pytestmark = pytest.mark.skipif(SIMULATED, reason="no kernel to simulate")
VARIABLES = launch.SIZES + launch.NUMBERS
WITHOUT_MPI4PY = "import sys; sys.modules['mpi4py'] = None\n"  # an import of it then fails, as where it is missing
LOADS_NONE = "import sys; assert not [name for name in sys.modules if name.startswith('mpi4py')]"
SUMMARY = (
    "import sys; from minideeplab.summary import main; code = main(['--model', 'deeplabv3plus', '--size', '65'])\n"
)


def alone(program, **environment):
    """A Python of its own, without launcher but what the environment says."""
    variables = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, env=variables | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("variables", "started", "is_first"),
    [
        ({}, 1, True),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, 4, True),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, 4, False),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, 2, False),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "0"}, 8, True),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "7"}, 8, False),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, 1, True),  # a batch script, which has not called srun
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, 1, True),
        # mpiexec within a job of Slurm, which has started one helper on each machine
        ({"PMI_SIZE": "6", "PMI_RANK": "4", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, 6, False),
        ({"PMI_SIZE": "", "PMI_RANK": ""}, 1, True),
        ({"PMI_SIZE": "many"}, 1, True),
    ],
)
def test_launchers_tell_how_many_they_have_started(variables, started, is_first, monkeypatch):
    for name in (*VARIABLES, "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch.started_processes() == started and is_first_started() == is_first


@pytest.mark.parametrize("program", ["import minideeplab, minideeplab.train, minideeplab.distributed\n", SUMMARY])
def test_one_process_loads_no_mpi(program):
    done = alone(program + LOADS_NONE)
    assert done.returncode == 0, done.stderr


def test_one_process_needs_no_mpi():
    done = alone(WITHOUT_MPI4PY + SUMMARY + "sys.exit(code)")
    assert done.returncode == 0, done.stderr


def test_several_processes_need_mpi4py():
    done = alone(WITHOUT_MPI4PY + SUMMARY + "sys.exit(code)", PMI_SIZE="2", PMI_RANK="0")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: a launcher has started 2 processes, and mpi4py cannot be loaded (")
    assert 'pip install -e ".[distributed]"' in line and "minideeplab/distributed/README.md" in line
    assert done.returncode == 2 and not done.stdout


def test_the_others_say_nothing():
    done = alone(WITHOUT_MPI4PY + SUMMARY + "sys.exit(code)", PMI_SIZE="2", PMI_RANK="1")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@needs_mpi
def test_a_launcher_of_another_mpi_is_named():
    """Each process is then alone, and would train a network of its own, all in one folder."""
    done = alone(SUMMARY + "sys.exit(code)", OMPI_COMM_WORLD_SIZE="3", OMPI_COMM_WORLD_RANK="0")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the launcher has started 3 processes, but mpi4py sees 1: ")
    assert "take the mpiexec of that one" in line and done.returncode == 2


@needs_mpi
def test_one_rank_is_one_process():
    done = run(1, "-c", f"{SUMMARY}{LOADS_NONE}; sys.exit(code)", check=0)
    assert done.stdout
