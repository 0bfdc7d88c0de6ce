"""Splits of sets that have none, or that lack a part for validation; and those that lie in files or folders."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from minideeplab.data.lists import is_pair_list, read_ids, read_pairs
from minideeplab.errors import DataError
from minideeplab.files.whole import write_text

VAL_SHARE = 0.2
SEED = 0
FOLDER = "splits"
# names of folders and files that mean a split, and the name by which it is asked for
ALIASES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
USUAL = ("train", "val", "trainval", "test", *ALIASES)


class Found(NamedTuple):
    """Splits that a folder holds.

    Attributes:
        where: in words, for messages.
        parts: name of a split -> its file, or its ids; empty if the folder has no splits.
    """

    where: str
    parts: dict[str, Path | tuple[str, ...]]


def hold_out(ids: Sequence[str], share: float) -> dict[str, tuple[str, ...]]:
    """ids -> {"train": ids, "val": ids}, at random, and always the same.

    The order of `ids` does not matter, and a new image moves hardly any other: an id goes by its own hash. `share`
    of them, at least one and not all, are for validation. Both parts are sorted.
    """
    drawn = sorted(ids, key=lambda name: hashlib.sha256(f"{SEED} {name}".encode()).digest())
    count = min(max(1, round(share * len(drawn))), len(drawn) - 1)
    return {"train": tuple(sorted(drawn[count:])), "val": tuple(sorted(drawn[:count]))}


def write_down(folder: Path, parts: dict[str, tuple[str, ...]]) -> str:
    """Writes SPLIT.txt for each part, and says so; a folder that cannot be written is no error."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, ids in sorted(parts.items(), reverse=True):  # train.txt, which makes the split count, last
            write_text(folder / f"{split}.txt", "".join(f"{name}\n" for name in ids))
    except OSError as error:
        return f"not written down, as {folder} cannot be written ({error.strerror})"
    return f"written to {folder} ({' and '.join(f'{split}.txt' for split in parts)})"


def find_splits(root: Path, ids: Sequence[str]) -> Found:
    """Split files in ROOT/splits or ROOT itself, or else the first folder of the ids: train/x, val/y."""
    for folder in (root / FOLDER, root):
        files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        files = [path for path in files if folder != root or path.stem in USUAL]
        if files:
            return Found(str(folder), {ALIASES.get(path.stem, path.stem): path for path in files})
    parts: dict[str, tuple[str, ...]] = {}
    for name in ids:
        folder, slash, _ = name.partition("/")
        if not slash or folder not in USUAL:
            return Found(str(root), {})
        split = ALIASES.get(folder, folder)
        parts[split] = (*parts.get(split, ()), name)
    return Found(f"the folders of {root}", parts)


def ids_of(found: Found, split: str, ids: Sequence[str]) -> tuple[str, ...]:
    """The ids of one split, of all the `ids` that the set has.

    A line of a split file may also have the suffix of the image and its folder, and the mask behind it.

    Raises:
        DataError: no such split, or its file cannot be read.
    """
    require_split(found.where, split, tuple(found.parts))
    part = found.parts[split]
    if isinstance(part, tuple):
        return part
    known = set(ids)
    names = [image for _, image, _ in read_pairs(part)] if is_pair_list(part) else read_ids(part)
    return tuple(dict.fromkeys(_known(name, known) for name in names))


def require_split(where: str | Path, split: str, there: Sequence[str]) -> None:
    """Refuses a split that is not there.

    Raises:
        DataError: with the splits that are there, and an offer to hold out a share of the training images.
    """
    if split not in there:
        exist = f"the splits here are: {', '.join(sorted(there))}" if there else "there are no splits at all"
        offer = ""
        if split == "val" and "train" in there:
            offer = f"; --val-share {VAL_SHARE} holds out 20 % of the images of 'train'"
        raise DataError(f"{where}: no such split: {split!r}; {exist}{offer}")


def _known(name: str, known: set[str]) -> str:
    """An id as the set calls its image, if it has one."""
    written = (name, name.replace("\\", "/"))  # on Windows, or with a backslash that belongs to the name
    bare = (form.rpartition(".")[0] for form in written)
    forms = [*written, *bare]
    forms += [form.partition("/")[2] for form in forms]
    return next((form for form in forms if form in known), name)
