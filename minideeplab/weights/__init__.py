"""Files that hold trained weights."""

from minideeplab.weights.checkpoint import Checkpoint, fit_state
from minideeplab.weights.pretrained import load_pretrained, save_torchvision_npz
from minideeplab.weights.start import initialise

__all__ = ["Checkpoint", "fit_state", "initialise", "load_pretrained", "save_torchvision_npz"]
