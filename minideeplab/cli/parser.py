"""The parser of a command, and the arguments that several commands share."""

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys

from minideeplab.cli.types import crf_settings, image_factor, positive_int
from minideeplab.crf.presets import PRESETS
from minideeplab.distributed import mpiexec
from minideeplab.errors import UsageError
from minideeplab.evaluation.predictor import FUSIONS, Predictor
from minideeplab.files.refusal import plain


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each default, except where it is None: there the help text says what happens."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Ends with one line that says what is wrong, not with the whole usage before it.

    Attributes:
        raises: raise a UsageError instead of ending the program, for options that come from elsewhere.
    """

    raises = False
    _given = ()

    def parse_known_args(self, args=None, namespace=None):
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._given, namespace)

    def error(self, message: str):
        message = f"{self._misspelt() or message}; {self.prog} --help lists the options"
        if self.raises:
            raise UsageError(message)
        self.exit(UsageError.exit_code, f"error: {plain(message)}\n")

    def _misspelt(self) -> str | None:
        """The first option that there is not, with one that looks like it: the cause of any other complaint."""
        for argument in self._given:
            option = argument.partition("=")[0]
            if re.fullmatch("--?[A-Za-z].*", option) and option not in self._option_string_actions:
                if near := near_option(self, option):
                    return f"unknown option {option}; did you mean {near}?"
        return None


def near_option(parser: argparse.ArgumentParser, option: str) -> str | None:
    """The option of a parser whose name is nearest to a word, if any is near."""
    asked = f"--{option.lstrip('-').replace('_', '-')}"
    return next(iter(difflib.get_close_matches(asked, parser._option_string_actions, n=1, cutoff=0.7)), None)


def command_parser(command: str, description: str, example: str) -> Parser:
    """A parser for `python -m minideeplab.COMMAND`, with a worked example below the list of options."""
    return Parser(
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
        help="best.npz or last.npz of a run, or published weights of a known layout (.pth, .ckpt, .safetensors)",
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
        "--scales", type=image_factor, nargs="+", default=[1.0], metavar="F",
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


def command_line(command: str, *arguments: object, ranks: int = 1) -> str:
    """A command of minideeplab as text that the user's shell runs, with the Python that runs now; on several ranks."""
    launcher = [mpiexec() or "mpiexec", "-n", str(ranks)] if ranks > 1 else []
    words = [*launcher, sys.executable, "-m", f"minideeplab.{command}", *map(str, arguments)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
