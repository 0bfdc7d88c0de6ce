"""Fonts for users' names: whatever the script, a name is drawn in a font that has its signs, or is replaced."""

import functools
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

DEFAULT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"  # comes with Matplotlib
BOXES = "LastResort"  # a font of Matplotlib's that has a box for every sign


@functools.lru_cache(maxsize=1000)
def font_for(text: str) -> Path | None:
    """The file of a font that has all signs of a text, DejaVu Sans or one of this machine; None if there is none.

    Cost: a look-up; for a text beyond DejaVu Sans a look into each font of the machine, once for a text.
    """
    signs = frozenset(map(ord, text)) - {ord(" ")}
    if signs <= _signs_of(DEFAULT):
        return DEFAULT
    for path in sorted({Path(font.fname) for font in font_manager.fontManager.ttflist}):
        if BOXES not in path.name and signs <= _signs_of(path):
            return path
    return None


def drawable(text: str, otherwise: str) -> tuple[str, Path]:
    """(text, its font), or `otherwise` where no font of this machine has the signs of the text."""
    font = font_for(text)
    return (text, font) if font else (otherwise, DEFAULT)


@functools.cache
def _signs_of(path: Path) -> frozenset[int]:
    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (OSError, RuntimeError):  # a font that was removed, or that FreeType cannot read
        return frozenset()
