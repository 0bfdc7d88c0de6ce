"""Whether what CI runs finds what is wrong with a notebook: tiny ones, each with one fault."""

import importlib.util
import json
import re

import pytest
from places import ROOT

for package in ("jupytext", "nbclient", "ipykernel"):
    pytest.importorskip(package, reason=f"{package} belongs to the extra `tutorials`")

TEXT = """\
# %% [markdown]
# # 00 Tiny

# %%
from minideeplab.teach import attempt, check

# %%
check("one and one", 1 + 1, 2)
check("nearly a half", 0.5, 0.5, 0.01)

# %%
x = ...
def double(x):
    return ...

# %%
attempt(1, x, lambda: x == 3)

# %%
attempt(2, double, lambda: double(2) == 4 or "twice two is not four")
"""
ANSWER = """\
# %% exercise 1
# Count.
x = 3

# %% exercise 2
# Add it to itself.
def double(x):
    return x + x
"""


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("tutorials_build", ROOT / "tutorials" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path, build, monkeypatch):
    """A folder of one tiny notebook, as it was built before."""
    (tmp_path / "answers").mkdir()
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    write(tmp_path, TEXT)
    (tmp_path / "answers" / "00_tiny.py").write_text(ANSWER)
    return tmp_path


def write(folder, text):
    (folder / "00_tiny.py").write_text(text)
    return folder / "00_tiny.py"


@pytest.fixture(scope="module")
def built(build, tmp_path_factory):
    """The tiny notebook as JSON, with its outputs."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "HERE", folder)
        patch.setenv("PYTHONPATH", str(ROOT))
        build.build(write(folder, TEXT))
    return json.loads((folder / "00_tiny.ipynb").read_text())


def commit(folder, notebook):
    (folder / "00_tiny.ipynb").write_text(json.dumps(notebook))


def changed(notebook, before, after):
    text = json.dumps(notebook)
    assert before in text
    return json.loads(text.replace(before, after))


def test_what_is_built_holds_claims_and_open_exercises(build, built):
    cells = [cell for cell in built["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4, 5]
    data = [output["data"] for cell in cells for output in cell["outputs"]]
    claims = [each[build.CHECK] for each in data if build.CHECK in each]
    assert [(each["claim"], each["value"]) for each in claims] == [("one and one", 2), ("nearly a half", 0.5)]
    assert [each[build.ATTEMPT]["state"] for each in data if build.ATTEMPT in each] == ["open", "open"]


def test_a_good_notebook_passes_although_a_number_moved_within_its_tolerance(build, folder, built):
    commit(folder, changed(built, '"value": 0.5', '"value": 0.515'))
    build.check(folder / "00_tiny.py")


@pytest.mark.parametrize("before, after, complaint", [
    ('"value": 0.5', '"value": 0.53', "nearly a half: 0.5, committed is 0.53"),
    ('"claim": "one and one"', '"claim": "two and two"', "it claims .*one and one.*, the committed one .*two and two"),
    ("x = ...", "x = 4", "older than its text"),
])  # fmt: skip
def test_a_committed_notebook_that_is_not_what_runs(build, folder, built, before, after, complaint, monkeypatch):
    import nbformat

    now = build.nbformat.reads(json.dumps(built), as_version=4)
    right = nbformat.v4.new_output("display_data", {build.ATTEMPT: {"number": 1, "state": "right"}})
    answered = [nbformat.v4.new_code_cell("", outputs=[right])] * 2
    monkeypatch.setattr(build, "run", lambda source, answers: (now, answered))
    commit(folder, changed(built, before, after))
    with pytest.raises(build.Wrong, match=complaint):
        build.check(folder / "00_tiny.py")


def test_a_notebook_that_was_never_made(build, folder):
    with pytest.raises(build.Wrong, match=r"00_tiny\.ipynb is missing: python build.py 00"):
        build.check(folder / "00_tiny.py")


def test_a_wrong_answer_is_told_with_what_it_says(build, folder, built):
    commit(folder, built)
    (folder / "answers" / "00_tiny.py").write_text(ANSWER.replace("x + x", "x * x * x"))
    with pytest.raises(build.Wrong, match="not every answer is right\nexercise 1: right\nexercise 2: not yet: twice"):
        build.check(folder / "00_tiny.py")


@pytest.mark.parametrize("text, complaint", [
    ("# %% exercise 1\n# Count.\nx = 3\n", "has no exercise 2"), (None, "has no exercise 1"),
    (ANSWER + "# %% exercise 3\n# More.\ny = 1\n", r"not one cell begins with attempt\(3"),
])  # fmt: skip
def test_exercises_and_answers_belong_together(build, folder, built, text, complaint):
    commit(folder, built)
    path = folder / "answers" / "00_tiny.py"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(build.Wrong, match=complaint):
        build.check(folder / "00_tiny.py")


@pytest.mark.parametrize("cell, complaint", [
    ("import warnings; warnings.warn('old')", "a cell warns.*old"),
    ("import pathlib; print(pathlib.Path.cwd() / 'x')", "names a folder of this machine"),
    ("check('a claim', 3, 4)", "a cell fails.*a claim: found 3, expected 4"),
    ("x = 3\nattempt(1, x, lambda: x == 3)", "exercise 1 is 'right' before anybody has filled it in"),
])  # fmt: skip
def test_what_must_not_be_committed_is_not_written(build, folder, cell, complaint):
    source = write(folder, f"# %%\nfrom minideeplab.teach import attempt, check\n{cell}\n")
    with pytest.raises(build.Wrong, match=re.compile(complaint, re.S)):
        build.build(source)
    assert not source.with_suffix(".ipynb").exists()


def test_a_heavy_notebook_is_not_written(build, folder, monkeypatch):
    heavy = build.nbformat.v4.new_notebook(cells=[build.nbformat.v4.new_markdown_cell("x" * build.LARGEST)])
    monkeypatch.setattr(build, "run", lambda source: (heavy, []))
    with pytest.raises(build.Wrong, match="draw fewer or smaller pictures"):
        build.build(folder / "00_tiny.py")


def test_pictures_are_kept_small_without_a_visible_change(build):
    import base64
    import io

    import numpy as np
    from PIL import Image

    ramp = np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(64, axis=0)
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    small = base64.b64decode(build._small(base64.b64encode(file.getvalue()).decode()))
    assert len(small) <= len(file.getvalue())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(small)).convert("RGB")), ramp)


def test_numbers_choose_notebooks(build, folder, capsys):
    assert [path.name for path in build.sources([])] == [path.name for path in build.sources(["00"])] == ["00_tiny.py"]
    assert [path.name for path in build.sources(["0"])] == ["00_tiny.py"]
    with pytest.raises(SystemExit, match="2"):
        build.sources(["7"])
    assert "no notebook 07; there are 00" in capsys.readouterr().err


def test_the_command_names_each_failure_and_goes_on(build, folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["build.py", "--check"])
    assert build.main() == 1
    assert capsys.readouterr().err.endswith("00_tiny.ipynb is missing: python build.py 00\n00_tiny: FAILED\n")
