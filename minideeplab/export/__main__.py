"""Writes a trained network for other programs: `python -m minideeplab.export --help`."""

import sys

from minideeplab.export.command import main

if __name__ == "__main__":
    sys.exit(main())
