"""The index of the folder's README: each file is there, and has the symbols."""

import re

from places import ROOT

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
