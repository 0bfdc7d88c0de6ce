"""The first cell, the folder of the notebooks, hints."""

import matplotlib
import pytest

import kernels
from minideeplab.errors import UsageError
from minideeplab.teach import begin, hint, lesson, style

ANSWERS = """\
# %% exercise 1
# The last tap reads x[i + (k - 1) r].
#
# Count the positions between.
span = 5
# not a part of the hint

# %% exercise 2
# One line.
# %%
x = 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "02_holes.py").write_text(ANSWERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lesson, "_lesson", None)
    with matplotlib.rc_context():
        yield tmp_path


def test_hints_are_the_comments_above_the_answer(folder, capsys):
    begin(2)
    hint(1)
    hint(2)
    assert capsys.readouterr().out == (
        "The last tap reads x[i + (k - 1) r].\n\nCount the positions between.\nThe answer: answers/02_holes.py\n"
        "One line.\nThe answer: answers/02_holes.py\n"
    )


def test_hints_are_found_from_the_folder_above(folder, monkeypatch, capsys):
    folder.rename(folder.with_name("tutorials"))
    monkeypatch.chdir(folder.parent)
    begin(2)
    hint(2)
    assert capsys.readouterr().out.startswith("One line.")


def test_a_hint_needs_the_first_cell(folder):
    with pytest.raises(UsageError, match="run the first cell"):
        hint(1)


@pytest.mark.parametrize("exercise", [3, "1"])
def test_no_such_exercise(folder, capsys, exercise):
    begin(2)
    hint(exercise)
    assert capsys.readouterr().out == f"Notebook 02 has the exercises 1 and 2: hint(1), not hint({exercise!r})\n"


def test_a_notebook_without_answers(folder):
    begin(3)
    with pytest.raises(UsageError, match="notebook 03 has no answers"):
        hint(1)


def test_without_a_clone_the_message_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lesson, "__file__", str(tmp_path / "site-packages" / "minideeplab" / "teach" / "lesson.py"))
    with pytest.raises(UsageError, match="in the folder `tutorials` of a clone"):
        lesson.tutorials()


def test_begin_sets_look_and_threads(folder):
    before = kernels.num_threads()
    try:
        begin(0, threads=1)
        assert kernels.num_threads() == 1
    finally:
        kernels.set_num_threads(before)
    assert matplotlib.rcParams["image.interpolation"] == "nearest"
    assert [cycle["color"] for cycle in matplotlib.rcParams["axes.prop_cycle"]] == list(style.CYCLE)


def test_images_stand_side_by_side(folder):
    import matplotlib.pyplot as plt
    import numpy as np

    style.show([np.zeros((4, 6)), np.zeros((4, 6, 3)), np.ones((2, 2))], ["one", "two"], columns=2)
    axes = plt.gcf().axes
    assert [a.get_title() for a in axes] == ["one", "two", "", ""] and not any(a.axison for a in axes)
    plt.close("all")


def test_panels_are_as_wide_as_the_page(folder):
    import matplotlib.pyplot as plt

    assert style.panels(2, 3, 1.5).shape == (2, 3)
    assert plt.gcf().get_size_inches().tolist() == [style.WIDTH, 3.0]
    assert style.panels(1, 1).get_title() == ""
    plt.close("all")
