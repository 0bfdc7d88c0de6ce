"""Mask files: every label that is read from a picture comes through here."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from minideeplab.data.damage import cause_in_colours, cause_in_values
from minideeplab.data.decoder import opened
from minideeplab.data.palettes import CAMVID_CLASSES, IGNORE_INDEX, voc_colour_map
from minideeplab.errors import DataError
from minideeplab.files.whole import written_whole

MASK_FORMATS = ("PNG", "JPEG")  # JPEG: opened, so that the refusal can say why


def read_mask(
    path: str | Path,
    num_classes: int = 256,
    palette: np.ndarray | None = None,
    ignore_index: int = IGNORE_INDEX,
    label_map: Mapping[int, int] | None = None,
    colour_map: Mapping[int, int] | None = None,
) -> np.ndarray:
    """Decode a label mask: palette indices and grey values are labels, RGB colours are looked up.

    The value that the file stores counts, at any depth: a grey sample of 2 bits is 0, 1, 2 or 3.

    Args:
        path: a PNG file; a mask in JPEG is refused, for its labels are blurred.
        num_classes: the labels are 0..num_classes-1 and `ignore_index`.
        palette: (256, 3) uint8, the colour of each label in an RGB mask; None: the VOC colour map.
        ignore_index: the label of void pixels.
        label_map: stored value -> label, for all values that a mask may hold; None: they are the labels themselves.
        colour_map: row of `palette` -> label, for all rows whose colours an RGB mask may have; None: the rows are
            the labels themselves.

    Returns:
        (H, W) uint8 labels.

    Raises:
        DataError: the file is unusable, or a pixel has a colour or a stored value that is not allowed.
    """
    with opened(path, MASK_FORMATS) as image:
        if image.format != "PNG":
            raise DataError(
                f"{path}: this mask is a JPEG file, and lossy compression mixes labels at every border; "
                "export the masks again as PNG"
            )
        mode = image.mode
        if mode in ("RGB", "RGBA"):
            if colour_map is None:
                colour_map = {label: label for label in (*range(num_classes), ignore_index)}
            return _labels_of_colours(path, np.asarray(image)[..., :3], num_classes, palette, colour_map)
        stored = _stored_values(path, image)
    if label_map is None:
        label_map = {label: label for label in (*range(num_classes), ignore_index)}
    labels = np.full(256, -1, np.int16)
    labels[list(label_map)] = list(label_map.values())
    mask = labels[stored]
    if mask.min() < 0:
        row, column = _first(mask < 0)
        value = int(stored[row, column])
        classes = [each for each, label in label_map.items() if label != ignore_index]
        void = [each for each, label in label_map.items() if label == ignore_index]
        palette = voc_colour_map() if palette is None else palette
        cause = cause_in_values(stored, labels >= 0, num_classes, palette, ignore_index)
        cause = cause or _likely_cause(value, num_classes, mode, ignore_index)
        raise DataError(
            f"{path}: label {value} at pixel (row {row}, column {column}); valid labels are "
            f"{_ranges(classes)} and {_ranges(void)} (void). {_sentence(cause)}"
        )
    return mask.astype(np.uint8)


def write_mask(path, mask, palette=None):
    """Write labels as a palette PNG, in full or not at all; arguments as of `mask_picture`."""
    with written_whole(path) as file:
        mask_picture(mask, palette).save(file, format="PNG")


def mask_picture(mask, palette=None):
    """Labels as a palette image of Pillow, the form of the VOC masks and of the VOC submission.

    Args:
        mask: (H, W) uint8 labels.
        palette: (256, 3) uint8 RGB; None: the VOC colour map.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise TypeError(f"write_mask: mask must be (H, W) uint8, got {mask.shape} {mask.dtype}")
    image = Image.fromarray(mask)
    image.putpalette((voc_colour_map() if palette is None else palette).tobytes())
    return image


def mask_palette(path: str | Path) -> np.ndarray | None:
    """The (256, 3) uint8 palette of a mode-P mask, black where the file is short; None for other modes."""
    stored = stored_palette(path)
    if stored is None:
        return None
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(stored)] = stored
    return palette


def stored_palette(path: str | Path) -> np.ndarray | None:
    """The (n, 3) uint8 palette of a mode-P mask, as long as the file stores it; None for other modes."""
    with opened(path, MASK_FORMATS) as image:
        if image.mode != "P":
            return None
        return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def stored_values(path: str | Path) -> np.ndarray:
    """(H, W) uint8, what a mask with one channel stores, whatever it means; DataError as of `read_mask`."""
    with opened(path, MASK_FORMATS) as image:
        return _stored_values(path, image)


def _stored_values(path, image):
    """(H, W) uint8, the samples of a PNG file with one channel as they are stored."""
    if image.mode == "L":
        # Pillow stretches grey samples of 2 and 4 bits to 0..255; the name of the packed form tells which they were.
        stretch = {"L;2": 85, "L;4": 17}.get(image.tile[0][3], 1)
        return np.asarray(image) // np.uint8(stretch)
    if image.mode in ("P", "1"):
        return np.asarray(image).astype(np.uint8)  # never convert(): that turns indices into colours
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.max() <= 255:
            return values.astype(np.uint8)
        row, column = _first(values > 255)
        minus_one = " (65535 is -1 in 16 bits: was void stored as -1? Store it as 255)" * bool((values == 65535).any())
        raise DataError(
            f"{path}: a mask of 16 bits with the value {values[row, column]} at pixel (row {row}, column {column}); "
            f"a mask holds labels up to 255{minus_one}; export it again as an 8-bit PNG"
        )
    raise DataError(
        f"{path}: a mask of Pillow mode {image.mode!r}; a mask has one channel of labels "
        "(modes P, L) or the palette's colours (RGB); export it again as an 8-bit PNG"
    )


def _labels_of_colours(path, rgb, num_classes, palette, colour_map):
    """(H, W, 3) uint8 colours -> (H, W) uint8 labels."""
    palette = voc_colour_map() if palette is None else palette
    rows, labels = sorted(colour_map), np.array([colour_map[row] for row in sorted(colour_map)], np.uint8)
    # np.unique keeps the first of equal colours, so that a class wins over a void that shares its colour.
    known, first = np.unique(_colour_codes(palette[rows]), return_index=True)
    codes = _colour_codes(rgb)
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    unknown = known[place] != codes
    if unknown.any():
        row, column = _first(unknown)
        cause = cause_in_colours(rgb, palette[rows], unknown) or (
            "Was the mask anti-aliased, resized or drawn with other colours? Export it as a palette (mode P) PNG"
        )
        raise DataError(
            f"{path}: colour {tuple(rgb[row, column].tolist())} at pixel (row {row}, column {column}) "
            f"is not the colour of any of the {num_classes} classes nor of void. {_sentence(cause)}"
        )
    return labels[first][place]


def _colour_codes(rgb):
    r, g, b = np.moveaxis(rgb.astype(np.int32), -1, 0)
    return r << 16 | g << 8 | b


def _first(where):
    row, column = np.unravel_index(where.argmax(), where.shape)
    return int(row), int(column)


def _sentence(words):
    return words[0].upper() + words[1:]


def _ranges(values):
    """[0, 1, 2, 11, 255] as "0..2, 11, 255"."""
    runs = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{first}..{last}" if last > first else f"{first}" for first, last in runs)


def _likely_cause(value, num_classes, mode, ignore_index):
    if value == num_classes:
        cause = f"Is a class name missing, or does {value} mean void here? Then store void as {ignore_index}."
        camvid = " In CamVid as SegNet ships it 11 is void: --dataset camvid takes it."
        return cause + camvid * (value == len(CAMVID_CLASSES))
    if mode == "L":
        return "Were colours saved as grey levels, or was the mask anti-aliased or resized with bilinear?"
    return "Are class names missing, or was the mask anti-aliased or resized with bilinear?"
