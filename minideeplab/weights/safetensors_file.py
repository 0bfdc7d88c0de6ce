"""The .safetensors format: 8 bytes of length, a JSON header, and the raw arrays one after the other.

The header has an entry {"dtype", "shape", "data_offsets": [begin, end]} for each name, offsets counted from the end
of the header, and perhaps `__metadata__`, text by name. The arrays cover the rest of the file without a gap.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minideeplab.files.refusal import REDO, Budget, Refusal, shown
from minideeplab.files.whole import written_whole
from minideeplab.weights.raw_arrays import STORED, Weights, decode, element_count, result_dtype

MAX_HEADER = 100_000_000  # of the format
# JSON of many tiny values takes fifty times its own size in memory: a header of honest length has far fewer.
_MAX_JSON_VALUES = 1_000_000
_METADATA = "__metadata__"
_CODES = {dtype: code for code, dtype in STORED.items() if code != "BF16"}


def read_safetensors(file: BinaryIO, max_bytes: int) -> Weights:
    """Reads all arrays; those of types that NumPy does not have, such as float8, are `unread`.

    Args:
        file: open for reading, at any place.
        max_bytes: limit on the bytes of all arrays.

    Raises:
        Refusal: not such a file, damaged, or too large.
    """
    file_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    header, start = _read_header(file, file_size)
    _check_metadata(header.pop(_METADATA, {}))
    places = {name: _check_entry(name, entry) for name, entry in header.items()}
    _check_cover(places, file_size - start)
    types = {name: entry["dtype"] for name, entry in header.items()}
    unread = {name: f"of type {shown(code)}" for name, code in types.items() if code not in STORED}
    places = {name: place for name, place in places.items() if name not in unread}
    budget = Budget(max_bytes)
    for name, (begin, end) in places.items():
        code = types[name]
        budget.take((end - begin) // STORED[code].itemsize * result_dtype(code).itemsize)
    arrays = {}
    for name, (begin, end) in places.items():
        file.seek(start + begin)
        # Bytes of its own for each array: in the file it may lie at an address that is not aligned.
        arrays[name] = decode(types[name], file.read(end - begin)).reshape(header[name]["shape"])
    return Weights(arrays, unread)


def _read_header(file: BinaryIO, file_size: int) -> tuple[dict, int]:
    """The JSON object, and where the data begins."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER, file_size - 8):
        raise Refusal(
            f"its safetensors header claims {length} bytes, the file has {file_size} and the format's limit is "
            f"{MAX_HEADER}; {REDO}"
        )
    text = file.read(length)
    if not text.startswith(b"{"):
        raise Refusal(f"its safetensors header starts with {shown(text[:8])}, not with a brace; {REDO}")
    if (values := sum(text.count(mark) for mark in (b"{", b"[", b","))) > _MAX_JSON_VALUES:
        raise Refusal(f"its safetensors header has {values} values, the limit is {_MAX_JSON_VALUES}; {REDO}")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates), 8 + length
    except Refusal:
        raise
    except (ValueError, RecursionError) as error:
        raise Refusal(f"its safetensors header is not JSON ({error}); {REDO}") from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict:
    result = {}
    for name, value in pairs:
        if name in result:
            raise Refusal(f"its safetensors header has {shown(name)} twice; {REDO}")
        result[name] = value
    return result


def _check_metadata(metadata) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Refusal(f"'{_METADATA}' of its safetensors header is not text by name; {REDO}")


def _check_entry(name: str, entry) -> tuple[int, int]:
    """The place of one array, after checks of types, and of its size against its shape."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Refusal(f"{shown(name)} has not the entries dtype, shape and data_offsets; {REDO}")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str):
        raise Refusal(f"{shown(name)} has type {shown(code)}, a name was expected; {REDO}")
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(offset) is not int for offset in offsets):
        raise Refusal(f"data_offsets of {shown(name)} is not a pair of integers; {REDO}")
    count = element_count(shape)
    nbytes = count * STORED[code].itemsize if code in STORED else offsets[1] - offsets[0]
    if offsets[1] - offsets[0] != nbytes or nbytes < 0:
        raise Refusal(
            f"{shown(name)} of shape {tuple(shape)} and type {code} takes {nbytes} bytes, its offsets are "
            f"{shown(offsets[0])} and {shown(offsets[1])}; {REDO}"
        )
    return offsets[0], offsets[1]


def _check_cover(places: dict[str, tuple[int, int]], data_size: int) -> None:
    """The rule: sorted by place, each array begins where the last one ends, and the last one ends the file."""
    position = 0
    for name, (begin, end) in sorted(places.items(), key=lambda item: item[1]):
        if begin != position:
            raise Refusal(
                f"{shown(name)} begins at {shown(begin)}, the array before it ends at {position}: "
                f"an overlap or a gap; {REDO}"
            )
        if end > data_size:
            raise Refusal(f"{shown(name)} ends at {shown(end)}, the file has {data_size} bytes of data; {REDO}")
        position = end
    if position != data_size:
        raise Refusal(f"its arrays end at {position}, the file has {data_size} bytes of data; {REDO}")


def write_safetensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays atomically: whatever happens meanwhile, `path` is the old file or the new one.

    The same arrays give the same bytes: names are sorted within each item size, and item sizes fall, so that every
    array lies at a multiple of its item size. `read_arrays` gives back the same bits (but float16 as float32).

    Args:
        path: the file.
        arrays: by name; bool, integers, float16, float32 or float64, of any layout and byte order.
        metadata: text by name, for the header.

    Raises:
        TypeError: a name or a text is no str, or an array has another type.
        ValueError: an array is called `__metadata__`.
        OSError: the disk is full, the folder is not writable, and the like; the old file is untouched.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    codes = {name: _code(name, array) for name, array in arrays.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header = _header(arrays, codes, order, metadata)
    with written_whole(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in order:
            file.write(arrays[name].astype(STORED[codes[name]], copy=False).tobytes())


def _code(name: str, array: np.ndarray) -> str:
    if not isinstance(name, str):
        raise TypeError(f"write_safetensors: names must be str, not {name!r}")
    if name == _METADATA:
        raise ValueError(f"write_safetensors: no array can be called {name}, the format uses this name")
    code = _CODES.get(array.dtype.newbyteorder("<"))
    if code is None:
        known = ", ".join(str(dtype) for dtype in _CODES)
        raise TypeError(f"write_safetensors: '{name}' has type {array.dtype}, the format has {known}")
    return code


def _header(arrays: dict, codes: dict, order: list[str], metadata: Mapping[str, str] | None) -> bytes:
    """The header, padded with spaces to a multiple of 8 bytes."""
    entries, position = {}, 0
    if metadata:
        if not all(isinstance(text, str) for item in metadata.items() for text in item):
            raise TypeError("write_safetensors: metadata must be str by str")
        entries[_METADATA] = dict(sorted(metadata.items()))
    for name in order:
        end = position + arrays[name].nbytes
        entries[name] = {"dtype": codes[name], "shape": list(arrays[name].shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)
