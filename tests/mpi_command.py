"""A command for ranks, which ends as its argument says: tests look at how it ends everywhere."""

import argparse
import os
import sys
import time

from minideeplab.cli import main_guard
from minideeplab.cli.signals import check_interrupt
from minideeplab.distributed import group as module
from minideeplab.distributed import world
from minideeplab.errors import DataError, DivergedError, UsageError

TOGETHER = ("all refuse", "each for itself", "all have a bug", "agreed", "steps", "parse")


def wait_for_ever(group):
    """For a sum that one of the others never comes to."""
    import numpy as np

    group.sum(np.zeros(3))


def steps(group):
    """As a training: each step agrees on a stop; every rank says that it is there."""
    for number in range(3000):
        with group.agreed():
            if number == 1:
                print("working", file=sys.__stderr__, flush=True)
            time.sleep(0.01)
            check_interrupt()


@main_guard(for_ranks=True)
def main(argv):
    group, how = world(), argv[0]
    print(f"{how} {argv[1:]}", flush=True)
    print(f"pid {os.getpid()}", file=sys.__stderr__, flush=True)  # of every rank, past what only the first prints
    last = group.rank == group.size - 1
    if how in TOGETHER:
        module.LONGEST_ALONE = 30  # a machine that has much else to do makes no difference
    if how == "parse":
        argparse.ArgumentParser().parse_args(argv[1:])
    if how == "all refuse":
        raise UsageError("--steps and --epochs exclude each other")
    if how == "each for itself":
        raise DataError(f"image {group.rank}: no such file")
    if how == "one refuses" and last:
        raise DataError("image 7: no such file")
    if how == "one has a bug" and last:
        raise ZeroDivisionError("a bug")
    if how == "all have a bug":
        raise ZeroDivisionError("a bug")
    if how == "agreed":
        with group.agreed():
            if last:
                raise DivergedError("the loss is nan")
    if how == "one leaves" and last:
        return 4
    if how == "steps":
        steps(group)
    if how == "others wait" and last:
        time.sleep(30)
    if how in ("one refuses", "one has a bug", "one leaves", "others wait"):
        print("waiting", flush=True)
        wait_for_ever(group)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
