"""Files that hold trained weights."""

from minideeplab.weights.checkpoint import Checkpoint, fit_state
from minideeplab.weights.pretrained import load_pretrained, save_torchvision_npz, torchvision_arrays
from minideeplab.weights.pytorch_writer import write_pytorch
from minideeplab.weights.start import initialise
from minideeplab.weights.trained import Trained, load_trained

__all__ = [
    "Checkpoint",
    "Trained",
    "fit_state",
    "initialise",
    "load_pretrained",
    "load_trained",
    "save_torchvision_npz",
    "torchvision_arrays",
    "write_pytorch",
]
