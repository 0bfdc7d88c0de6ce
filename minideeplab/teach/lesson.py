"""The first cell of a notebook, and its hints."""

import re
from pathlib import Path

from minideeplab.errors import UsageError
from minideeplab.teach.style import apply_style

_lesson = None  # number of the notebook that runs, such as "02"


def begin(number: int, threads: int | None = None) -> None:
    """Says which notebook this is, for its hints, and sets the look of its pictures.

    Args:
        number: of the notebook, 0 to 14; threads: for the kernels, all cores if None.
    """
    global _lesson
    _lesson = f"{number:02d}"
    apply_style()
    if threads:
        import numba

        numba.set_num_threads(threads)


def tutorials() -> Path:
    """The folder of the notebooks: the working one, `tutorials` in it, or the one of the clone.

    Raises:
        UsageError: no such folder.
    """
    for folder in (Path.cwd(), Path.cwd() / "tutorials", Path(__file__).parents[2] / "tutorials"):
        if (folder / "answers").is_dir():
            return folder
    raise UsageError("no folder with notebooks and answers: run it in the folder `tutorials` of a clone")


def hint(number: int) -> None:
    """Prints the hint on an exercise of this notebook; the answer stands below it in the same file.

    Raises:
        UsageError: `begin` has not run, or the notebook has no answers.
    """
    if _lesson is None:
        raise UsageError("run the first cell of the notebook: it says which notebook this is")
    for path in sorted((tutorials() / "answers").glob(f"{_lesson}_*.py")):
        found = hints(path)
        if number in found:
            print(f"{found[number]}\nThe answer: answers/{path.name}")
        else:
            known = " and ".join(map(str, found))
            print(f"Notebook {_lesson} has the exercises {known}: hint(1), not hint({number!r})")
        return
    raise UsageError(f"notebook {_lesson} has no answers in {tutorials() / 'answers'}")


def hints(path: Path) -> dict[int, str]:
    """Number of each exercise that a file answers -> the comment at the top of its answer."""
    found = re.findall(r"(?m)^# %% exercise (\d+)\n((?:#(?: (?!%%).*)?\n)+)", path.read_text(encoding="utf-8"))
    return {int(number): re.sub(r"(?m)^# ?", "", text).rstrip() for number, text in found}
