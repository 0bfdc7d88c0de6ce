"""Where a command computes: --device, --precision and --threads."""

import argparse
import os
import sys

import kernels
from minideeplab.autograd import precision
from minideeplab.cli.types import positive_int
from minideeplab.distributed import ALONE, Alone
from minideeplab.errors import UsageError

_computes_here = False  # whether a command has chosen this processor to compute on


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """--device, --precision and --threads."""
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to compute: cuda is a GPU")
    parser.add_argument(
        "--precision", choices=["float32", "bf16", "tf32"], default="float32",
        help="bf16, on processors with bfloat16 instructions: feature maps have 8 bits of mantissa, weights and sums "
             "stay float32; half the memory, and faster. tf32, on a GPU: convolutions round their inputs to 11 bits",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=positive_int,
        help="number of CPU threads (all cores if not given, which the processes that mpiexec starts divide)",
    )  # fmt: skip


def use_device(args: argparse.Namespace, group: Alone = ALONE) -> int:
    """Checks that --device can be used, sets --precision and the number of --threads; returns the number in use.

    All ranks call it. The ranks of a machine take its GPUs in turn.

    Raises:
        UsageError: a device or a precision that cannot be used here, more threads than there are.
    """
    global _computes_here
    _computes_here = args.device == "cpu"
    if args.device == "cuda" and args.precision == "bf16":
        raise UsageError("--precision bf16 is for --device cpu; on a GPU tf32 is the faster precision")
    try:
        kernels.load(args.device)
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"--device {args.device}: {error}") from error
    if args.device == "cuda":
        if group.local_size > 1:  # before whatever makes a context, which is made on the GPU in use
            kernels.load("cuda").select_device(group.local_rank)
        try:
            kernels.load("cuda").set_precision(args.precision)
        except RuntimeError as error:
            raise UsageError(f"--precision {args.precision}: {error}") from error
    elif args.precision == "tf32":
        raise UsageError(f"--precision {args.precision} needs tensor cores: add --device cuda")
    use_precision(args.precision if args.device == "cpu" else "float32")
    return set_threads(args, group)


def use_precision(name: str) -> None:
    """Sets the precision of networks on this processor.

    Raises:
        UsageError: bf16, where the processor has no instructions for it.
    """
    if name == "bf16" and not kernels.has_bfloat16():
        from minideeplab.report.machine import processor  # here alone: it brings the figures along

        raise UsageError(
            f"--precision bf16 needs a processor with AVX512_BF16 or AMX, which this one ({processor()}) has not; "
            "without them it would be slower than float32: take --precision float32"
        )
    precision(name)


def threads_in_use() -> int:
    """The threads that compute on this processor; 1 where a GPU does, or nothing."""
    return kernels.num_threads() if _computes_here else 1


def set_threads(args: argparse.Namespace, group: Alone = ALONE) -> int:
    """Sets the number of --threads; returns the number in use. All ranks call it.

    Without --threads the ranks of a machine that may use the same cores divide them; one that its launcher has bound
    to cores of its own takes all of these.
    """
    share = _share_of_cores(group)
    if args.threads is not None:
        try:
            kernels.set_num_threads(args.threads)
        except ValueError as error:
            raise UsageError(f"--threads {args.threads}: {error}") from error
    elif group.local_size > 1:
        kernels.set_num_threads(min(share, kernels.num_threads()))  # NUMBA_NUM_THREADS may be less
    return kernels.num_threads()


def _share_of_cores(group: Alone) -> int:
    """Cores for this rank, among those of its machine."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return max(1, len(cores) // group.local_all(cores).count(cores))


def announce_compilation() -> None:
    """Says why the first image takes so long, where nothing lies compiled yet."""
    if not kernels.is_compiled():
        print("compiling kernels (first run only) ...", file=sys.stderr)
