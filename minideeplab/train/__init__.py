"""Training: `python -m minideeplab.train --help`."""

from minideeplab.train.command import main
from minideeplab.train.step import train_step

__all__ = ["main", "train_step"]
