"""What the READMEs of the kernels say runs, and what they name exists."""

import importlib
import re

import pytest
from places import ROOT

import kernels

READMES = sorted((ROOT / "kernels").rglob("README.md"))


def test_the_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "kernels" / "README.md").read_text(encoding="utf-8"), re.S)
    exec(code, {})
    error, macs = capsys.readouterr().out.split()
    assert float(error) < 1e-4 and int(macs) == 65 * 65 * 9 * 16 * 32


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_links_lead_to_files(path):
    links = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert links and [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("name", [n for names in kernels.CONTRACT.values() for n in names if "_grad" in n])
def test_every_gradient_has_its_formula_in_the_reference(name):
    """An equation that says what the result is, or the file that has it."""
    (file,) = (file for file, names in kernels.CONTRACT.items() if name in names)
    docstring = getattr(importlib.import_module(f"kernels.reference.{file}"), name).__doc__
    assert re.search(r"grad_x|grad_w|grad_gamma|grad\[i, k\]|kernels/activation\.py", docstring)
