"""A list file as the data set: one `image mask` pair a line, paths relative to the list.

If the list is called train.txt, its siblings val.txt and test.txt are the other splits. The class list lies beside it.
"""

from pathlib import Path

from minideeplab.data.classes import find_class_list, found_classes, palette_of
from minideeplab.data.lists import file_of, is_file, is_pair_list, pairs_by_id
from minideeplab.data.pairs import PairedFiles
from minideeplab.data.splits import ALIASES, USUAL, require_split
from minideeplab.errors import DataError

SUFFIXES = (".txt", ".csv", ".tsv", ".lst")


def why_list(data: str | Path) -> str | None:
    """Whether it is a text file, by its suffix."""
    path = Path(data)
    return f"{path.name} is a list file" if path.suffix.lower() in SUFFIXES and is_file(path) else None


def splits(data: str | Path) -> tuple[str, ...]:
    """The lists beside this one that are called as splits are."""
    path = Path(data)
    names = tuple(_lists(path))
    return names if path.stem in USUAL or {"train", "val"} & {*names} else ()


def open_list(data: str | Path, split: str | None) -> PairedFiles:
    """One split, or all pairs of the list; the classes of the list beside it, or those that the masks hold."""
    path = Path(data)
    if not is_file(path):
        raise DataError(f"{path}: no such list file; write one `image mask` pair per line")
    root = path.parent
    lists = _lists(path)
    if split is not None:
        require_split(path, split, tuple(lists))
        path = lists[split]
    files = pairs_by_id(path, lambda listed: file_of(root, listed), lambda image: _id(image, root))
    classes, notes = find_class_list(root), ()
    masks = tuple(mask for _, mask in files.values())
    if classes:
        names = classes.names
    else:  # of all lists, so that each split has the same classes
        others = [pair for each in lists.values() for pair in _masks(each)]
        names, note = found_classes(root, tuple(dict.fromkeys([*masks, *others])))
        notes = (note,)
    return PairedFiles(
        root.resolve().name if Path(data).stem in USUAL else Path(data).stem,
        root, split or "all", tuple(files), names, palette_of(root, classes, masks), notes=notes, files=files,
    )  # fmt: skip


def _lists(path: Path) -> dict[str, Path]:
    """{split: its list}, of the lists beside this one and of itself."""
    siblings = {ALIASES.get(name, name): path.with_name(f"{name}{path.suffix}") for name in reversed(USUAL)}
    return {name: each for name, each in siblings.items() if is_file(each) and is_pair_list(each)}


def _masks(path):
    root = path.parent
    return [mask for _, mask in pairs_by_id(path, lambda listed: file_of(root, listed), str).values()]


def _id(image: Path, root: Path) -> str:
    """The path within the folder of the list; of an image elsewhere its last two parts."""
    bare = image.with_suffix("")
    inside = bare.is_relative_to(root) and ".." not in bare.relative_to(root).parts
    return (bare.relative_to(root) if inside else Path(*bare.parts[-2:])).as_posix()
