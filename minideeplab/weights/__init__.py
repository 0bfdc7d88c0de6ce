"""Files that hold trained weights."""

from minideeplab.weights.checkpoint import Checkpoint, fit_state, initialise

__all__ = ["Checkpoint", "fit_state", "initialise"]
