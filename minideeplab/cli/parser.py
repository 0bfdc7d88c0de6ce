"""The parser of a command, and the arguments that several commands share."""

import argparse
import shlex
import sys

from minideeplab.cli.types import crf_settings, label_map, label_value, open_fraction, positive_float, positive_int
from minideeplab.crf.presets import PRESETS
from minideeplab.data import DATASETS, SegmentationDataset, open_dataset, split_names
from minideeplab.errors import UsageError
from minideeplab.evaluation.predictor import Predictor


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


def add_data_arguments(parser: argparse.ArgumentParser, default: str | None) -> None:
    """--data, --dataset and what goes with them; `default` is that of --data, None makes it required."""
    parser.add_argument(
        "--data",
        default=default,
        required=default is None,
        help="folder of the data set, a list of `image mask` lines, or 'synthetic'",
    )
    parser.add_argument(
        "--dataset",
        choices=["auto", *DATASETS],
        default="auto",
        help="; ".join(["kind of the data set: auto: by its folder", *(f"{n}: {e.help}" for n, e in DATASETS.items())]),
    )
    parser.add_argument("--limit", type=positive_int, help="use only the first LIMIT images of each split")
    parser.add_argument(
        "--val-share", type=open_fraction, metavar="F",
        help="hold out this share of the images as split 'val' where there is none, always the same ones; in a set "
        "without any split that is done with 0.2 if not given, and written into its folder",
    )  # fmt: skip
    parser.add_argument(
        "--label-map", type=label_map, metavar="FILE",
        help="which label a value in the masks means: lines `stored label` or `stored -> name`, * for any other value, "
        "'void' for none; or a JSON object; or the word 'binary': 0 is 0, and 255 is 1",
    )  # fmt: skip
    parser.add_argument(
        "--ignore-index", type=label_value, metavar="N",
        help="the label of void, beside what is void in the data set (255 if not given). The classes keep their "
        "numbers: of 0, class 0 is not learnt (a label map shifts them). -1 is 255, as a file of 8 bits stores -1",
    )  # fmt: skip


def open_data(args: argparse.Namespace, split: str) -> SegmentationDataset:
    """One split of the data set that the arguments of `add_data_arguments` name; stderr says how it was understood.

    Raises:
        DataError: as of `open_dataset`.
        UsageError: arguments that the data set does not take.
    """
    try:
        dataset = open_dataset(
            args.data,
            args.dataset,
            split,
            args.limit,
            val_share=args.val_share,
            label_map=args.label_map,
            ignore_index=args.ignore_index,
        )
    except ValueError as error:
        raise UsageError(f"--{str(error).removeprefix('open_dataset: ').replace('_', '-')}") from error
    for sentence in (dataset.recognised, *dataset.notes):
        if sentence and sentence not in _said:
            _said.add(sentence)
            print(f"data: {sentence}", file=sys.stderr)
    return dataset


_said: set[str] = set()  # train opens two splits, and has one thing to say


def open_splits(args: argparse.Namespace) -> list[SegmentationDataset]:
    """All splits of the data set that the arguments name; errors as of `open_data`."""
    return [open_data(args, split) for split in split_names(args.data, args.dataset)]


def data_options(args: argparse.Namespace) -> list[str]:
    """The arguments of `add_data_arguments` as options of another command that opens the same data."""
    options = ["--data", str(args.data), "--dataset", args.dataset]
    for name in ("limit", "val_share", "label_map", "ignore_index"):
        if getattr(args, name, None) is not None:
            options += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return options


def add_crf_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--crf."""
    parser.add_argument(
        "--crf", type=crf_settings, metavar="PRESET", default=default,
        help=f"refine the labels by a dense CRF: {', '.join(PRESETS)}; with other settings: deeplab-v2,sxy=50,srgb=5",
    )  # fmt: skip


def add_predictor_arguments(parser: argparse.ArgumentParser) -> None:
    """--scales, --flip, --tile and --crf: how an image is seen, see `Predictor`."""
    parser.add_argument(
        "--scales", type=positive_float, nargs="+", default=[1.0], metavar="F",
        help="average the probabilities over images of these factors on height and width, e.g. 0.5 0.75 1 1.25",
    )  # fmt: skip
    parser.add_argument("--flip", action="store_true", help="also see each image mirrored left and right")
    parser.add_argument(
        "--tile", type=positive_int, metavar="SIDE", help="cut larger images into squares of so many pixels"
    )
    add_crf_argument(parser)


def predictor_of(args: argparse.Namespace, model) -> Predictor:
    """The predictor that the arguments of `add_predictor_arguments` ask for.

    Raises:
        UsageError: arguments that make no sense.
    """
    try:
        return Predictor(model, args.scales, args.flip, args.crf, args.tile)
    except ValueError as error:
        raise UsageError(f"--{str(error).removeprefix('Predictor: ')}") from error


def command_line(command: str, *arguments: object) -> str:
    """A command of minideeplab as text that the user's shell runs, with the Python that runs now."""
    return shlex.join([sys.executable, "-m", f"minideeplab.{command}", *map(str, arguments)])
