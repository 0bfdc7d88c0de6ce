"""Training: `python -m minideeplab.train --help`, and `train_step` for whoever writes a loop of their own."""

from minideeplab.train.step import train_step

__all__ = ["train_step"]
