"""A sheet to draw on: text is drawn as it stands, and the file is there as a whole or not at all."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from minideeplab.figures.fonts import families_for
from minideeplab.files.names import file_name
from minideeplab.files.whole import written_whole


@contextmanager
def drawing(
    path: str | Path,
    size: tuple[float, float],
    dpi: int = 110,
    texts: Iterable[str] = (),
    layout: str = "constrained",
    **options,
) -> Iterator[Figure]:
    """A figure that is written to `path` (.png) when the block ends without an error.

    Names of classes and files are the users' own: a "$" in them is a "$", not the beginning of a formula.

    Args:
        size: inches, (width, height); dpi: pixels an inch; texts: what may need other fonts than the usual one, such
            as names of classes; layout: of `Figure`; options: of `Figure.savefig`.
    """
    style = {"text.parse_math": False, "font.family": families_for(texts)}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")  # a box in a picture is no news
        figure = Figure(figsize=size, layout=layout)
        FigureCanvasAgg(figure)
        yield figure
        with written_whole(path) as file:
            figure.savefig(file, dpi=dpi, format="png", **options)


def add_legend(figure: Figure, entries: Sequence[tuple[str, Sequence[float]]], columns: int, fontsize: float) -> None:
    """Names with their colours, RGB in 0..1, below a figure: whatever a name begins with."""
    patches = [Patch(facecolor=colour, edgecolor="#808080", linewidth=0.5) for _, colour in entries]
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": fontsize}
    legend = figure.legend(patches, [name.lstrip("_") or "-" for name, _ in entries], **place)
    for text, (name, _) in zip(legend.get_texts(), entries, strict=True):
        text.set_text(name)  # not at once: a legend leaves out names that begin with "_"


def save_picture(path: str | Path, picture: Image.Image) -> None:
    """Writes a picture as PNG, in full or not at all."""
    with written_whole(path) as file:
        picture.save(file, format="PNG")


def picture_name(sample: str) -> str:
    """The name of the picture of a sample, another one for each id; see `file_name`."""
    return f"{file_name(sample)}.png"
