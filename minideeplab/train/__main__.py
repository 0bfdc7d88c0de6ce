"""Trains a network: `python -m minideeplab.train --help`."""

import sys

from minideeplab.train.command import main

if __name__ == "__main__":
    sys.exit(main())
