"""The house: what stands at its root, and which package may import which, as minideeplab/README.md draws it."""

import ast
import re

import pytest
from places import ROOT

HOUSE = ROOT / "minideeplab"
README = (HOUSE / "README.md").read_text(encoding="utf-8")
ARROWS = {
    name: set(below.replace(",", " ").split()) - {"nothing"}
    for name, below in re.findall(r"(?m)^ {4}(\w+) +<- +(.+?)(?: {2,}.*)?$", README)
}


CRF_COMMANDS = {"__main__.py", "search.py", "gallery.py", "accuracy.py"}


def room(path):
    """The package, or at the root the file, that a path belongs to; the commands of crf are a room of their own."""
    parts = path.relative_to(HOUSE).parts
    return "crf_commands" if parts[0] == "crf" and parts[1] in CRF_COMMANDS else parts[0].removesuffix(".py")


def imports(path):
    """Rooms of minideeplab, and `kernels`, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, *rest = name.split(".")
            if top == "kernels":
                found.add("kernels")
            elif top == "minideeplab" and rest:
                found.add(rest[0])
    return found


def rooms():
    return sorted({room(path) for path in HOUSE.rglob("*.py")} - {"__init__"})


def test_packages_and_commands_alone_stand_at_the_root():
    files = {path.name for path in HOUSE.iterdir() if path.is_file()}
    commands = {"evaluate.py", "predict.py", "summary.py", "inspect_data.py"}
    assert files == {"__init__.py", "__main__.py", "README.md", "errors.py"} | commands


def test_the_drawing_has_every_room():
    assert set(ARROWS) == set(rooms())


@pytest.mark.parametrize("name", rooms())
def test_imports_follow_the_arrows(name):
    found = set()
    for path in HOUSE.rglob("*.py"):
        if room(path) == name:
            found |= imports(path) - {name}
    assert found == ARROWS[name]


def test_arrows_lead_up_the_drawing():
    """So that there is no circle."""
    above = {"kernels"}
    for name, imported in ARROWS.items():
        assert imported <= above, f"{name} imports {sorted(imported - above)}, which stand below it"
        above.add(name)


def test_kernels_know_nothing_of_minideeplab():
    for path in (ROOT / "kernels").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(module.split(".")[0] == "minideeplab" for module in modules), path
