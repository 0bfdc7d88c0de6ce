"""Photographs: every image that a network sees comes through here."""

from pathlib import Path

import numpy as np
from PIL import ImageOps

from minideeplab.data.decoder import opened
from minideeplab.errors import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
# Names of image files, for data sets and commands alike, in any case; of two files the earlier suffix is taken.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, DNG_VERSION = 254, 258, 262, 50706  # tags of TIFF
ORIENTATION = 0x0112  # tag of EXIF
UPRIGHT = (None, 1)  # its values that leave the image as it is stored
QUARTER_TURNS = (5, 6, 7, 8)  # its values that swap height and width


def read_image(path: str | Path) -> np.ndarray:
    """Decode an image of any common kind (grey, palette, CMYK, alpha, 16 bit) to RGB.

    The EXIF orientation is applied, as viewers and labelling tools do; transparency is dropped. Of a file with
    several pages the first is read. Of 16 bits the upper 8 are kept: the whole range of the samples becomes 0..255,
    whatever part of it an image uses, so that the images of a set stay comparable.

    Args:
        path: a JPEG, PNG, BMP, WEBP or TIFF file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: the file is missing, no regular file, truncated, too large or not an image, or its pixels have 32
            bits.
    """
    with opened(path, IMAGE_FORMATS) as image:
        bits, white_is_zero = _samples(path, image)
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
            grey = (np.asarray(image).astype(np.int64) >> bits - 8).clip(0, 255).astype(np.uint8)
            return np.repeat((255 - grey if white_is_zero else grey)[..., None], 3, axis=2)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def orientation(path: str | Path) -> int | None:
    """How EXIF turns an image: 1..8, see UPRIGHT and QUARTER_TURNS; None if it does not; errors as of `read_image`."""
    with opened(path, IMAGE_FORMATS) as image:
        return image.getexif().get(ORIENTATION)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image as `read_image` gives it, from its header; errors as there."""
    with opened(path, IMAGE_FORMATS) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(ORIENTATION) in QUARTER_TURNS else (height, width)


def _samples(path, image):
    """Bits of a grey sample that is deeper than 8 bits, and whether 0 is white, which Pillow minds for 8 bits only."""
    if image.format != "TIFF":
        return 16, False
    if image.mode in ("F", "I"):  # of any range: Pillow would clip it at 0 and 255
        raise DataError(f"{path}: a TIFF file whose pixels are 32-bit numbers; export it with 8 bits a channel")
    if DNG_VERSION in image.tag_v2 or image.tag_v2.get(NEW_SUBFILE_TYPE, 0) & 1:
        raise DataError(
            f"{path}: a raw photograph, of which only the small preview could be read; develop it and export it as JPEG"
        )
    return image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0], image.tag_v2.get(PHOTOMETRIC) == 0
