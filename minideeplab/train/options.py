"""The options of the training command."""

import argparse

from minideeplab import cli
from minideeplab.cli.model_options import add_model_arguments
from minideeplab.cli.parser import Parser
from minideeplab.train import class_weights
from minideeplab.train.presets import LENGTH, PRESETS

EXAMPLE = """\
  python -m minideeplab.train --data synthetic --epochs 5
  python -m minideeplab.train --data VOCdevkit/VOC2012 --backbone resnet50 --crop-size 257 --out runs/voc
  python -m minideeplab.train --model pspnet --width 0.25 --epochs 5
  python -m minideeplab.train --data photos --model deeplabv3 --backbone mobilenet_v2 --atrous-rates
  python -m minideeplab.train --config runs/voc/config.toml --lr 0.02 --out runs/voc-slower
  python -m minideeplab.train --resume --out runs/voc
  mpiexec -n 4 python -m minideeplab.train --data VOCdevkit/VOC2012 --batch-size 16 --out runs/voc-4"""

EPOCHS = 30
_CHOICES = ["--" + name.replace("_", "-") for name in PRESETS["small"] if name not in LENGTH]


def train_parser() -> Parser:
    """The options of `python -m minideeplab.train`."""
    parser = cli.command_parser("train", "Train a segmentation network.", EXAMPLE)
    cli.add_data_arguments(parser, default="synthetic")
    add = parser.add_argument
    add("--split", default="train", help="split to train on")
    add("--val-split", default="val", help="split to validate on")
    add_model_arguments(parser)
    _add_schedule(parser)
    _add_step(parser)
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
        help="defaults of options that are not given: small is for dozens of images; auto takes it for so few, if none "
        f"of these is given: {', '.join(_CHOICES)}",
    )
    add("--crop-size", type=cli.crop_side, default=129, help="side of the training crops, pixels")
    add("--batch-size", type=cli.batch_size, default=4, help="crops per step, of all ranks together")
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


def _add_views(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--scale-range",
        type=cli.image_factor,
        nargs=2,
        default=[0.5, 2.0],
        metavar=("LOW", "HIGH"),
        help="random scale",
    )
    add("--mirror", action=argparse.BooleanOptionalAction, default=True, help="mirror half of the crops")
    add("--blur", type=cli.blur_sigma, default=0.0, help="highest sigma of a random blur, pixels")
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
    trial = parser.add_mutually_exclusive_group()
    trial.add_argument(
        "--find-lr",
        action="store_true",
        help="try rates from 1e-7 to 10, suggest one, train nothing",
    )
    trial.add_argument(
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
        "--extend",
        type=cli.positive_int,
        metavar="N",
        help="with --resume: N more epochs for a finished run; the poly schedule then spans the new total",
    )
    add(
        "--stop-after",
        type=cli.positive_int,
        metavar="STEPS",
        help="pause after this many steps of this call; --resume continues",
    )
    add(
        "--minutes",
        type=cli.positive_float,
        help="pause after this time, wherever the schedule is then; --resume continues",
    )
    add("--seed", type=cli.seed, default=0, help="of weights, order, augmentation and dropout")


def _add_step(parser: argparse.ArgumentParser) -> None:
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
        help="factor on the learning rate of all layers but the backbone's, such as 10 for a backbone from --init-from",
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
        "--sync-bn",
        choices=["auto", "on", "off"],
        default="auto",
        help="under mpiexec, batch norm takes its statistics over all ranks; auto: where a rank has fewer than 8 crops",
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
