"""The files that a run keeps for its page, read again: where one is damaged, the page goes without it."""

from pathlib import Path

from minideeplab.files.records import read_json

_TEXTS = {"id": str, "photo": str, "truth": str, "score": str, "labels": str, "percent": str}
_SIZES = {"height": int, "width": int, "step": int}
SCENE = {name: _TEXTS[name] for name in ("id", "photo", "truth")} | _SIZES
ANSWER = {name: _TEXTS[name] for name in ("score", "labels", "percent")}


def scenes(path: Path) -> list[dict]:
    """samples.json; [] where there is none."""
    return _all(read_json(path, list), SCENE) or []


def answers(path: Path) -> list[dict]:
    """epoch-N.json; [] where there is none."""
    return _all(read_json(path, list), ANSWER) or []


def best(path: Path, epochs: list[int]) -> dict | None:
    """best.json, if it is of one of these epochs; None where there is none."""
    found = read_json(path) or {}
    if type(found.get("epoch")) is not int or found["epoch"] not in epochs:
        return None
    known = _is_matrix(found.get("confusion")) and _all(found.get("worst"), SCENE | ANSWER) is not None
    return found if known else None


def arguments(path: Path) -> dict:
    """args.json: its tables, and the number of parameters; {} where there is none."""
    found = read_json(path) or {}
    tables = {name: found[name] for name in ("arguments", "model", "versions") if isinstance(found.get(name), dict)}
    parameters = found.get("parameters")
    return tables | ({"parameters": parameters} if type(parameters) is int else {})


def _all(items, kinds: dict) -> list[dict] | None:
    """The list, if each item has these values; or None."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    fit = all(type(item.get(name)) is kind for item in items for name, kind in kinds.items())
    return items if fit else None


def _is_matrix(rows) -> bool:
    """Whether they are square, of counts."""
    return isinstance(rows, list) and all(
        isinstance(row, list)
        and len(row) == len(rows)
        and all(type(count) is int and 0 <= count < 2**53 for count in row)
        for row in rows
    )
