"""The pictures that commands write. No window system, no global state of pyplot."""

from minideeplab.figures.canvas import picture_name, save_picture
from minideeplab.figures.colours import colours_of
from minideeplab.figures.costs import save_costs
from minideeplab.figures.labels import (
    image_score,
    overlay_picture,
    save_comparison,
    save_overlay,
    save_refinements,
    save_sample,
    score_text,
)
from minideeplab.figures.rates import save_rates
from minideeplab.figures.sheet import Shares, save_class_shares, save_contact_sheet
from minideeplab.figures.training import save_confusion, save_curves

__all__ = [
    "Shares",
    "colours_of",
    "image_score",
    "overlay_picture",
    "picture_name",
    "save_class_shares",
    "save_comparison",
    "save_confusion",
    "save_contact_sheet",
    "save_costs",
    "save_curves",
    "save_overlay",
    "save_picture",
    "save_rates",
    "save_refinements",
    "save_sample",
    "score_text",
]
