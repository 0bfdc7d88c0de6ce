"""Claims that a notebook computes in front of the reader, and answers that the reader tries."""

import html
from collections.abc import Callable

import numpy as np

CHECK = "application/vnd.minideeplab.check+json"  # beside the text in a notebook: what CI compares
ATTEMPT = "application/vnd.minideeplab.attempt+json"
_MARKS = {True: "#0072b2", False: "#d55e00", None: "#767676"}  # colour of the bar beside a line


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
        raise AssertionError(f"{claim}: shape {found.shape}, expected {wanted.shape}")
    is_number = all(np.issubdtype(a.dtype, np.number) for a in (found, wanted))
    if not is_number:
        holds, said = bool((found == wanted).all()), str(value) if found.ndim == 0 else f"{found.size} values"
    else:
        far = float(np.abs(found - wanted).max(initial=0))
        holds = far <= tolerance  # False for NaN
        said = _number(value) if found.ndim == 0 else f"{found.size} values, the largest difference is {far:.1e}"
    if not holds:
        allowed = f" within {tolerance:g}" if tolerance else ""
        raise AssertionError(f"{claim}: found {said}, expected {_number(expected)}{allowed}")
    number = value.item() if hasattr(value, "item") and found.ndim == 0 else value if found.ndim == 0 else None
    _say(f"check: {claim}: {said}" if said != "True" else f"check: {claim}", True,
         {CHECK: {"claim": claim, "value": number, "tolerance": tolerance}})  # fmt: skip


def attempt(number: int, answer, claim: Callable[[], bool | str]) -> None:
    """Tries the reader's answer to an exercise. Nothing is raised: a wrong answer is a step, not an error.

    Args:
        number: of the exercise in its notebook.
        answer: what the reader fills in; `...` as long as nothing is filled in, for a function: one that returns `...`.
        claim: called without arguments; returns True, or a sentence that says what is wrong.
    """
    found = None if answer is ... else _tried(claim)
    state = "open" if found is None else "right" if found is True else "wrong"
    helps = f"hint({number}) helps"
    said = {"open": f"not filled in yet; {helps}", "right": "right", "wrong": f"not yet: {found or helps}"}[state]
    good = {"open": None, "right": True, "wrong": False}[state]
    _say(f"exercise {number}: {said}", good, {ATTEMPT: {"number": number, "state": state}})


def _tried(claim):
    """True, False, a sentence, or None where the reader's function returns `...`."""
    try:
        result = claim()
    except Exception as error:  # of the reader's code, or because it still gives `...`
        if "ellipsis" in str(error).lower():
            return None
        return f"{type(error).__name__}: {error}"
    if result is ... or result is None:
        return None
    return result if isinstance(result, str) else bool(result)


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
