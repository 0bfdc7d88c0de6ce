"""Image and mask files: every decoded pixel of the project comes through here."""

import struct
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from minideeplab.data.palettes import IGNORE_INDEX, voc_colour_map
from minideeplab.errors import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_PIXELS = 64_000_000  # well below Pillow's own warning: a small file may declare gigabytes of pixels
# What Pillow's decoders raise on broken bytes; the warning only where a caller turned warnings into errors.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def read_image(path):
    """Decode an image of any common kind (grey, palette, CMYK, alpha, 16 bit) to RGB.

    The EXIF orientation is applied, as viewers and labelling tools do; transparency is dropped.

    Args:
        path: a JPEG, PNG, BMP or WEBP file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: the file is missing, truncated, too large or not an image.
    """
    with _opened(path, IMAGE_FORMATS) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
            grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return np.array(image.convert("RGB"))


def read_mask(path, num_classes=256, palette=None):
    """Decode a label mask: palette indices and grey values are labels, RGB colours are looked up.

    Args:
        path: a PNG file; a mask in JPEG is refused, for its labels are blurred.
        num_classes: labels 0..num_classes-1 and 255 (void) are allowed.
        palette: (256, 3) uint8, the colour of each label in an RGB mask; None: the VOC colour map.

    Returns:
        (H, W) uint8 labels.

    Raises:
        DataError: the file is unusable, or a pixel has a colour or a label that is not allowed.
    """
    with _opened(path, ("PNG", "JPEG")) as image:
        if image.format != "PNG":
            raise DataError(
                f"{path}: this mask is a JPEG file, and lossy compression mixes labels at every border; "
                "export the masks again as PNG"
            )
        mode = image.mode
        if mode in ("P", "L", "1"):
            labels = np.asarray(image).astype(np.uint8)  # never convert(): that turns indices into colours
        elif mode in ("RGB", "RGBA"):
            labels = _labels_of_colours(path, np.asarray(image)[..., :3], num_classes, palette)
        else:
            raise DataError(
                f"{path}: a mask of Pillow mode {mode!r}; a mask has one 8-bit channel of labels "
                "(modes P, L) or the palette's colours (RGB); export it again as an 8-bit PNG"
            )
    bad = (labels >= num_classes) & (labels != IGNORE_INDEX)
    if bad.any():
        row, column = _first(bad)
        value = int(labels[row, column])
        raise DataError(
            f"{path}: label {value} at pixel (row {row}, column {column}); valid labels are "
            f"0..{num_classes - 1} and {IGNORE_INDEX} (void). {_likely_cause(value, num_classes, mode)}"
        )
    return labels


def write_mask(path, mask, palette=None):
    """Write labels as a palette PNG, the form of the VOC masks and of the VOC submission.

    Args:
        path: the file to write.
        mask: (H, W) uint8 labels.
        palette: (256, 3) uint8 RGB; None: the VOC colour map.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise TypeError(f"write_mask: mask must be (H, W) uint8, got {mask.shape} {mask.dtype}")
    image = Image.fromarray(mask)
    image.putpalette((voc_colour_map() if palette is None else palette).tobytes())
    image.save(path, format="PNG")


def mask_palette(path):
    """The (256, 3) uint8 palette of a mode-P mask, black where the file is short; None for other modes."""
    with _opened(path, ("PNG",)) as image:
        if image.mode != "P":
            return None
        stored = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(stored)] = stored
    return palette


@contextmanager
def _opened(path, formats):
    """Open an image; what its decoder raises, now or while the caller loads it, becomes a DataError."""
    path = Path(path)
    try:
        with Image.open(path, formats=formats) as image:
            # A test, not a warnings filter: filters belong to the process, and the loader has a thread.
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{path}: {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}; "
                    "make it smaller, or check where the file comes from"
                )
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except Image.UnidentifiedImageError:
        size = path.stat().st_size
        raise DataError(
            f"{path}: not a {', '.join(formats[:-1])} or {formats[-1]} file ({size} bytes), "
            "whatever its name says; download or export it again"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: {error}; make it smaller, or check where the file comes from") from None
    except DECODER_ERRORS as error:
        raise DataError(f"{path}: cannot be decoded ({error}); download or export it again") from error


def _labels_of_colours(path, rgb, num_classes, palette):
    """(H, W, 3) uint8 colours -> (H, W) uint8 labels."""
    palette = voc_colour_map() if palette is None else palette
    labels = np.append(np.arange(num_classes), IGNORE_INDEX)
    # np.unique keeps the first of equal colours, so that a class wins over a void that shares its colour.
    known, first = np.unique(_colour_codes(palette[labels]), return_index=True)
    codes = _colour_codes(rgb)
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    unknown = known[place] != codes
    if unknown.any():
        row, column = _first(unknown)
        raise DataError(
            f"{path}: colour {tuple(rgb[row, column].tolist())} at pixel (row {row}, column {column}) "
            f"is not the colour of any of the {num_classes} classes nor of void; was the mask anti-aliased, "
            "resized or drawn with another palette? Export it as a palette (mode P) PNG"
        )
    return labels[first].astype(np.uint8)[place]


def _colour_codes(rgb):
    r, g, b = np.moveaxis(rgb.astype(np.int32), -1, 0)
    return r << 16 | g << 8 | b


def _first(where):
    row, column = np.unravel_index(where.argmax(), where.shape)
    return int(row), int(column)


def _likely_cause(value, num_classes, mode):
    if value == num_classes:
        return f"Is a class name missing, or does {value} mean void here? Then store void as {IGNORE_INDEX}."
    if mode == "L":
        return "Were colours saved as grey levels, or was the mask anti-aliased or resized with bilinear?"
    return "Are class names missing, or was the mask anti-aliased or resized with bilinear?"
