"""Where things lie: the project, real data beside it where they are present, and the commands of the README."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def readme_commands(mark: str) -> list[str]:
    """The commands in the README's block below `<!-- mark -->`, continued lines joined."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").split(f"<!-- {mark} -->\n```bash\n")[1].split("```")[0]
    return block.replace("\\\n", " ").splitlines()
