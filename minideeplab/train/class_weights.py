"""Weights of classes in the loss: by name or from a file, and what they do, as a table."""

import argparse
import json
import math

import numpy as np

from minideeplab.data.statistics import median_frequency_weights
from minideeplab.errors import UsageError
from minideeplab.evaluation import percent
from minideeplab.files.json_text import parse_json, parse_json_object
from minideeplab.files.ordinary import read_small
from minideeplab.files.refusal import Refusal

POWERS = {"median": 1.0, "root": 0.5}  # the root lifts rare classes and leaves the frequent ones a say
NAMES = ("none", *POWERS)
_MOST_BYTES = 1_000_000


def option(text: str) -> str:
    """An argument type: a name of NAMES, or what a file holds as JSON, which makes a run independent of the file.

    A file has one number a line, in the order of the classes, or JSON: {"class": number}, 1 for those not named. In the
    place of a file the JSON itself may stand: [1, 2.5] or {"car": 2.5}.
    """
    if text in NAMES:
        return text
    if text.lstrip().startswith(("[", "{")):
        return _as_json(text, text)
    try:
        content = read_small(text, _MOST_BYTES).decode()
    except (OSError, Refusal) as error:
        reason = getattr(error, "strerror", None) or error
        raise argparse.ArgumentTypeError(
            f"{text}: neither one of {', '.join(NAMES)}, nor a file that can be read ({reason})"
        ) from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}; expected a text file") from error
    return _as_json(text, content)


def _as_json(text: str, content: str) -> str:
    """What `content` says of weights, as JSON; `text` stands for it in messages."""
    try:
        return json.dumps(_weights_in(content))
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text[:200]}: {str(error)[:200] or type(error).__name__}; expected one number a line, in the order of "
            'the classes, or JSON such as {"car": 2.5}'
        ) from error


def _weights_in(text: str) -> list[float] | dict[str, float]:
    if text.lstrip().startswith("["):
        values = parse_json(text)
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            raise ValueError("a weight is not a number")
        weights = values = [float(value) for value in values]
    elif text.lstrip().startswith("{"):
        found = parse_json_object(text)
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in found.values()):
            raise ValueError("a weight is not a number")
        weights = {name: float(value) for name, value in found.items()}
        values = list(weights.values())
    else:
        weights = values = [float(line) for line in text.split("\n") if line.strip()]
    if not all(0 <= value < math.inf for value in values) or not any(values):
        raise ValueError("weights must be 0 or more, finite, and not all 0")
    return weights


def check(choice: str, class_names) -> None:
    """Raises UsageError where a file's weights are not those of these classes."""
    names, choice = list(class_names), _chosen(choice)
    if isinstance(choice, dict) and (unknown := sorted(choice.keys() - set(names))):
        raise UsageError(f"--class-weights: the file names a class '{unknown[0]}', the data set has {', '.join(names)}")
    if isinstance(choice, list) and len(choice) != len(names):
        raise UsageError(
            f"--class-weights: the file has {len(choice)} numbers, the data set has {len(names)} classes: "
            f"{', '.join(names)}"
        )


def _chosen(choice: str) -> str | list[float] | dict[str, float]:
    """A name of NAMES, or the weights that `option` wrote as JSON."""
    return choice if choice in NAMES else json.loads(choice)


def weights_of(choice: str, dataset) -> np.ndarray | None:
    """(C,) float32 for a data set whose classes fit, or None for no weights; `choice` is of `option`."""
    if choice == "none":
        return None
    choice = _chosen(choice)
    if isinstance(choice, str):
        return median_frequency_weights(dataset) ** POWERS[choice]
    if isinstance(choice, dict):
        choice = [choice.get(name, 1.0) for name in dataset.class_names]
    return np.asarray(choice, np.float32)


def table(weights: np.ndarray, dataset) -> str:
    """What weights do: class, share of the pixels, weight, and share of the loss, w_c f_c / sum w f.

    That is the share of a network that is equally wrong everywhere, as at the start.
    """
    pixels = dataset.counts.pixels[: len(weights)].astype(float)
    pixels[np.arange(len(weights)) == dataset.ignore_index] = 0
    pixel_share, loss_share = (part / max(part.sum(), 1e-30) for part in (pixels, pixels * weights))
    width = max(5, *(len(name) for name in dataset.class_names))
    lines = [f"{'class':<{width}}  {'pixels %':>8}  {'weight':>8}  {'loss %':>8}"]
    for name, pixel, weight, loss in zip(dataset.class_names, pixel_share, weights, loss_share, strict=True):
        lines.append(f"{name:<{width}}  {percent(pixel):>8}  {weight:>8.3g}  {percent(loss):>8}")
    return "\n".join(lines)
