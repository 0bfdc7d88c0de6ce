"""The arguments of commands that choose a network, and the options that they mean to its constructor."""

import argparse

from minideeplab import cli, models
from minideeplab.errors import UsageError
from minideeplab.models.names import check_name


def _one_of(kind: str, names):
    """An argument type: a name, or an error that lists the near ones."""

    def parse(name: str) -> str:
        try:
            check_name(kind, name, names)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return name

    return parse


# name of an argument -> what argparse is told; None, the default of all, leaves the choice to the model
_FLAG = {"action": argparse.BooleanOptionalAction}
OPTIONS = {
    "backbone": {
        "type": _one_of("backbone", models.BACKBONES), "metavar": "NAME",
        "help": "its feature extractor: " + ", ".join(models.BACKBONES),
    },
    "output_stride": {"type": cli.positive_int, "metavar": "S", "help": "input size over that of the last features"},
    "separable": {**_FLAG, "help": "depthwise separable convolutions in head and decoder"},
    "decoder": {**_FLAG, "help": "DeepLab v3+'s decoder"},
    "atrous_rates": {
        "type": cli.positive_int, "nargs": "*", "metavar": "R",
        "help": "of ASPP, as if at output stride 16; no number: no atrous branches, only 1x1 and image-level pooling",
    },
    "multi_scale": {**_FLAG, "help": "DeepLab v2: run on images of 0.5 and 0.75 times the size, too"},
    "auxiliary": {**_FLAG, "help": "a second head on earlier features, for training"},
    "width": {
        "type": cli.positive_float, "metavar": "F",
        "help": "factor on the number of channels: of the network, or of the backbone where --head-width says the rest",
    },
    "head_width": {"type": cli.positive_int, "metavar": "C", "help": "channels of ASPP and decoder"},
}  # fmt: skip


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, and the options that some model has; the help tells the defaults of the first."""
    parser.add_argument(
        "--model",
        type=_one_of("model", models.NAMES),
        default=models.NAMES[0],
        metavar="NAME",
        help=f"network: {', '.join(models.NAMES)}",
    )
    own = models.options_of(models.NAMES[0])
    group = parser.add_argument_group("options of the network", "each has some of them, and its own defaults")
    for name, how in OPTIONS.items():
        default = own.get(name)
        text = how["help"] + ("" if default is None else f" ({models.NAMES[0]}: {_text(default)})")
        group.add_argument(_option(name), **{**how, "help": text})


def given_options(args: argparse.Namespace) -> dict:
    """The constructor's options that were given.

    Raises:
        UsageError: one that the model does not have; those that it has are listed.
    """
    known = models.options_of(args.model)
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    for name in given.keys() - known.keys():
        has = ", ".join(_option(each) for each in OPTIONS if each in known) or "none of them"
        raise UsageError(f"{_option(name)}: {args.model} has no such option; of the network's options it has {has}")
    return given


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(default) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
