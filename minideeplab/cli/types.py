"""Argument types: numbers within their range, and files and folders that can be written."""

import argparse
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from minideeplab.crf.presets import MOST_ITERATIONS, preset_of
from minideeplab.data import label_map_text
from minideeplab.errors import DataError, UsageError

LARGEST = 10**9  # of a count or a size: what is larger would never end, nor fit anywhere
LARGEST_SEED = 2**64 - 1


def _number(convert: Callable[[str], float], accepts: Callable[[float], bool], expected: str, largest: float = LARGEST):
    """An argument type: `convert(text)`, if it is a number that is accepted."""

    def parse(text: str):
        try:
            value = convert(text)
        except ValueError:
            value = None
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        if value is None or not accepts(value):
            raise argparse.ArgumentTypeError(f"{shown}: expected {expected}")
        if value > largest:
            raise argparse.ArgumentTypeError(f"{shown}: expected {expected}, and up to {largest}")
        return value

    return parse


positive_int = _number(int, lambda value: value >= 1, "a whole number, 1 or more")


non_negative_int = _number(int, lambda value: value >= 0, "a whole number, 0 or more")


positive_float = _number(float, lambda value: 0 < value < math.inf, "a number above 0")


non_negative_float = _number(float, lambda value: 0 <= value < math.inf, "a number, 0 or more")


fraction = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


open_fraction = _number(float, lambda value: 0 < value < 1, "a number between 0 and 1")


fraction_below_one = _number(float, lambda value: 0 <= value < 1, "a number, 0 or more and below 1")


seed = _number(int, lambda value: value >= 0, "a whole number, 0 or more", LARGEST_SEED)


crop_side = _number(int, lambda value: value >= 1, "a whole number, 1 or more", 2**14)


batch_size = _number(int, lambda value: value >= 1, "a whole number, 1 or more", 2**16)


blur_sigma = _number(float, lambda value: 0 <= value < math.inf, "a number, 0 or more", 100)


image_factor = _number(float, lambda value: 0 < value < math.inf, "a number above 0", 16)


crf_iterations = _number(int, lambda value: value >= 0, "a whole number, 0 or more", MOST_ITERATIONS)


label_value = _number(int, lambda value: -1 <= value <= 255, "a label from 0 to 255, or -1")


def label_map(text: str) -> str:
    """An argument type: the label map of a file as text, so that a run keeps it whatever becomes of the file."""
    try:
        return label_map_text(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def crf_settings(text: str) -> str:
    """An argument type: the text, if it names a preset and its settings."""
    try:
        preset_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def create_folder(option: str, path: str | Path) -> Path:
    """Makes a folder for results, before any work is done.

    Raises:
        UsageError: it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {path}: no folder can be made there ({error.strerror}); give another") from error
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        why = f"no file can be written in this folder ({error.strerror}); give another"
        raise UsageError(f"{option} {path}: {why}") from error
    return path


def output_file(option: str, path: str | Path, suffix: str) -> Path:
    """The path of a file to be written, whose folder exists from now on.

    Raises:
        UsageError: another suffix, or a place where no file can be.
    """
    path = Path(path)
    if path.suffix.lower() != suffix or os.path.isdir(path):
        raise UsageError(f"{option} {path}: expected the name of a {suffix} file")
    create_folder(option, path.parent)
    return path
