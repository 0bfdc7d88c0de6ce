"""The notebooks as they are committed: what a reader, and the folder that holds them, may expect of each.

What they compute is tried by `python tutorials/build.py --check`, which runs them.
"""

import importlib.util
import json
import re

import pytest
from PIL import Image
from places import ROOT

from minideeplab.teach.claims import ATTEMPT, CHECK
from minideeplab.teach.lesson import hints

FOLDER = ROOT / "tutorials"
TEXTS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
LARGEST = 400_000  # bytes of a notebook
LONGEST = 25  # lines of code in a cell
SHOWN = {"display_data", "execute_result", "update_display_data"}


def cells(path):
    """The cells of a notebook as JSON."""
    return json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]


def text_of(cell):
    return "".join(cell["source"])


def code(path):
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def outputs(path):
    return [output for cell in code(path) for output in cell["outputs"]]


def anchors(path):
    """What a link into a file may name."""
    if path.suffix == ".ipynb":
        words = "\n".join(text_of(cell) for cell in cells(path) if cell["cell_type"] == "markdown")
    else:
        words = path.read_text(encoding="utf-8")
    heads = re.findall(r"(?m)^#+ (.+)$", words)
    return {head.replace(" ", "-") for head in heads} | {
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads
    }


each_notebook = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)


def test_all_fifteen_are_there_and_in_the_index():
    assert [int(path.name[:2]) for path in TEXTS] == list(range(15))
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\[(\d\d) (.+?)\]\((\d\d_\w+)\.ipynb\)", index)
    assert [stem for _, _, stem in linked] == [path.stem for path in TEXTS]
    minutes = re.findall(r"\| (\d+) \| [^|]+ \|\n", index)
    for path, (number, title, _), time in zip(TEXTS, linked, minutes, strict=True):
        beginning = text_of(cells(path)[0])
        assert beginning.startswith(f"# {number} {title}\n")
        assert re.search(rf"about\s+{time}\s+minutes\.", beginning), f"{path.stem}: the index says {time} minutes"


@pytest.mark.parametrize("kind", ["*.ipynb", "answers/*.py"])
def test_nothing_lies_beside_its_text(kind):
    found = {path.stem for path in FOLDER.glob(kind) if re.match(r"\d\d_", path.name)}
    assert found == {path.stem for path in TEXTS}


@each_notebook
def test_text_and_notebook_agree(path):
    for package in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} belongs to the extra `tutorials`")
    spec = importlib.util.spec_from_file_location("tutorials_build", FOLDER / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    wanted = [(cell.cell_type, cell.source) for cell in build.notebook_of(path).cells]
    assert [(cell["cell_type"], text_of(cell)) for cell in cells(path)] == wanted, (
        f"{path.stem} was not made from its text: python tutorials/build.py {path.name[:2]}"
    )


@each_notebook
def test_a_notebook_is_light(path):
    assert path.with_suffix(".ipynb").stat().st_size <= LARGEST


@each_notebook
def test_every_cell_has_run_once_and_in_order(path):
    assert [cell["execution_count"] for cell in code(path)] == list(range(1, len(code(path)) + 1))


@each_notebook
def test_no_output_is_an_error_or_a_warning(path):
    for output in outputs(path):
        assert output["output_type"] in SHOWN or output.get("name") == "stdout", output
        assert "\\u001b[" not in json.dumps(output)


@each_notebook
def test_no_output_is_a_value_that_nobody_wanted_to_show(path):
    """A result without a look of its own: the last line of a cell returned something by the way."""
    for output in outputs(path):
        assert output.get("data", {}).keys() != {"text/plain"}, output["data"]


@each_notebook
def test_no_output_names_a_folder_of_a_machine(path):
    said = json.dumps([{k: v for k, v in o.get("data", o).items() if k != "image/png"} for o in outputs(path)])
    found = re.search(r"(?<![\w.<])/(home|root|tmp|work|Users|usr|opt|var|private|mnt)/|[A-Z]:\\\\", said)
    assert not found, said[found.start() - 60 : found.end() + 60]


@each_notebook
def test_cells_are_short(path):
    for cell in code(path):
        assert len(text_of(cell).strip().splitlines()) <= LONGEST, text_of(cell)


@each_notebook
def test_the_beginning(path):
    first, *_ = cells(path)
    assert first["cell_type"] == "markdown" and text_of(first).startswith(f"# {path.name[:2]} ")
    assert f"teach.begin({int(path.name[:2])}" in text_of(code(path)[0])


@each_notebook
def test_claims_are_computed(path):
    claims = [output["data"][CHECK]["claim"] for output in outputs(path) if CHECK in output.get("data", {})]
    assert len(set(claims)) >= 5


@each_notebook
def test_something_is_to_be_seen(path):
    pictures = sum("image/png" in output.get("data", {}) for output in outputs(path))
    assert pictures >= 4


@each_notebook
def test_two_exercises_are_open_and_have_answers_and_hints(path):
    tried = [output["data"][ATTEMPT] for output in outputs(path) if ATTEMPT in output.get("data", {})]
    assert tried == [{"number": n, "state": "open"} for n in range(1, len(tried) + 1)] and len(tried) >= 2
    answers = FOLDER / "answers" / path.name
    given = hints(answers)
    assert set(given) == {each["number"] for each in tried} and all(given.values())
    assert len(re.findall(r"(?m)^# %%", answers.read_text(encoding="utf-8"))) == len(given)


@each_notebook
def test_links_lead_somewhere(path):
    words = "\n".join(text_of(cell) for cell in cells(path) if cell["cell_type"] == "markdown")
    words = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$", "", words, flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", words):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path.with_suffix(".ipynb")
        assert linked.is_relative_to(ROOT) and linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@each_notebook
def test_the_picture_of_the_index(path):
    picture = FOLDER / "pictures" / f"{path.name[:2]}.png"
    assert picture.stat().st_size <= 40_000
    with Image.open(picture) as image:
        assert 200 <= image.width <= 400 and 120 <= image.height <= 300
