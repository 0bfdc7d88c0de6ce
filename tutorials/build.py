"""Makes the notebooks from their text: `python build.py` runs NN_title.py and writes NN_title.ipynb with its outputs.

    python build.py                 all of them
    python build.py 02 07           two of them
    python build.py --check         runs each in a fresh kernel, compares its checked numbers with the committed ones,
                                    then tries the answers in the same kernel; writes nothing
    python build.py --pictures DIR  also writes each picture that a notebook shows, to be looked at

The text is the source: a cell begins with `# %%`, one of words with `# %% [markdown]`.
"""

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

try:
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
except ImportError as error:
    raise SystemExit(f"{error}; the notebooks need: pip install -e '.[tutorials]', in the root of the clone") from None

from minideeplab.teach.claims import ATTEMPT, CHECK
from minideeplab.teach.images import FOLDER

HERE = Path(__file__).resolve().parent
LARGEST = 400_000  # bytes of a notebook
CELL_SECONDS = 300
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
TRIAL = re.compile(r"(?:teach\.)?attempt\(\s*(\d+),")
ANSWER = re.compile(r"(?m)^# %% exercise (\d+)\n")


class Wrong(Exception):
    """A notebook that is not as it must be."""


def sources(numbers):
    """The texts, in order; all if no number is given."""
    found = {path.name[:2]: path for path in sorted(HERE.glob("[0-9][0-9]_*.py"))}
    wanted = {number.zfill(2) for number in numbers} or set(found)
    if unknown := wanted - set(found):
        print(f"no notebook {', '.join(sorted(unknown))}; there are {', '.join(found)}", file=sys.stderr)
        sys.exit(2)
    return [path for number, path in found.items() if number in wanted]


def notebook_of(source):
    """The cells of a text, without outputs."""
    notebook = jupytext.read(source, fmt="py:percent")
    # As JupyterLab writes it: a notebook that is only opened stays as it is. It is not paired with its text: what a
    # reader fills in does not belong there.
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": LANGUAGE}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"  # the same in every build
    return notebook


def run(source, answers=()):
    """Runs a text in a fresh kernel; `answers` are cells that follow it in the same kernel."""
    notebook = notebook_of(source)
    count = len(notebook.cells)
    notebook.cells += [nbformat.v4.new_code_cell(text) for text in answers]
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=["--log-level=ERROR"],  # it warns of its own sockets
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise Wrong(f"{source.name}: a cell fails\n{error}") from None
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise Wrong(f"{source.name}: a cell warns\n{cell.source}\n--\n{output['text']}")
    answered = notebook.cells[count:]
    notebook.cells = notebook.cells[:count]
    for attempt in shown(notebook.cells, ATTEMPT):
        if attempt["state"] != "open":
            number, state = attempt["number"], attempt["state"]
            raise Wrong(f"{source.name}: exercise {number} is {state!r} before anybody has filled it in")
    return notebook, answered


def exercises(source, notebook):
    """Cells that answer the exercises: the answer, then the notebook's own trial of it."""
    trials = {}
    for cell in notebook.cells:
        if found := TRIAL.match(cell.source):
            trials.setdefault(int(found[1]), []).append(cell.source)
    path = HERE / "answers" / source.name
    _, *parts = ANSWER.split(path.read_text(encoding="utf-8")) if path.is_file() else [""]
    answers = dict(zip(map(int, parts[::2]), parts[1::2], strict=True))
    for number in sorted(trials.keys() | answers.keys()):
        if number not in answers:
            raise Wrong(f"{source.name}: answers/{source.name} has no exercise {number}")
        if len(trials.get(number, [])) != 1:
            raise Wrong(f"{source.name}: not one cell begins with attempt({number}, ...), which is answered")
    return [answers[number] + "\n" + trials[number][0] for number in sorted(answers)]


def shown(cells, mime):
    """What the outputs of cells hold of one kind, in order."""
    return [o.data[mime] for cell in cells for o in cell.get("outputs", []) if mime in o.get("data", {})]


def tidied(notebook):
    """Without what differs from run to run, and with small pictures."""
    count = 0
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
        for output in cell.get("outputs", []):
            if "execution_count" in output:
                output.execution_count = count
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _small(output.data["image/png"])
                output.data.pop("text/plain", None)
                output.metadata = {}
    return notebook


def _small(text):
    """A PNG in base64, of 256 colours where that is smaller."""
    picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    versions = []
    for version in (picture, picture.quantize(256, dither=Image.Dither.NONE)):
        file = io.BytesIO()
        version.save(file, "PNG", optimize=True)
        versions.append(file.getvalue())
    return base64.b64encode(min(versions, key=len)).decode()


def build(source):
    """Runs a text and writes its notebook."""
    notebook, _ = run(source)
    text = nbformat.writes(tidied(notebook)) + "\n"
    for folder in (HERE.parent, Path.home(), Path(tempfile.gettempdir())):
        if f"{folder}{os.sep}" in text:
            raise Wrong(f"{source.name}: an output names a folder of this machine, {folder}")
    if len(text.encode()) > LARGEST:
        raise Wrong(
            f"{source.name}: {len(text.encode()):,} bytes, more than {LARGEST:,}: draw fewer or smaller pictures"
        )
    source.with_suffix(".ipynb").write_text(text, encoding="utf-8")
    return notebook


def check(source):
    """Runs a notebook as its reader does; compares what it claims; tries the answers."""
    path = source.with_suffix(".ipynb")
    if not path.is_file():
        raise Wrong(f"{path.name} is missing: python build.py {source.name[:2]}")
    committed = nbformat.read(path, as_version=4)
    if [cell.source for cell in committed.cells] != [cell.source for cell in notebook_of(source).cells]:
        raise Wrong(f"{path.name} is older than its text: python build.py {source.name[:2]}")
    answers = exercises(source, committed)
    notebook, answered = run(source, answers)
    before, now = shown(committed.cells, CHECK), shown(notebook.cells, CHECK)
    claims = [[claim["claim"] for claim in side] for side in (before, now)]
    if claims[0] != claims[1]:
        raise Wrong(f"{path.name}: it claims {claims[1]}, the committed one {claims[0]}")
    for was, found in zip(before, now, strict=True):
        if not _same(was["value"], found["value"], found["tolerance"]):
            raise Wrong(f"{path.name}: {found['claim']}: {found['value']}, committed is {was['value']}")
    states = [attempt["state"] for attempt in shown(answered, ATTEMPT)]
    if states != ["right"] * len(answers):
        said = [o.data["text/plain"] for c in answered for o in c.outputs if ATTEMPT in o.get("data", {})]
        raise Wrong("\n".join([f"answers/{source.name}: not every answer is right", *said]))
    return notebook


def _same(one, other, tolerance):
    """Whether a number is the committed one; nothing is kept of an array, which its own claim has compared."""
    if isinstance(one, bool) or not isinstance(one, (int, float)):
        return one == other
    return abs(one - other) <= 2 * tolerance  # both may lie at an end


def write_pictures(notebook, name, folder):
    """A PNG for each picture: NAME_CELL_OUTPUT.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(notebook.cells):
        for i, output in enumerate(cell.get("outputs", [])):
            if "image/png" in output.get("data", {}):
                (folder / f"{name}_{number:02d}_{i}.png").write_bytes(base64.b64decode(output.data["image/png"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="which notebooks; all if none is named")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a claim or an answer does")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write the pictures here, too")
    args = parser.parse_args()
    os.environ.pop(FOLDER, None)  # committed outputs show nobody's own photographs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave the core to the notebook
    os.environ["PYTHONWARNINGS"] = "default"
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a warning of the kernel's debugger
    failed = 0
    for source in sources(args.numbers):
        began = time.perf_counter()
        try:
            notebook = check(source) if args.check else build(source)
        except Wrong as wrong:
            failed += 1
            print(f"{wrong}\n{source.stem}: FAILED", file=sys.stderr)
            continue
        seconds, claims = time.perf_counter() - began, len(shown(notebook.cells, CHECK))
        pictures = sum("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))
        size = source.with_suffix(".ipynb").stat().st_size
        print(f"{source.stem}: {seconds:.0f} s, {size / 1000:.0f} kB, {claims} claims, {pictures} pictures", flush=True)
        if args.pictures:
            write_pictures(tidied(notebook), source.stem, args.pictures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
