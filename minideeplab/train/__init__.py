"""Training: `python -m minideeplab.train --help`."""

from minideeplab.train.command import main

__all__ = ["main"]
