"""The arguments of the training command, and how a resumed run takes up its own."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from minideeplab import cli, models
from minideeplab.cli.model_options import OPTIONS, add_model_arguments, given_options
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.models.aspp import rates_for_crops
from minideeplab.train import class_weights
from minideeplab.train.folder_states import Found, newest_checkpoint

EXAMPLE = """\
  python -m minideeplab.train --data synthetic --epochs 5
  python -m minideeplab.train --data VOCdevkit/VOC2012 --backbone resnet50 --crop-size 257 --out runs/voc
  python -m minideeplab.train --model pspnet --width 0.25 --epochs 5
  python -m minideeplab.train --resume --out runs/voc"""

EPOCHS = 30

# Arguments of one start: free to differ when a run is resumed. All others stay as the run began.
START_ARGUMENTS = {"resume", "extend", "out", "data", "device", "precision", "threads", "stop_after", "minutes"}


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Found | None]:
    """The arguments of a run, and with --resume the checkpoint that they come from.

    Raises:
        UsageError: --resume with an argument that contradicts the run, or while another process trains it.
        CheckpointError: --resume without a usable checkpoint.
    """
    parser = _parser()
    args = parser.parse_args(argv)
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
    _choose_model_options(args)
    if args.data != "synthetic":
        args.data = str(Path(args.data).resolve())
    if not args.resume:
        return args, None
    if args.out is None:
        raise UsageError("--resume needs the folder of the run: --out RUN")
    found = newest_checkpoint(args.out)
    path, began = found.path, _began(parser, found)
    # argparse fills in defaults only for what is not set yet: what differs from the marker was given.
    unset = object()
    given = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(args), unset)))
    given = {name for name, value in vars(given).items() if value is not unset}
    for name in sorted(given - START_ARGUMENTS):
        if getattr(args, name) != began.get(name):
            option, began_with = f"--{name.replace('_', '-')}", began.get(name)
            how = f"without {option}" if began_with is None else f"with {began_with}"
            raise UsageError(
                f"{option} {getattr(args, name)}: this run began {how}; leave it out, or start a new run "
                f"with --init-from {path}"
            )
    fresh = {name: getattr(args, name) for name in START_ARGUMENTS if name != "data" or name in given}
    return argparse.Namespace(**{**vars(args), **began, **fresh}), found


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


def _choose_model_options(args: argparse.Namespace) -> None:
    """Fills in the model's own defaults, so that a run says what it was made of; rates of ASPP that suit the crops."""
    given_options(args)
    for name, default in models.options_of(args.model).items():
        if name in OPTIONS and getattr(args, name) is None:
            setattr(args, name, default)
            if name == "atrous_rates":
                args.atrous_rates = rates_for_crops(args.crop_size, args.output_stride)


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("train", "Train a segmentation network.", EXAMPLE)
    cli.add_data_arguments(parser, default="synthetic")
    add = parser.add_argument
    add("--split", default="train", help="split to train on")
    add("--val-split", default="val", help="split to validate on")
    add_model_arguments(parser)
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
        "--extend",
        type=cli.positive_int,
        metavar="N",
        help="with --resume: N more epochs for a finished run; the poly schedule then spans the new total",
    )
    add(
        "--stop-after",
        type=cli.positive_int,
        metavar="STEPS",
        help="pause after this many steps; --resume continues",
    )
    add("--minutes", type=cli.positive_float, help="pause after this time; --resume continues")
    add("--seed", type=cli.non_negative_int, default=0, help="of weights, order, augmentation and dropout")
    _add_step_arguments(parser)
    cli.add_device_arguments(parser)
    return parser


def _add_step_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("options of a step").add_argument
    add(
        "--accumulate",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="compute each batch in N parts, in the memory of one; --batch-size is the whole batch, and the result is "
        "that of the whole but for batch norm and dropout",
    )
    add(
        "--class-weights",
        type=class_weights.option,
        default="none",
        metavar="|".join((*class_weights.NAMES, "FILE")),
        help="balance the loss by median frequency, by its square root, or by a file: one number a line in the order "
        "of the classes, or JSON by their names",
    )
    add(
        "--hard-pixels",
        type=cli.open_fraction,
        metavar="SHARE",
        help="take the loss over this share of each crop's labelled pixels, those with the largest loss",
    )
    add(
        "--hard-ramp",
        type=cli.non_negative_int,
        default=0,
        metavar="STEPS",
        help="let that share fall from 1 in so many steps",
    )
    add(
        "--warmup",
        type=cli.non_negative_int,
        default=0,
        metavar="STEPS",
        help="let the learning rate grow from near 0 in so many steps",
    )
    add(
        "--head-lr-factor",
        type=cli.positive_float,
        default=1.0,
        metavar="F",
        help="factor on the learning rate of all that is not the backbone, such as 10 where --init-from has one",
    )
    add(
        "--freeze-bn",
        nargs="?",
        const="statistics",
        choices=["statistics", "all"],
        help="batch norm uses the running statistics of --init-from and leaves them; with `all` its scale and shift "
        "stay, too",
    )
    add(
        "--ema",
        type=cli.open_fraction,
        metavar="DECAY",
        help="validate and keep an exponential moving average of the weights, such as 0.999",
    )
    add(
        "--patience",
        type=cli.positive_int,
        metavar="N",
        help="end the run after N validations in a row without a better mIoU",
    )
