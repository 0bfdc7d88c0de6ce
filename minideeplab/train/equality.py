"""What must stay the same so that a resumed run ends with the numbers of an uninterrupted one."""

import json
from pathlib import Path

from minideeplab.files.records import read_json
from minideeplab.files.whole import write_text

EXAMPLES = 3


def write_data(path: Path, *datasets) -> None:
    """data.json: classes, and the ids of each split; OSError where it cannot be written."""
    splits = [{"split": each.split, "ids": list(each.ids)} for each in datasets]
    write_text(path, json.dumps({"classes": list(datasets[0].class_names), "splits": splits}) + "\n")


def data_changes(path: Path, *datasets) -> str:
    """What became other than data.json says, in words; "" where the file cannot tell."""
    before = read_json(path) or {}
    changes = []
    classes, names = before.get("classes"), list(datasets[0].class_names)
    if isinstance(classes, list) and classes != names:
        changes.append(_class_changes(classes, names))
    splits = before.get("splits")
    for dataset, split in zip(datasets, splits if isinstance(splits, list) else [], strict=False):
        ids = split.get("ids") if isinstance(split, dict) else None
        if isinstance(ids, list) and ids != list(dataset.ids) and all(isinstance(each, str) for each in ids):
            changes.append(_id_changes(dataset.split, ids, list(dataset.ids)))
    return "; ".join(changes)


def program_changes(args_json: Path, began: dict, arguments: dict, versions: dict, ranks: int = 1) -> list[str]:
    """What computes otherwise than when the run began: the last digits may differ from there on.

    Args:
        args_json: of the run, which names the versions.
        began, arguments: of the run as it began, and now.
        versions: of the packages now; ranks: that train now.
    """
    changes = [
        f"--{name} {arguments[name]} (began with {began[name]})"
        for name in ("device", "precision")
        if began.get(name) is not None and began[name] != arguments[name]
    ]
    stored = read_json(args_json) or {}
    then, before = stored.get("ranks", 1), stored.get("versions")
    if type(then) is int and then != ranks:
        changes.append(f"{ranks} ranks (began with {then})".replace("1 ranks", "1 rank"))
    for package, version in versions.items():
        then = before.get(package) if isinstance(before, dict) else None
        if isinstance(then, str) and then != version:
            changes.append(f"{package} {version} (began with {then[:40]})")
    return changes


def _class_changes(before: list, now: list[str]) -> str:
    if len(before) != len(now):
        return f"there were {len(before)} classes, and are {len(now)}"
    label = next(label for label, name in enumerate(now) if name != before[label])
    return f"label {label} was {str(before[label])[:80]!r}, and is {now[label]!r}"


def _id_changes(split: str, before: list[str], now: list[str]) -> str:
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    if not gone and not new:
        return f"split {split!r} has its images in another order"
    words = [f"{len(ids)} {what} ({_some(ids)})" for ids, what in ((gone, "gone"), (new, "new")) if ids]
    return f"split {split!r} had {len(before)} images, and has {len(now)}: {', '.join(words)}"


def _some(ids: list[str]) -> str:
    return ", ".join([*ids[:EXAMPLES], *(["..."] if len(ids) > EXAMPLES else [])])
