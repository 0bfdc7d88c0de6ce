"""Text files of data sets: lines, lists of ids, lists of `image mask` pairs, and paths that another machine wrote."""

import re
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from minideeplab.data.images import IMAGE_SUFFIXES
from minideeplab.errors import DataError

MAX_BYTES = 50_000_000
MAX_LINE = 8_300  # characters: two paths of the longest kind that systems take

_FILE = rf".+?\.(?:{'|'.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})"
_PAIR = re.compile(rf"""["']?({_FILE})["']?[\s,;]+(?![\s,;])["']?({_FILE})["']?\s*[,;]?""", re.IGNORECASE)


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file in UTF-8, without the spaces around them.

    Raises:
        DataError: no such file, not an ordinary one, larger than 50 MB, not UTF-8, or a line that no list has.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: not an ordinary file; give a text file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes, more than the {MAX_BYTES:,} of any list; is it the right file?")
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError(f"{path}: not readable as UTF-8 text ({error}); save it as plain text") from error
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE or not line.replace("\t", " ").isprintable():
            what = f"{len(line)} characters" if len(line) > MAX_LINE else "control characters"
            raise DataError(f"{path}, line {number}: {what}, which no list has; save it as plain text")
    return lines


def read_ids(path: Path, otherwise: str = "") -> tuple[str, ...]:
    """The ids that a split file lists, one a line, in the order of the file.

    Args:
        path: of the file.
        otherwise: end of the message about an empty file.

    Raises:
        DataError: the file is missing, empty or not text, or an id is unsafe or there twice.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line:
            continue
        name = PureWindowsPath(line)  # splits at / and \ alike
        if name.anchor or ".." in name.parts:
            raise DataError(
                f"{path}, line {number}: id {line!r} leads out of the data folder; "
                "write the file's name without folder and extension"
            )
        _add_once(seen, line, number, path)
    if not seen:
        raise DataError(f"{path}: the split is empty; write one id per line{otherwise}")
    return tuple(seen)


def is_pair_list(path: Path) -> bool:
    """Whether the first line that is not empty, and no heading, is a pair of files."""
    lines = [line for line in read_lines(path) if line and not line.startswith("#")][:2]
    return any(_PAIR.fullmatch(line) for line in lines)


def read_pairs(path: Path) -> list[tuple[int, str, str]]:
    """(line number, image, mask) of each line of a list, as it stands there.

    Between image and mask stand spaces, tabs, a comma or a semicolon; quotation marks are allowed, and not needed.
    Empty lines, lines that begin with # and a first line without file names are headings.

    Raises:
        DataError: a line that is no pair, or a list without a pair.
    """
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line or line.startswith("#"):
            continue
        match = _PAIR.fullmatch(line)
        if match:
            pairs.append((number, match[1], match[2]))
        elif number > 1 or any(suffix in line.lower() for suffix in IMAGE_SUFFIXES):
            raise DataError(
                f"{path}, line {number}: {line[:80]!r} is not a pair; write the image's file, a space or comma, "
                f"and the mask's file on each line (suffixes: {', '.join(IMAGE_SUFFIXES)})"
            )
    if not pairs:
        raise DataError(f"{path}: no line names an image and a mask; write one pair per line, such as a.jpg a_mask.png")
    return pairs


def pairs_by_id(path: Path, file: Callable[[str], Path], name: Callable[[Path], str]) -> dict[str, tuple[Path, Path]]:
    """{id: (image, mask)} of a list of pairs.

    Args:
        path: of the list.
        file: (path as listed) -> its file.
        name: (file of an image) -> its id.

    Raises:
        DataError: as of `read_pairs`; an image that is there twice.
    """
    files, seen = {}, {}
    for number, image, mask in read_pairs(path):
        files_of_pair = file(image), file(mask)
        key = name(files_of_pair[0])
        _add_once(seen, key, number, path)
        files[key] = files_of_pair
    return files


def tail_of(folder: Path, listed: str) -> Path:
    """A path of another machine, such as /SegNet/CamVid/train/x.png, by its last two parts in this folder.

    Raises:
        DataError: these parts lead out of the folder.
    """
    parts = PureWindowsPath(listed).parts[-2:]
    if ".." in parts:
        raise DataError(f"{folder}: {listed!r} leads out of the data folder; write the path within the folder")
    return folder.joinpath(*(part for part in parts if not PureWindowsPath(part).anchor))


def file_of(folder: Path, listed: str) -> Path:
    """The file that a list in `folder` names: as it stands there, or else by its last two parts."""
    path = folder / listed  # an absolute path stays what it is
    if not is_file(path):
        path = folder.joinpath(*PureWindowsPath(listed).parts)
    return path if is_file(path) else tail_of(folder, listed)


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _add_once(seen: dict[str, int], name: str, number: int, path: Path) -> None:
    if name in seen:
        raise DataError(f"{path}, line {number}: id {name!r} is on line {seen[name]} already; remove one")
    seen[name] = number
