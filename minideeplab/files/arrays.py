"""NumPy's .npy and .npz, read without trust: no pickle is run, and no size is believed before the bytes are there."""

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minideeplab.files.ordinary import require_ordinary
from minideeplab.files.refusal import DEFAULT_MAX_BYTES, REDO, Budget, Refusal, shown

NPY_START = b"\x93NUMPY"
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive without members
_HEADER = 16384  # bytes that hold any .npy header that NumPy reads (10000 characters)
_PIECE = 2**20
_DEFLATE_RATIO = 1032  # so many bytes can one byte of deflate become, and no more
_ENCRYPTED = 1


class _NotNumbers(Refusal):
    def __init__(self, what: str):
        super().__init__(f"{what}, only numbers are allowed; convert it, and save it with numpy.save")
        self.what = what


def read_npy_or_npz(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> np.ndarray | dict[str, np.ndarray]:
    """Reads what numpy.save, savez or savez_compressed wrote; the format is recognised by the content.

    Args:
        path: the file.
        max_bytes: limit on the bytes of all arrays together.

    Returns:
        The array of a .npy file, or {name: array} of an .npz archive; writeable, of the machine's byte order.

    Raises:
        Refusal: (a ValueError) neither format, damaged, too large, or with arrays that are not of numbers.
        OSError: no such file, or it cannot be read.

    Cost: the bytes of the arrays. A file that declares more than it holds costs nothing.
    """
    require_ordinary(path)
    with open(path, "rb") as file, damage_refused():
        start = file.read(len(NPY_START))
        if start == NPY_START:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return _decode(file, size, Budget(max_bytes))
        if start.startswith(ZIP_STARTS):
            return read_npz(file, max_bytes=max_bytes, compressed=True)
    raise Refusal(f"{_beginning(start)}, it is neither .npy nor .npz; save the array with numpy.save")


def read_npz(
    file: BinaryIO,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    compressed: bool = False,
    others: dict[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz archive, in the order of the file; writeable, of the machine's byte order.

    Args:
        file: open for reading, at any place.
        max_bytes: limit on the bytes of its members together.
        compressed: take also what numpy.savez_compressed wrote.
        others: where given, arrays that are not of numbers are left out, and said to be so here: {name: what it is}.

    Raises:
        Refusal: not such an archive, damaged, too large, or (without `others`) with arrays that are not of numbers.
    """
    with damage_refused():
        size = file.seek(0, os.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            check_members(members, size, compressed)
            if strange := [info.filename for info in members if not info.filename.endswith(".npy")]:
                found = ", ".join(shown(name) for name in strange[:5])
                raise Refusal(f"a zip archive of {found}, not of NumPy's arrays; give an .npz")
            budget, arrays = Budget(max_bytes), {}
            for info in members:
                name = info.filename.removesuffix(".npy")
                try:
                    with archive.open(info) as stream:  # which compares the checksum, too
                        arrays[name] = _decode(stream, info.file_size, budget)
                except _NotNumbers as error:
                    if others is None:
                        raise
                    others[name] = error.what
    return arrays


def check_members(members: list[zipfile.ZipInfo], file_size: int, compressed: bool = False) -> None:
    """Refuses an archive whose members declare more than the file can hold: no bomb is ever unpacked.

    Args:
        members: of the archive; file_size: of the archive, in bytes.
        compressed: whether members may be deflated. Stored ones cannot be larger than the file.
    """
    names = set()
    for info in members:
        name = info.filename
        if info.flag_bits & _ENCRYPTED:
            raise Refusal(f"member {shown(name)} is encrypted; write the archive again without a password")
        stored = info.compress_type == zipfile.ZIP_STORED
        if not (stored and info.file_size == info.compress_size) and not compressed:
            raise Refusal(
                f"member {shown(name)} is compressed, {info.file_size} bytes in {info.compress_size}; save it again "
                f"with numpy.savez (not savez_compressed) or torch.save"
            )
        if not stored and info.compress_type != zipfile.ZIP_DEFLATED:
            raise Refusal(f"member {shown(name)} is compressed in a way that NumPy does not use; save it again")
        if info.file_size > info.compress_size * (1 if stored else _DEFLATE_RATIO):
            raise Refusal(
                f"member {shown(name)} declares {info.file_size} bytes in {info.compress_size}, not possible; {REDO}"
            )
        if name in names:
            raise Refusal(f"member {shown(name)} occurs twice; {REDO}")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise Refusal(f"member {shown(name)} leads out of the archive; {REDO}")
        names.add(name)
    if (total := sum(info.compress_size for info in members)) > file_size:
        raise Refusal(f"its members declare {total} bytes, the file has {file_size}; {REDO}")


@contextlib.contextmanager
def damage_refused() -> Iterator[None]:
    """Turns whatever a parser raises in the block into a Refusal.

    On hostile bytes the parsers of zip, pickle, JSON and .npy raise nearly anything; to the user it is all the same.
    """
    try:
        yield
    except (Refusal, OSError, MemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise Refusal(f"truncated, damaged, or not what its first bytes say ({reason}); {REDO}") from error


def _decode(stream: BinaryIO, size: int, budget: Budget) -> np.ndarray:
    """The array of one .npy of `size` bytes: its shape must match the bytes that are there, objects are refused."""
    budget.take(size)
    head = io.BytesIO(stream.read(_HEADER))
    version = np.lib.format.read_magic(head)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(head)
    if dtype.kind not in "fiub":
        raise _NotNumbers(f"an array of type {dtype}")
    if math.prod(shape) * dtype.itemsize != size - head.tell():
        raise Refusal(f"an array of shape {shape} and type {dtype} in {size - head.tell()} bytes; {REDO}")
    array = np.empty(math.prod(shape), dtype)
    target, position, piece = array.view(np.uint8), 0, head.read()
    while piece:
        target[position : position + len(piece)] = np.frombuffer(piece, np.uint8)
        position += len(piece)
        piece = stream.read(_PIECE)
    if position != array.nbytes:
        raise Refusal(f"truncated: an array of {array.nbytes} bytes ends after {position}; {REDO}")
    if dtype.kind == "b":
        array = target != 0  # any byte may stand there, but only 0 and 1 are bools
    array = array.astype(dtype.newbyteorder("="), copy=False)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _beginning(start: bytes) -> str:
    return f"it starts with {shown(start)}" if start else "it is empty"
