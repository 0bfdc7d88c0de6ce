"""Arrays as a .pth that `torch.load(path, weights_only=True)` opens, written without PyTorch.

It is the zip of PyTorch 1.6 and later, in one folder: `data.pkl`, a pickle that describes a dict of tensors;
`data/KEY`, the numbers of each; `byteorder` and `version`. The pickle is written instruction by instruction, since
Python's own pickler would want to import the names that stand in it.

Source: torch/csrc/jit/serialization/docs/serialization.md of PyTorch (contents of the archive, alignment); Python's
pickletools (instructions).
"""

import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from minideeplab.files.whole import written_whole

_FOLDER, _ALIGNMENT = "archive", 64
_STORAGES = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<i8": "LongStorage", "|u1": "ByteStorage"}
_HEADER = 30  # bytes of a member's header, before its name
_PADDING = b"FB"  # PyTorch's name of an extra field that only fills


def write_pytorch(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as torch.save writes a state dict: in full, or not at all. The same arrays give the same bytes.

    Args:
        path: the file.
        arrays: by name; float32, float64, int64 or uint8.

    Raises:
        TypeError: an array has another type.
        OSError: the file cannot be written; the old one is untouched.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if _code(array) not in _STORAGES:
            raise TypeError(
                f"write_pytorch: '{name}' has type {array.dtype}; float32, float64, int64, uint8 are written"
            )
    with written_whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, file, "data.pkl", _pickle(arrays))
        _write(archive, file, "byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            _write(archive, file, f"data/{key}", array.astype(_code(array), copy=False).tobytes())
        _write(archive, file, "version", b"3\n")


def _code(array: np.ndarray) -> str:
    return array.dtype.newbyteorder("<").str


def _write(archive, file, name: str, data: bytes) -> None:
    """Adds a member whose bytes begin at a multiple of 64, so that they can be mapped into memory."""
    member = zipfile.ZipInfo(f"{_FOLDER}/{name}")
    begin = file.tell() + _HEADER + len(member.filename) + 4
    filling = -begin % _ALIGNMENT
    member.extra = _PADDING + struct.pack("<H", filling) + b"Z" * filling
    archive.writestr(member, data)


# ---------------------------------------------------------------- the pickle: each function gives instructions


def _pickle(arrays: dict[str, np.ndarray]) -> bytes:
    items = b"".join(_text(name) + _tensor(str(key), array) for key, (name, array) in enumerate(arrays.items()))
    return b"\x80\x02" + b"}" + b"(" + items + b"u" + b"."  # protocol 2; {}, mark, items, put them in; end


def _tensor(key: str, array: np.ndarray) -> bytes:
    """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    storage = (_text("storage"), _global("torch", _STORAGES[_code(array)]), _text(key), _text("cpu"), _int(array.size))
    strides = (stride // array.itemsize for stride in array.strides)
    arguments = (
        _tuple(storage) + b"Q",  # a name that whoever reads the pickle looks up
        _int(0),
        _tuple(map(_int, array.shape)),
        _tuple(map(_int, strides)),
        b"\x89",  # False
        _global("collections", "OrderedDict") + b")R",
    )
    return _global("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + b"R"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(number: int) -> bytes:
    if number < 2**31:
        return b"J" + struct.pack("<i", number)
    data = number.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _tuple(items: Iterable[bytes]) -> bytes:
    return b"(" + b"".join(items) + b"t"
