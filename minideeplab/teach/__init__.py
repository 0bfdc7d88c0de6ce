"""What only teaching needs: claims that are checked, tables, photographs, small trained networks, drawings of ideas.

The notebooks in `tutorials/` import it; nothing else does. matplotlib is imported when something is drawn.
"""

from minideeplab.teach import paper_tables
from minideeplab.teach.bills import draw_bars, draw_gaps, draw_interlaced, draw_landscape
from minideeplab.teach.claims import attempt, check
from minideeplab.teach.connections import bridges, connections, draw_connections, draw_ladder
from minideeplab.teach.fields import draw_chain, footprint, half_side
from minideeplab.teach.images import classes, photograph, sample
from minideeplab.teach.lesson import begin, hint
from minideeplab.teach.networks import trained
from minideeplab.teach.style import BLACK, BLUE, CYCLE, GREEN, GREY, ORANGE, PINK, RED, SKY, YELLOW, panels, show
from minideeplab.teach.tables import table
from minideeplab.teach.traces import draw_trace

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
    "bridges",
    "check",
    "classes",
    "connections",
    "draw_bars",
    "draw_chain",
    "draw_connections",
    "draw_gaps",
    "draw_interlaced",
    "draw_ladder",
    "draw_landscape",
    "draw_trace",
    "footprint",
    "half_side",
    "hint",
    "panels",
    "paper_tables",
    "photograph",
    "sample",
    "show",
    "table",
    "trained",
]
