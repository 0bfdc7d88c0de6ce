"""What only teaching needs: claims that are checked, tables, photographs, small trained networks, drawings of ideas.

The notebooks in `tutorials/` import it; nothing else does. matplotlib is imported when something is drawn.
"""

from minideeplab.teach import paper_tables
from minideeplab.teach.bills import draw_bars, draw_gaps, draw_interlaced, draw_landscape
from minideeplab.teach.bins import bins_of, draw_bins, pooled
from minideeplab.teach.claims import attempt, check
from minideeplab.teach.closeups import draw_closeups
from minideeplab.teach.connections import bridges, connections, draw_connections, draw_ladder
from minideeplab.teach.fields import draw_chain, footprint, half_side
from minideeplab.teach.graphs import draw_graph, graph, walk_back
from minideeplab.teach.images import classes, photograph, sample
from minideeplab.teach.labels import coloured, draw_labels, draw_losses, draw_numbers
from minideeplab.teach.lattices import draw_lattice, kernel_picture
from minideeplab.teach.lesson import begin, hint
from minideeplab.teach.listing import beside, multiply_adds, ptx_of
from minideeplab.teach.machine import (
    draw_blocks,
    draw_fragment,
    draw_offsets,
    draw_owners,
    draw_sectors,
    draw_slab,
    draw_tile,
    fragments,
    sectors,
)
from minideeplab.teach.networks import trained
from minideeplab.teach.style import BLACK, BLUE, CYCLE, GREEN, GREY, ORANGE, PINK, RED, SKY, YELLOW, panels, show
from minideeplab.teach.tables import table
from minideeplab.teach.taps import draw_frames, draw_overlap, draw_row, draw_taps, taps, valid_tap_share
from minideeplab.teach.traces import draw_trace
from minideeplab.teach.training import draw_confusion, draw_curves, draw_key

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
    "beside",
    "bins_of",
    "bridges",
    "check",
    "classes",
    "coloured",
    "connections",
    "draw_bars",
    "draw_bins",
    "draw_blocks",
    "draw_chain",
    "draw_closeups",
    "draw_confusion",
    "draw_connections",
    "draw_curves",
    "draw_fragment",
    "draw_frames",
    "draw_gaps",
    "draw_graph",
    "draw_interlaced",
    "draw_key",
    "draw_labels",
    "draw_ladder",
    "draw_landscape",
    "draw_lattice",
    "draw_losses",
    "draw_numbers",
    "draw_offsets",
    "draw_overlap",
    "draw_owners",
    "draw_row",
    "draw_sectors",
    "draw_slab",
    "draw_taps",
    "draw_tile",
    "draw_trace",
    "footprint",
    "fragments",
    "graph",
    "half_side",
    "hint",
    "kernel_picture",
    "multiply_adds",
    "panels",
    "paper_tables",
    "photograph",
    "pooled",
    "ptx_of",
    "sample",
    "sectors",
    "show",
    "table",
    "taps",
    "trained",
    "valid_tap_share",
    "walk_back",
]
