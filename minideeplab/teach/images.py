"""Pictures to teach with: what code draws, and a photograph that matplotlib brings along."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from minideeplab.data import find_images, open_dataset, read_image
from minideeplab.data.palettes import IGNORE_INDEX
from minideeplab.data.synthetic import SHAPE_CLASSES, TRAIN, draw_sample
from minideeplab.errors import MiniDeepLabError, UsageError
from minideeplab.teach.lesson import tutorials
from minideeplab.teach.style import GREEN, ORANGE, PINK, RED, SKY, YELLOW

FOLDER = "MINIDEEPLAB_PHOTOGRAPHS"  # environment variable: the photograph, or the folder, that notebooks take instead
GROUND = "#333333"
COLOURS = dict(zip(SHAPE_CLASSES, (GROUND, ORANGE, SKY, GREEN, YELLOW, RED, PINK), strict=True))


def photograph(height: int = 320, index: int = 0) -> np.ndarray:
    """(height, W, 3) uint8 RGB: Grace Hopper in 1984, by James S. Davis, U.S. Navy, in the public domain.

    Where the environment variable MINIDEEPLAB_PHOTOGRAPHS names a photograph, that is taken instead; of a folder of
    photographs the one with this number, in the order of their names; of a data set, such as a VOC folder, that of its
    validation split.

    Raises:
        UsageError: the variable names something else; the message says what there is.
    """
    given = os.environ.get(FOLDER)
    if given:
        picture = Image.fromarray(_own(given, index))
    else:
        from matplotlib.cbook import get_sample_data

        with get_sample_data("grace_hopper.jpg") as file:
            picture = Image.open(file).convert("RGB")
    width = round(picture.width * height / picture.height)
    return np.array(picture.resize((width, height), Image.Resampling.LANCZOS))


def _own(given, index):
    """The reader's photograph; a path that is not there is looked for beside the folder of the notebooks, too."""
    path = Path(given).expanduser()
    if not path.exists() and not path.is_absolute():
        path = tutorials().parent / path
    source = f"{FOLDER}={given}"
    try:
        if path.is_file():
            return read_image(path)
        photographs = find_images(path)[0] if path.is_dir() else []
        if not photographs:
            photographs = open_dataset(path, "auto", "val")
        if not 0 <= index < len(photographs):
            raise UsageError(f"image {index} was asked for, there are {len(photographs)}")
        return photographs.image(index) if hasattr(photographs, "image") else read_image(photographs[index])
    except MiniDeepLabError as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"{source}: {first}; unset {FOLDER} for the photograph of the notebook") from None


def sample(number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 image and (H, W) uint8 labels, H and W in 120..160: a validation sample of the synthetic set.

    It is drawn by code; the small trained networks have never seen it.
    """
    return draw_sample(0, TRAIN + number)


def palette() -> np.ndarray:
    """(256, 3) uint8 colours of the synthetic set, which all readers can tell apart; the ground is dark, void white."""
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(COLOURS)] = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS.values()]
    return colours


def classes() -> SimpleNamespace:
    """Names, palette and void of the synthetic set, as `minideeplab.figures` wants them."""
    return SimpleNamespace(class_names=SHAPE_CLASSES, palette=palette(), ignore_index=IGNORE_INDEX, num_classes=7)
