"""What the CRF's README says: its example, its tables, and the symbols that it names."""

import dataclasses
import importlib
import re

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from refine_cases import IMAGE, TRUTH, noisy_labels
from strategies import SIMULATED

from minideeplab.crf import PRESETS, accuracy, refine
from minideeplab.crf.presets import NORMALISATIONS, Preset

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
FOLDER = ROOT / "minideeplab" / "crf"
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")


def table(head):
    """The cells of the rows of the table whose first cell in the head is this."""
    lines = TEXT.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |")) + 2
    end = next(i for i, line in enumerate(lines[first:], first) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:end]]


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(IMAGE).save("photo.jpg")
    Image.fromarray(noisy_labels()).save("mask.png")
    names = {}
    exec(re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1], names)
    np.testing.assert_array_equal(names["sharper"], refine(noisy_labels(), np.asarray(Image.open("photo.jpg"))))
    assert (names["sharper"] != TRUTH).sum() < (noisy_labels() != TRUTH).sum()


def test_every_file_and_symbol_is_there():
    rows = table("question")
    assert len(rows) > 10
    for _, files, symbols in rows:
        for file in re.findall(r"`(.+?)`", files):
            path = (FOLDER / file).resolve().relative_to(ROOT)
            module = importlib.import_module(".".join(path.with_suffix("").parts))
            for symbol in re.findall(r"`(.+?)`", symbols):
                home = module
                for part in symbol.split("."):
                    home = getattr(home, part)
                if callable(home):
                    assert home.__module__ == module.__name__, f"{symbol} is not of {file}"


def test_links_to_files_of_the_project_lead_somewhere():
    links = [link for link in re.findall(r"\]\((.+?)\)", TEXT) if not link.startswith("http")]
    assert links and all((FOLDER / link).is_file() for link in links)


def test_presets_and_normalisations_are_those_of_the_table():
    rows = {name.strip("`"): [*smooth.split(", "), *looks.split(", "), *last.split(", ")]
            for name, smooth, looks, last in table("preset")}  # fmt: skip
    fields = ("smooth_weight", "smooth_sxy", "bilateral_weight", "sxy", "srgb", "iterations", "normalisation")
    assert sorted(fields) == sorted(field.name for field in dataclasses.fields(Preset))
    assert rows == {name: [str(getattr(each, field)) for field in fields] for name, each in PRESETS.items()}
    assert [row[0].strip("`") for row in table("`normalisation`")] == list(NORMALISATIONS)


@pytest.mark.long
def test_the_table_of_accuracy_is_what_its_command_prints(capsys):
    assert accuracy.main([]) == 0
    printed = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert printed[2:] == table("features")
