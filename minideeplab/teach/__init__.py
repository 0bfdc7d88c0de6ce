"""What only teaching needs: claims that are checked, tables, photographs, small trained networks, drawings of ideas.

The notebooks in `tutorials/` import it; nothing else does. matplotlib is imported when something is drawn.
"""

from minideeplab.teach.bins import bins_of, draw_bins, pooled
from minideeplab.teach.claims import attempt, check
from minideeplab.teach.closeups import draw_closeups
from minideeplab.teach.images import classes, photograph, sample
from minideeplab.teach.lesson import begin, hint
from minideeplab.teach.networks import trained
from minideeplab.teach.style import BLACK, BLUE, CYCLE, GREEN, GREY, ORANGE, PINK, RED, SKY, YELLOW, panels, show
from minideeplab.teach.tables import table

__all__ = [
    "BLACK",
    "BLUE",
    "CYCLE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PINK",
    "RED",
    "SKY",
    "YELLOW",
    "attempt",
    "begin",
    "bins_of",
    "check",
    "classes",
    "draw_bins",
    "draw_closeups",
    "hint",
    "panels",
    "photograph",
    "pooled",
    "sample",
    "show",
    "table",
    "trained",
]
