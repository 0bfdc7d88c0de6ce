"""The arguments of the training command, and how a resumed run takes up its own."""

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from minideeplab import cli, models
from minideeplab.cli.config_file import config_text, given_arguments, with_config
from minideeplab.cli.model_options import OPTIONS, given_options
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.models.aspp import rates_for_crops
from minideeplab.train.folder_states import Found, newest_checkpoint
from minideeplab.train.options import EPOCHS, train_parser
from minideeplab.train.presets import apply_preset

MANY_CROPS = 8  # of a rank, from which on their own statistics do
# Arguments of one start: free to differ when a run is resumed. All others stay as the run began.
START_ARGUMENTS = {
    "resume", "extend", "out", "data", "device", "precision", "threads", "stop_after", "minutes",
    "config", "find_lr", "dry_run",
}  # fmt: skip
# Arguments that config.toml does not hold: it repeats a run, whatever the start was.
NOT_REPEATED = START_ARGUMENTS - {"data", "device", "precision"}


def parse_arguments(argv: Sequence[str] | None, asks: bool = True) -> tuple[argparse.Namespace, Found | None, dict]:
    """The arguments of a run, with --resume the checkpoint that they come from, and those that were given.

    A new run has some left to `settle`, which needs the data.

    Args:
        asks: whether to ask if another process trains in the folder; of several ranks the first one does.

    Raises:
        UsageError: arguments that do not fit together, a --config that cannot be used, --resume with an argument that
            contradicts the run, or while another process trains it.
        CheckpointError: --resume without a usable checkpoint.
    """
    parser = train_parser()
    argv = with_config(parser, sys.argv[1:] if argv is None else argv)
    args, given = parser.parse_args(argv), given_arguments(parser, argv)
    if args.scale_range[0] > args.scale_range[1]:
        raise UsageError("--scale-range {} {}: LOW must not be above HIGH".format(*args.scale_range))
    if args.batch_size % args.accumulate:
        raise UsageError(
            f"--accumulate {args.accumulate}: a batch of {args.batch_size} has no {args.accumulate} equal parts; give "
            "a divisor of --batch-size"
        )
    if args.hard_ramp and args.hard_pixels is None:
        raise UsageError(f"--hard-ramp {args.hard_ramp}: there is no share to fall to; add --hard-pixels SHARE")
    if args.extend and not args.resume:
        raise UsageError(f"--extend {args.extend} makes a finished run longer: add --resume --out RUN")
    args.epochs = args.epochs or (None if args.steps else EPOCHS)
    given_options(args)
    if args.data != "synthetic":
        args.data = str(Path(args.data).resolve())
    if not args.resume:
        return args, None, given
    for option in ("find_lr", "dry_run"):
        if getattr(args, option):
            name = option.replace("_", "-")
            raise UsageError(f"--{name} is for a run that has not begun; leave out --resume, or --{name}")
    if args.out is None:
        raise UsageError("--resume needs the folder of the run: --out RUN")
    found = newest_checkpoint(args.out, asks)
    path, began = found.path, _began(parser, found)
    asked = given.keys() - START_ARGUMENTS - ({"preset"} if args.preset == "auto" else set())  # auto is what it was
    for name in sorted(asked):
        if getattr(args, name) != began.get(name):
            option, began_with = f"--{name.replace('_', '-')}", began.get(name)
            how = f"without {option}" if began_with is None else f"with {began_with}"
            raise UsageError(
                f"{option} {getattr(args, name)}: this run began {how}; leave it out, or start a new run "
                f"with --init-from {path}"
            )
    kept = {"data"} | ({"precision"} if args.device == began.get("device") else set())  # unless another is given
    fresh = {name: getattr(args, name) for name in START_ARGUMENTS if name not in kept or name in given}
    return argparse.Namespace(**{**vars(args), **began, **fresh}), found, given


def _began(parser: argparse.ArgumentParser, found: Found) -> dict:
    """The arguments that a run began with, as its checkpoint has them."""
    try:
        began = cli.stored_arguments(parser, found.checkpoint.args)
        if not (began.get("epochs") or began.get("steps")):
            raise ValueError("neither --epochs nor --steps is there")
    except ValueError as error:
        raise CheckpointError(
            f"{found.path}: its arguments are not those of a run ({error}); start a new run with "
            f"--init-from {found.path}"
        ) from error
    return began


def settle(args: argparse.Namespace, given: Collection[str], images: int, ranks: int = 1) -> str:
    """Fills in what depends on the data or on other arguments: the preset, and the model's own defaults.

    So a run says what it was made of. Rates of ASPP suit the crops.

    Args:
        given: names of the arguments that were given; images: in the training split; ranks: that share each batch.

    Returns:
        A sentence about the preset, empty if none was taken.
    """
    options = models.options_of(args.model)
    note = apply_preset(args, given, images, options)
    if args.sync_bn == "auto":  # one rank sees the whole batch, as all do with it
        crops = args.batch_size // (args.accumulate * ranks)
        args.sync_bn = "on" if ranks == 1 or crops < MANY_CROPS else "off"
    for name, default in options.items():
        if name in OPTIONS and getattr(args, name) is None:
            setattr(args, name, default)
            if name == "atrous_rates":
                args.atrous_rates = rates_for_crops(args.crop_size, args.output_stride)
    return note


def require_equal_parts(args: argparse.Namespace, ranks: int) -> None:
    """Raises UsageError where a batch cannot be shared equally."""
    pieces = ranks * args.accumulate
    if args.batch_size % pieces:
        below, above = args.batch_size // pieces * pieces, -(-args.batch_size // pieces) * pieces
        of = f"{ranks} ranks" + (f" with --accumulate {args.accumulate}" if args.accumulate > 1 else "")
        give = f"--batch-size {below} or {above}" if below else f"--batch-size {above}, or start fewer ranks"
        raise UsageError(f"--batch-size {args.batch_size}: {of} need a multiple of {pieces}; give {give}")


def run_config(args: argparse.Namespace) -> str:
    """config.toml of a run: `--config` with it repeats the run."""
    return config_text(train_parser(), args, NOT_REPEATED)
