"""Claims that a notebook computes in front of the reader, and answers that the reader tries."""

import ast
import html
import inspect
import linecache
import textwrap
from collections.abc import Callable

import numpy as np

from minideeplab.teach.style import BLUE, RED

CHECK = "application/vnd.minideeplab.check+json"  # beside the text in a notebook: what CI compares
ATTEMPT = "application/vnd.minideeplab.attempt+json"
_FIRST = "Have all cells above run, in order? If so, what was changed in them, or the claim, is wrong."
SHOWN = 6  # values of an array that are shown one by one
_MARKS = {True: BLUE, False: RED, None: "#767676"}  # colour of the bar beside a line


def check(claim: str, value, expected=True, tolerance: float = 0.0) -> None:
    """Asserts a claim and shows it with the number that was found.

    Args:
        claim: a short sentence, the same in every run.
        value: a number, a bool, a string or an array; expected: what it must be, of the same shape.
        tolerance: largest |value - expected|, in the unit of the value.

    Raises:
        AssertionError: the claim is wrong here; the message has both numbers.
    """
    found, wanted = np.asarray(value), np.asarray(expected)
    if found.shape != wanted.shape:
        raise AssertionError(f"{claim}: shape {found.shape}, expected {wanted.shape}. {_FIRST}")
    far = None
    if all(np.issubdtype(a.dtype, np.number) for a in (found, wanted)):
        with np.errstate(invalid="ignore"):  # inf - inf
            far = float(np.abs(_wide(found) - _wide(wanted)).max(initial=0))
    holds = far <= tolerance if far is not None and tolerance else bool((found == wanted).all())  # False for NaN
    said = _shown(found)
    if found.size > SHOWN and far is not None:
        said += f", the largest difference is {far:.1e}"
    if not holds:
        allowed = f" within {tolerance:g}" if tolerance else ""
        wish = _shown(wanted) if found.size <= SHOWN else "others"
        raise AssertionError(f"{claim}: found {said}, expected {wish}{allowed}. {_FIRST}")
    number = None if found.ndim else _as_json(value)
    _say(f"check: {claim}: {said}" if said != "True" else f"check: {claim}", True,
         {CHECK: {"claim": claim, "value": number, "tolerance": _as_json(tolerance)}})  # fmt: skip


def attempt(number: int, answer, claim: Callable[[], bool | str]) -> None:
    """Tries the reader's answer to an exercise. Nothing is raised: a wrong answer is a step, not an error.

    Args:
        number: of the exercise in its notebook.
        answer: what the reader fills in: a value, a function, or several in a tuple. It is open as long as a `...` is
            left in it; one in an index, as in `x[..., 0]`, counts as filled in.
        claim: called without arguments; returns True, or a sentence that says what is wrong.
    """
    found = None if _is_open(answer) else _tried(claim, answer)
    state = "open" if found is None else "right" if found is True else "wrong"
    helps = f"hint({number}) helps"
    said = {"open": f"not filled in yet; {helps}", "right": "right", "wrong": f"not yet: {found or helps}"}[state]
    good = {"open": None, "right": True, "wrong": False}[state]
    _say(f"exercise {number}: {said}", good, {ATTEMPT: {"number": number, "state": state}})


def _is_open(answer):
    if isinstance(answer, (tuple, list)):
        return any(map(_is_open, answer))
    if answer is ...:
        return True
    if not inspect.isfunction(answer) and not inspect.isclass(answer):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    except (OSError, TypeError, SyntaxError):  # without a text, or a lambda in the middle of a call
        return False
    indices = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Subscript) for part in ast.walk(node.slice)}
    return any(isinstance(n, ast.Constant) and n.value is ... and id(n) not in indices for n in ast.walk(tree))


def _tried(claim, answer):
    """True, False, a sentence, or None where what the reader's function calls is not filled in."""
    try:
        result = claim()
        if result is ... or result is None:
            return None
        return result if isinstance(result, str) else bool(np.all(result))
    except Exception as error:  # of the reader's code
        if "ellipsis" in str(error).lower():
            return None
        if "NoneType" in str(error) and inspect.isfunction(answer):
            return "your function gives None: is `return` missing?"
        return f"{type(error).__name__}: {error}{_where(error, answer)}"


def _where(error, answer):
    """The line of the reader's own code, outside which library code may have failed."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    lines, step = [], error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename == file and code.co_name != "<lambda>":
            lines.append(linecache.getline(file, step.tb_lineno).strip())
        step = step.tb_next
    return f", in the line  {lines[-1]}" if lines and lines[-1] else ""


def _as_json(value):
    """As JupyterLab would write it, too, so that saving changes nothing: a whole number has no point."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _wide(values):
    """Differences of unsigned and of small integers wrap around."""
    return values if np.iscomplexobj(values) else values.astype(np.float64)


def _shown(values):
    return ", ".join(map(_number, values.ravel())) if values.size <= SHOWN else f"{values.size} values"


def _number(value):
    value = value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _say(text, good, data):
    """A line with a coloured bar in a notebook, a line of text elsewhere."""
    from minideeplab.cli.notebook import in_notebook

    if not in_notebook():
        print(text)
        return
    from IPython.display import display

    bar = f"border-left: 4px solid {_MARKS[good]}; padding-left: 8px; margin: 2px 0"
    display({"text/plain": text, "text/html": f'<div style="{bar}">{html.escape(text)}</div>', **data}, raw=True)
