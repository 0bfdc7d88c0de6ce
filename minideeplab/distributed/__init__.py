"""Several processes that train one network, or share the images of one task, on MPI."""

from minideeplab.distributed.group import ALONE, Alone, ElsewhereError, Ranks, failing_together
from minideeplab.distributed.launch import is_first_started, mpiexec, world
from minideeplab.distributed.replica import Replica
from minideeplab.distributed.sameness import differences, require_same

__all__ = [
    "ALONE",
    "Alone",
    "ElsewhereError",
    "Ranks",
    "Replica",
    "differences",
    "failing_together",
    "is_first_started",
    "mpiexec",
    "require_same",
    "world",
]
