"""The READMEs: short, their links lead somewhere, and the index of questions names what exists."""

import ast
import re

import pytest
from PIL import Image
from places import ROOT, readme_commands
from scenes import scene, write_scenes

README = (ROOT / "README.md").read_text(encoding="utf-8")
READMES = [
    path for path in ROOT.rglob("README.md") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
INDEX = re.findall(r"(?m)^\| (.+?) \| (\[.+?) \| (`.+?) \|$", README)  # (question, files, symbols)
QUESTIONS = (
    "1-D",
    "batch norm",
    "double",
    "image-level",
    "poly",
    "void",
    "mean-field",
    "separable",
    "receptive",
    "checkpoint",
    "loss",
)


def symbols(path):
    """Names that a file defines: functions, classes, constants, and Class.member."""
    found = set()

    def collect(body, prefix):
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    collect(node.body, f"{prefix}{node.name}.")
            for target in getattr(node, "targets", [getattr(node, "target", None)]):
                if isinstance(target, ast.Name):
                    found.add(prefix + target.id)

    collect(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def test_the_readme_is_read_at_one_sitting():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_of_the_index_names_file_and_symbol(question):
    rows = [row for row in INDEX if question in row[0]]
    assert rows, f"the index has no row on {question!r}"
    for _, files, names in rows:
        files, names = re.findall(r"\]\((.+?)\)", files), re.findall(r"`(.+?)`", names)
        assert (1 <= len(files) <= 2 and len(names) == len(files)) or len(files) == 1
        defined = [symbols(ROOT / file) for file in files]
        for i, name in enumerate(names):
            assert name in defined[min(i, len(files) - 1)], f"{files[min(i, len(files) - 1)]} has no {name}"


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{path}: {target}"
        if anchor:
            heads = re.findall(r"(?m)^#+ (.+)$", linked.read_text(encoding="utf-8"))
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, (
                f"{path}: {target}"
            )


def examples():
    """The blocks of Python of the README, in order."""
    return re.findall(r"(?s)```python\n(.*?)```", README)


def test_the_example_of_own_photographs_runs(tmp_path, monkeypatch, capsys):
    """With a tiny network, and a run of one step."""
    write_scenes(tmp_path / "photos", train=[scene(0), scene(1)], val=[scene(2)])
    (tmp_path / "holiday").mkdir()
    Image.fromarray(scene(3)[0]).save(tmp_path / "holiday" / "sea.png")
    monkeypatch.chdir(tmp_path)
    tiny = 'out="runs/photos", steps=1, crop_size=33, batch_size=2, width=0.125, head_width=8'
    names = {}
    exec(examples()[0].replace('out="runs/photos"', tiny), names)
    assert (tmp_path / "runs" / "photos" / "best.npz").exists() and 0 <= names["scores"].mean_iou <= 1
    assert "sea.png" in capsys.readouterr().out.splitlines()[-1]
    assert names["found"].labels.shape == names["found"].probabilities.shape[:2] == scene(3)[1].shape


def test_the_example_of_the_readme_runs():
    code = examples()[1]
    assert len(code.splitlines()) <= 10 and code.rstrip().splitlines()[-1].startswith("loss.backward()")
    names = {}
    exec(code, names)
    assert all(p.grad is not None for p in names["model"].parameters())


def test_the_commands_of_the_readme_are_found():
    assert readme_commands("main job")[-1].split()[1:3] == ["-m", "minideeplab.train"]
    assert readme_commands("tests")[-1].endswith("-m pytest -q")
