"""The index of the folder's README: each file is there, and has the symbols."""

import re

from places import ROOT

from minideeplab import models

FOLDER = ROOT / "minideeplab" / "models"


def test_each_question_leads_to_a_file_and_a_symbol():
    rows = re.findall(
        r"^\| [^|]+\? \| `([^`]+)` \| ([^|]+) \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 10
    for file, symbols in rows:
        text = (FOLDER / file).read_text("utf-8")
        for symbol in re.findall("`([^`]+)`", symbols):
            assert re.search(rf"\b{symbol}\b", text), (file, symbol)


def test_the_first_page_counts_the_networks():
    assert f"| {len(models.NAMES)} networks; " in (ROOT / "README.md").read_text("utf-8")
