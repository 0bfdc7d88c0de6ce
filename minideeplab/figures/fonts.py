"""Which font can draw a text: names of classes and files are in the script of whoever labelled the images."""

import functools
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

FIRST = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")  # comes with matplotlib
TOO_MANY_FONTS = 400  # to look into; more would take seconds


@functools.lru_cache(1000)
def sized_font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """A font for Pillow that has all characters of a text, or the usual one; `size` in pixels."""
    return ImageFont.truetype(font_file(text) or FIRST, size)


def families_for(texts: Iterable[str]) -> list[str]:
    """Families of fonts for matplotlib, the usual one first, which together have all characters that can be drawn."""
    files = dict.fromkeys([FIRST, *filter(None, map(font_file, texts))])
    return [FT2Font(file).family_name for file in files]


def drawable(text: str, instead: str | None = None) -> str:
    """The text if there is a font for it; otherwise `instead`, or the text with "?" for what no font has."""
    if font_file(text):
        return text
    return instead or "".join(character if font_file(character) else "?" for character in text)


def drawable_names(class_names: Iterable[str]) -> list[str]:
    """Names of the classes; the number of the label where no font has the characters of a name."""
    return [drawable(name, f"class {label}") for label, name in enumerate(class_names)]


@functools.lru_cache(4096)
def font_file(text: str) -> str | None:
    """The first file of a font that has all characters of a text; None if no installed font has them."""
    needed = np.array(sorted({ord(character) for character in text if not character.isspace()}), np.uint32)
    return next((file for file in _files() if np.isin(needed, _characters(file)).all()), None)


@functools.cache
def _files() -> list[str]:
    """Files of fonts: the usual one, then the upright ones of normal weight, then others."""
    installed = sorted(
        fontManager.ttflist, key=lambda font: (font.style != "normal", font.weight not in (400, "normal"))
    )
    files = [font.fname for font in installed if "LastResort" not in font.fname]  # which has a box for everything
    return list(dict.fromkeys([FIRST, *files]))[:TOO_MANY_FONTS]


@functools.cache
def _characters(file: str) -> np.ndarray:
    """Code points of a font; none of one that cannot be read."""
    try:
        return np.fromiter(FT2Font(file).get_charmap(), np.uint32)
    except (OSError, RuntimeError):
        return np.zeros(0, np.uint32)
