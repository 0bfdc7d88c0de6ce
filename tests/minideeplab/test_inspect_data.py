"""The command that looks at a data set: its table, its sheet, its exit codes."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from voc_folder import make_set

from minideeplab import inspect_data
from minideeplab.data import open_dataset, write_mask, write_synthetic


def test_inspect_data_counts_the_classes_and_draws_a_sheet(tmp_path, capsys):
    root = make_set(tmp_path / "tiles", names=("sea", "land", "sand", "snow"))
    write_mask(root / "SegmentationClass/a.png", np.full((6, 8), 255, np.uint8))
    assert inspect_data.main(["--data", str(root), "--out", str(tmp_path / "out/sheet.png")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0", "sea", "0.00", "0", "never", "occurs"] in rows
    assert ["1", "land", "50.00", "1"] in rows
    assert any(row[:4] == ["255", "void", "33.33", "1"] for row in rows)
    assert min(Image.open(tmp_path / "out/sheet.png").size) > 100


@pytest.mark.parametrize("name", ["sheet.txt", "", "class_names.txt/sheet.png"])
def test_inspect_data_refuses_a_sheet_that_cannot_be_written(tmp_path, capsys, name):
    write_synthetic(tmp_path, train=1, val=1)
    assert inspect_data.main(["--data", str(tmp_path), "--out", str(tmp_path / name)]) == 2
    assert "--out" in capsys.readouterr().err


def test_inspect_data_ends_with_the_exit_code_for_data(tmp_path, capsys):
    assert inspect_data.main(["--data", str(tmp_path / "nowhere")]) == 3
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_classes_that_never_occur_are_warned_of(tmp_path, capsys):
    root = make_set(tmp_path / "tiles", ["a"], ("sea", "land"), masks=[[[0, 255]]])
    assert inspect_data.main(["--data", str(root)]) == 0
    assert "warning: split 'train' has no pixel of 1 of 2 classes, which cannot be learnt: 'land' (1)" in (
        capsys.readouterr().out
    )


def test_the_void_of_the_data_set_is_no_class(tmp_path):
    ds = open_dataset(make_set(tmp_path / "tiles", ["a"], ("nothing", "land"), masks=[[[0, 1, 1, 1]]]))
    rows = [line.split() for line in inspect_data.class_table(dataclasses.replace(ds, ignore_index=0).check())]
    assert rows[1:] == [["1", "land", "100.00", "1"], ["0", "void", "25.00", "1", "(%", "of", "all", "pixels)"]]


def test_names_and_ids_are_drawn_as_they_stand(tmp_path, monkeypatch):
    drawn, savefig = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **more: drawn.append(self) or savefig(self, *args, **more)
    )
    root = make_set(tmp_path / "tiles", ["$a_$", "b"], ("notes $5_$10", "_under"), masks=[[[0, 1]], [[1, 1]]])
    assert inspect_data.main(["--data", str(root), "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").exists()
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["notes $5_$10", "_under", "void"]
    assert [axes.get_title() for axes in drawn[0].axes][:2] == ["$a_$", "b"]
