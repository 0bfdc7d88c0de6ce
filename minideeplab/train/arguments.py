"""The arguments of the training command, and how a resumed run takes up its own."""

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from minideeplab import cli, models
from minideeplab.cli.config_file import config_text, given_arguments, with_config
from minideeplab.cli.model_options import OPTIONS, add_model_arguments, given_options
from minideeplab.cli.parser import Parser
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.models.aspp import rates_for_crops
from minideeplab.train.presets import PRESETS, apply_preset
from minideeplab.train.run_folder import RunFolder
from minideeplab.weights import Checkpoint

EXAMPLE = """\
  python -m minideeplab.train --data synthetic --epochs 5
  python -m minideeplab.train --data VOCdevkit/VOC2012 --backbone resnet50 --crop-size 257 --out runs/voc
  python -m minideeplab.train --model pspnet --width 0.25 --epochs 5
  python -m minideeplab.train --config runs/voc/config.toml --lr 0.02 --out runs/voc-slower
  python -m minideeplab.train --resume --out runs/voc"""

EPOCHS = 30

# Arguments of one start: free to differ when a run is resumed. All others stay as the run began.
START_ARGUMENTS = {
    "resume", "out", "data", "device", "precision", "threads", "stop_after", "minutes", "config", "find_lr", "dry_run",
}  # fmt: skip
# Arguments that config.toml does not hold: it repeats a run, whatever the start was.
NOT_REPEATED = START_ARGUMENTS - {"data", "device", "precision"}


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Checkpoint | None, dict]:
    """The arguments of a run, with --resume the checkpoint that they come from, and those that were given.

    A new run has some left to `settle`, which needs the data.

    Raises:
        UsageError: --resume with an argument that contradicts the run, or a --config that cannot be used.
        CheckpointError: --resume without a usable last.npz.
    """
    parser = train_parser()
    argv = with_config(parser, sys.argv[1:] if argv is None else argv)
    args, given = parser.parse_args(argv), given_arguments(parser, argv)
    if args.scale_range[0] > args.scale_range[1]:
        raise UsageError("--scale-range {} {}: LOW must not be above HIGH".format(*args.scale_range))
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
    path = RunFolder(args.out).last
    if not path.exists() and path.with_name("args.json").exists():
        raise CheckpointError(f"{path}: this run was stopped before it saved anything; start it again without --resume")
    checkpoint = Checkpoint.load(path)
    if not checkpoint.args:
        raise CheckpointError(f"{path}: it holds no training arguments; start a new run with --init-from {path}")
    for name in sorted(given.keys() - START_ARGUMENTS):
        if getattr(args, name) != checkpoint.args.get(name):
            option, began_with = f"--{name.replace('_', '-')}", checkpoint.args.get(name)
            began = f"without {option}" if began_with is None else f"with {began_with}"
            raise UsageError(
                f"{option} {getattr(args, name)}: this run began {began}; leave it out, or start a new run "
                f"with --init-from {path}"
            )
    fresh = {name: getattr(args, name) for name in START_ARGUMENTS if name != "data" or name in given}
    return argparse.Namespace(**{**vars(args), **checkpoint.args, **fresh}), checkpoint, given


def settle(args: argparse.Namespace, given: Collection[str], images: int) -> str:
    """Fills in what depends on the data or on other arguments: the preset, and the model's own defaults.

    So a run says what it was made of. Rates of ASPP suit the crops.

    Args:
        given: names of the arguments that were given; images: in the training split.

    Returns:
        A sentence about the preset, empty if none was taken.
    """
    options = models.options_of(args.model)
    note = apply_preset(args, given, images, options)
    for name, default in options.items():
        if name in OPTIONS and getattr(args, name) is None:
            setattr(args, name, default)
            if name == "atrous_rates":
                args.atrous_rates = rates_for_crops(args.crop_size, args.output_stride)
    return note


def run_config(args: argparse.Namespace) -> str:
    """config.toml of a run: `--config` with it repeats the run."""
    return config_text(train_parser(), args, NOT_REPEATED)


def train_parser() -> Parser:
    """The options of `python -m minideeplab.train`."""
    parser = cli.command_parser("train", "Train a segmentation network.", EXAMPLE)
    cli.add_data_arguments(parser, default="synthetic")
    add = parser.add_argument
    add("--split", default="train", help="split to train on")
    add("--val-split", default="val", help="split to validate on")
    add_model_arguments(parser)
    _add_schedule(parser)
    _add_views(parser)
    _add_run(parser)
    cli.add_device_arguments(parser)
    return parser


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--preset",
        choices=["auto", *PRESETS],
        default="auto",
        help="defaults of options that are not given: small is for dozens of images; auto takes it for so few, "
        "if none of its options is given",
    )
    add("--crop-size", type=cli.positive_int, default=129, help="side of the training crops, pixels")
    add("--batch-size", type=cli.positive_int, default=4, help="crops per step")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=cli.positive_int, help=f"passes over the training images ({EPOCHS} if not given)"
    )
    length.add_argument("--steps", type=cli.positive_int, help="optimiser steps, instead of --epochs")
    add("--lr", type=cli.positive_float, default=0.01, help="learning rate of the first step")
    add("--end-lr", type=cli.non_negative_float, default=0.0, help="learning rate that the schedule ends at")
    add(
        "--power",
        type=cli.positive_float,
        default=0.9,
        help="of the poly schedule (1 - step / steps) ** power",
    )
    add(
        "--lr-every",
        type=cli.positive_int,
        metavar="STEPS",
        help="a tenth of the learning rate after every so many steps, as DeepLab v1 did, instead of the poly schedule",
    )
    add("--momentum", type=cli.fraction_below_one, default=0.9, help="of the gradient descent")
    add("--weight-decay", type=cli.non_negative_float, default=1e-4, help="not on biases and batch norms")
    add(
        "--class-weights",
        choices=["none", "median", "root"],
        default="none",
        help="balance the loss by median frequency, or by its square root",
    )


def _add_views(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--scale-range",
        type=cli.positive_float,
        nargs=2,
        default=[0.5, 2.0],
        metavar=("LOW", "HIGH"),
        help="random scale",
    )
    add("--mirror", action=argparse.BooleanOptionalAction, default=True, help="mirror half of the crops")
    add("--blur", type=cli.non_negative_float, default=0.0, help="highest sigma of a random blur, pixels")
    add(
        "--jitter",
        type=cli.fraction_below_one,
        default=0.0,
        help="strength of random brightness, contrast, saturation",
    )
    add(
        "--checkpoint-activations",
        action="store_true",
        help="compute the backbone's activations twice instead of keeping them: less memory, a third more time there",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--config", metavar="FILE", help="a .toml file of options, as each run folder has one; the command line wins")
    add(
        "--find-lr",
        action="store_true",
        help="try rates from 1e-7 to 10, suggest one, train nothing",
    )
    add(
        "--dry-run",
        action="store_true",
        help="one batch: shapes, loss, memory, time; write nothing",
    )
    add(
        "--eval-every",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="validate every N epochs, and at the end",
    )
    add("--out", help="new folder of the run (runs/MODEL-BACKBONE-DATASET, numbered, if not given)")
    add(
        "--resume",
        action="store_true",
        help="continue the run in --out, with the arguments that it began with",
    )
    add(
        "--init-from",
        metavar="FILE",
        help="start from the weights of a checkpoint, .pth, .safetensors or .npz; of a classifier take the backbone",
    )
    add(
        "--stop-after",
        type=cli.positive_int,
        metavar="STEPS",
        help="pause after this many steps; --resume continues",
    )
    add("--minutes", type=cli.positive_float, help="pause after this time; --resume continues")
    add("--seed", type=cli.non_negative_int, default=0, help="of weights, order, augmentation and dropout")
