"""Where things lie: the project, and real data beside it where they are present."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
