"""Defaults for a kind of data set: those for thousands of images leave a network of a few dozen images untrained."""

import argparse
from collections.abc import Collection

from minideeplab.cli.model_options import OPTIONS

SMALL_SET = 100  # training images, from which on the general defaults suit
LENGTH = ("steps", "epochs")  # options that say how long, not how: beside them the preset keeps the rest
VALIDATIONS = 12  # in a run whose length a preset chooses
PRESETS = {
    "small": {
        "width": 0.25, "head_width": 64, "separable": True,
        "crop_size": 193, "scale_range": [0.5, 1.5], "jitter": 0.2, "batch_size": 8,
        "steps": 1200, "lr": 0.05, "class_weights": "root",
    },
    "none": {},
}  # fmt: skip


def apply_preset(args: argparse.Namespace, given: Collection[str], images: int, options: Collection[str]) -> str:
    """Fills in what the preset chooses and nobody has given; returns a sentence about it, empty if there is none.

    Unless asked for, it is taken only where none of its options was given: who chooses some, or weights to begin with,
    has the defaults of --help for the rest.

    Args:
        given: names of the arguments that were given: they stay.
        images: in the training split; options: of the network, which may lack some of the preset's.
    """
    if args.preset == "auto":
        few = images < SMALL_SET and args.limit is None  # with --limit a large set is tried out, not a small one used
        own = [key for key in (*PRESETS["small"], "init_from") if key in given and key not in LENGTH]
        args.preset = "small" if few and not own else "none"
        if few and own:
            return (
                f"{images} training images are few: add --preset small for defaults that suit them; it is left out as "
                f"{_as_option(own[0], True)} was given, which wins over it"
            )
    chosen = {key: value for key, value in PRESETS[args.preset].items() if key not in given}
    chosen = {key: value for key, value in chosen.items() if key not in OPTIONS or key in options}
    if args.init_from:  # the weights are those of a network of its own width
        chosen = {key: value for key, value in chosen.items() if key not in OPTIONS}
    if "epochs" in given:
        chosen.pop("steps", None)
    if "steps" in chosen:
        args.epochs = None
        if "eval_every" not in given:
            epochs = chosen["steps"] / max(1, images // chosen.get("batch_size", args.batch_size))
            chosen["eval_every"] = max(1, round(epochs / VALIDATIONS))
    vars(args).update(chosen)
    if not chosen:
        return ""
    shown = " ".join(_as_option(key, value) for key, value in chosen.items())
    return (
        f"preset {args.preset}, for {images} training images: {shown} "
        f"(--preset none takes the defaults of --help; --preset {args.preset} keeps these beside options of your own)"
    )


def _as_option(key: str, value) -> str:
    option = f"--{key.replace('_', '-')}"
    values = value if isinstance(value, list) else [] if value is True else [value]
    return " ".join([option, *map(str, values)])
