"""Measures kernels and models: `python -m minideeplab.bench --help`.

What is compared runs in turn, in one process; medians are quoted. The bound of a dense convolution is the peak of
fused multiply-adds, measured with the register tile on data in the first-level cache; that of a depthwise one is the
bandwidth of a large copy. Operations are nominal: whoever skips taps in the padding may exceed the bound.
"""

import argparse
import json
import sys

from minideeplab import cli
from minideeplab.bench import conv, crf, distributed, memory, model, planning
from minideeplab.errors import UsageError
from minideeplab.files.whole import write_text
from minideeplab.report.machine import processor

EXAMPLE = """\
  python -m minideeplab.bench --suite conv
  python -m minideeplab.bench --suite model --against torch --json model.json
  python -m minideeplab.bench --suite model --precision bf16 --against torch
  python -m minideeplab.bench --suite all --device cuda --precision tf32 --against torch"""

SUITES = {"conv": conv.run, "memory": memory.run, "model": model.run, "crf": crf.run}


@cli.main_guard
def main(argv=None):
    """Run the command; returns the exit code."""
    parser = cli.command_parser("bench", "Measure kernels and models against the machine's bounds.", EXAMPLE)
    parser.add_argument(
        "--suite", choices=[*SUITES, "distributed", "all"], default="conv",
        help="layers, other kernels, whole models, the dense CRF (all of these are `all`); training on two ranks",
    )  # fmt: skip
    parser.add_argument(
        "--against",
        choices=["torch", "pydensecrf"],
        help="also run PyTorch, or pydensecrf in suite crf, and print time ratios (> 1: we are faster)",
    )
    parser.add_argument(
        "--simulate", type=cli.positive_int, metavar="RANKS",
        help="with --suite distributed: no MPI; plan 1, 2, 4, ... RANKS ranks from a step that is measured here",
    )  # fmt: skip
    parser.add_argument("--repeats", type=cli.positive_int, default=9, help="rounds, of which the median counts")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file")
    cli.add_device_arguments(parser)
    args: argparse.Namespace = parser.parse_args(argv)
    report = cli.output_file("--json", args.json, ".json") if args.json else None
    threads, torch, pydensecrf = cli.use_device(args), None, None
    _check_distributed(args)
    if args.suite != "all" and args.against and (args.against == "pydensecrf") != (args.suite == "crf"):
        other = "--suite crf" if args.against == "pydensecrf" else "another suite"
        raise UsageError(f"--suite {args.suite} cannot be compared with {args.against}; that goes with {other}")
    if args.against == "pydensecrf":
        try:
            import pydensecrf.densecrf as pydensecrf
        except ImportError as error:
            raise UsageError("--against pydensecrf needs that package in this environment") from error
    if args.against == "torch":
        try:
            import torch
        except ImportError as error:
            raise UsageError("--against torch needs PyTorch in this environment: pip install torch") from error
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    suites = SUITES if args.suite == "all" else [args.suite]
    machine = {"processor": processor(), "precision": args.precision, "threads": threads}
    print(f"{machine['processor']}, {args.precision}, {cli.counted(threads, 'thread')}")

    def measured(suite):
        if suite == "distributed":
            if args.simulate:
                return planning.run(args.repeats, args.simulate)
            return distributed.run(args.repeats, args.precision)
        return SUITES[suite](pydensecrf if suite == "crf" else torch, args.repeats, args.device)

    figures = machine | {suite: measured(suite) for suite in suites}
    if report:
        write_text(report, json.dumps(figures, indent=2) + "\n")
    return 0


def _check_distributed(args):
    """Raises UsageError for what does not go with the suite distributed, and for --simulate without it."""
    if args.suite != "distributed":
        if args.simulate:
            raise UsageError("--simulate goes with --suite distributed")
        return
    if args.device != "cpu":
        raise UsageError("--suite distributed measures --device cpu alone")
    if args.against:
        raise UsageError(f"--suite distributed cannot be compared with {args.against}")
    if args.simulate == 1:
        raise UsageError("--simulate needs 2 ranks or more, got 1")


if __name__ == "__main__":
    sys.exit(main())
