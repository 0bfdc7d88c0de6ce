"""The parser of a command, and the arguments that several commands share."""

import argparse
import shlex
import sys

from minideeplab.cli.types import crf_settings, positive_float, positive_int
from minideeplab.crf.presets import PRESETS
from minideeplab.errors import UsageError
from minideeplab.evaluation.predictor import FUSIONS, Predictor


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each default, except where it is None: there the help text says what happens."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Ends with one line that says what is wrong, not with the whole usage before it."""

    def error(self, message: str):
        self.exit(UsageError.exit_code, f"error: {message}; {self.prog} --help lists the options\n")


def command_parser(command: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser for `python -m minideeplab.COMMAND`, with a worked example below the list of options."""
    return _Parser(
        prog=f"python -m minideeplab.{command}",
        description=description,
        epilog=f"example:\n{example}",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )


def add_crf_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--crf."""
    parser.add_argument(
        "--crf", type=crf_settings, metavar="PRESET", default=default,
        help=f"refine the labels by a dense CRF: {', '.join(PRESETS)}; with other settings: deeplab-v2,sxy=50,srgb=5",
    )  # fmt: skip


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --class-names and --output-stride: what `weights.load_trained` loads."""
    parser.add_argument(
        "--checkpoint", required=True, metavar="FILE",
        help="best.npz or last.npz of a run, or published weights of a known layout (.pth, .safetensors)",
    )  # fmt: skip
    parser.add_argument(
        "--class-names", metavar="NAMES",
        help="of a file that names no classes: voc, cityscapes, camvid, ade20k, or a text file with a name a line",
    )  # fmt: skip
    parser.add_argument(
        "--output-stride", type=positive_int, metavar="S",
        help="run the network at another output stride than in training, e.g. 8: finer, and about 3 times the time",
    )  # fmt: skip


def _tile_side(text: str) -> int | str | None:
    """What `Predictor` takes as `tile`; None for "whole"."""
    return {"auto": "auto", "whole": None}[text] if text in ("auto", "whole") else positive_int(text)


def add_predictor_arguments(parser: argparse.ArgumentParser) -> None:
    """--scales, --flip, --fusion, --tile and --crf: how an image is seen, see `Predictor`."""
    parser.add_argument(
        "--scales", type=positive_float, nargs="+", default=[1.0], metavar="F",
        help="fuse views of the image at these factors on height and width, e.g. 0.5 0.75 1 1.25",
    )  # fmt: skip
    parser.add_argument("--flip", action="store_true", help="also see each image mirrored left and right")
    parser.add_argument(
        "--fusion", choices=FUSIONS, default=FUSIONS[0],
        help="of several views: the mean of their probabilities (DeepLab v3), or the largest score (DeepLab v2)",
    )  # fmt: skip
    parser.add_argument(
        "--tile", type=_tile_side, default="auto", metavar="SIDE",
        help="cut larger images into overlapping squares of so many pixels; auto: squares of 769 above 8 megapixels; "
        "whole: never",
    )  # fmt: skip
    add_crf_argument(parser)


def predictor_of(args: argparse.Namespace, model) -> Predictor:
    """The predictor that the arguments of `add_predictor_arguments` ask for.

    Raises:
        UsageError: arguments that make no sense.
    """
    try:
        return Predictor(model, args.scales, args.flip, args.crf, args.tile, args.fusion)
    except ValueError as error:
        raise UsageError(f"--{str(error).removeprefix('Predictor: ')}") from error


def command_line(command: str, *arguments: object) -> str:
    """A command of minideeplab as text that the user's shell runs, with the Python that runs now."""
    return shlex.join([sys.executable, "-m", f"minideeplab.{command}", *map(str, arguments)])
