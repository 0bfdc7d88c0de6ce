"""Weight files of other programs as plain arrays: .pth of PyTorch (new and old), .safetensors and .npz.

The format is recognised by the content, not by the name. No file is trusted: nothing in it is executed, and sizes are
checked before memory is taken.
"""

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minideeplab.errors import CheckpointError
from minideeplab.weights.checkpoint import decode_npy
from minideeplab.weights.pytorch_file import read_legacy, read_zip
from minideeplab.weights.raw_arrays import DEFAULT_MAX_BYTES, REDO, Budget, Refusal, shown
from minideeplab.weights.safetensors_file import read_safetensors, write_safetensors
from minideeplab.weights.state_pickle import RESAVE

__all__ = ["DEFAULT_MAX_BYTES", "read_arrays", "write_safetensors"]

_FORMATS = "a .pth of PyTorch, a .safetensors or an .npz file"

# First bytes of what is often found under the name of a weight file.
_MISTAKEN = {
    b"version https://git-lfs": "only a pointer of Git LFS; run `git lfs pull` in its repository",
    b"<": "a web page, not weights; download the file itself",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\x89HDF": "an HDF5 file, as of Keras; convert it to .npz with the program that wrote it",
}


def read_arrays(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> dict[str, np.ndarray]:
    """Reads the arrays of a weight file by name.

    A checkpoint around the state dict is taken off (keys `state_dict`, `model_state`, `model`), and so is a leading
    `module.` that all names have. Layouts stay those of the file, such as (C_out, C_in, KH, KW) of PyTorch.

    Args:
        path: a .pth of torch.save in either format, a .safetensors, or an .npz that is not compressed.
        max_bytes: limit on the bytes of all arrays together, as returned.

    Returns:
        Arrays, read-only; float16 and bfloat16 as float32, every other type as it is, scalars of shape (). Tensors
        that share memory in PyTorch may share it here, and may be strided views.

    Raises:
        CheckpointError: no such file, another format, damaged, too large, or with more in it than weights.

    Cost: the bytes of the file in memory once; twice those of 16-bit floats.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; give {_FORMATS}")
    try:
        with path.open("rb") as file:
            arrays = _read(file, max_bytes)
    except Refusal as error:
        raise CheckpointError(f"{path}: {error}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes do not fit into memory; free some first") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); {REDO}") from error
    # On hostile bytes the parsers of zip, pickle and .npy raise nearly anything; to the user it is all the same.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise CheckpointError(f"{path}: truncated, damaged, or not a weight file ({reason}); {REDO}") from error
    for array in arrays.values():
        array.flags.writeable = False
    return _without_module(arrays)


def _read(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
    head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive, file.seek(0, os.SEEK_END), max_bytes)
    if head[257:262] == b"ustar":
        raise Refusal(f"a tar archive; unpack it, or if the first PyTorch wrote it: {RESAVE}")
    # Before the pickle: the length of a header may begin with the same bytes, but a pickle has no brace there.
    if head[8:9] == b"{":
        return read_safetensors(file, max_bytes)
    if head.startswith(b"\x80"):
        return read_legacy(file, max_bytes)
    for start, message in _MISTAKEN.items():
        if head.startswith(start):
            raise Refusal(message)
    raise Refusal(f"it starts with {shown(head[:8])}, as no known weight file does; give {_FORMATS}")


def _read_archive(archive: zipfile.ZipFile, file_size: int, max_bytes: int) -> dict[str, np.ndarray]:
    names = [info.filename for info in archive.infolist()]
    _check_members(archive.infolist(), file_size)
    if any(name.endswith("/data.pkl") for name in names):
        return read_zip(archive, max_bytes)
    if not names or not all(name.endswith(".npy") for name in names):
        found = ", ".join(shown(name) for name in names[:5]) or "nothing"
        raise Refusal(f"a zip archive of {found}, neither of PyTorch nor of NumPy; give {_FORMATS}")
    return _read_npz(archive, max_bytes)


def _check_members(members: list[zipfile.ZipInfo], file_size: int) -> None:
    """Stored members cannot be larger than the file: this rules out every decompression bomb."""
    names = set()
    for info in members:
        name = info.filename
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise Refusal(
                f"member {shown(name)} is compressed, {info.file_size} bytes in {info.compress_size}; save it again "
                f"with numpy.savez (not savez_compressed) or torch.save"
            )
        if name in names:
            raise Refusal(f"member {shown(name)} occurs twice; {REDO}")
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise Refusal(f"member {shown(name)} leads out of the archive; {REDO}")
        names.add(name)
    if (total := sum(info.file_size for info in members)) > file_size:
        raise Refusal(f"its members declare {total} bytes, the file has {file_size}; {REDO}")


def _read_npz(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, np.ndarray]:
    budget, arrays = Budget(max_bytes), {}
    for info in archive.infolist():
        budget.take(info.file_size)
        array = decode_npy(archive.read(info))
        if not array.dtype.isnative:
            raise Refusal(f"{shown(info.filename)} has type {array.dtype}, of another byte order; save it as little")
        if array.dtype == np.float16:
            budget.take(array.nbytes)
            array = array.astype(np.float32)
        arrays[info.filename.removesuffix(".npy")] = array
    return arrays


def _without_module(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes off the prefix that (Distributed)DataParallel gives to every name."""
    prefix = "module."
    if not all(name.startswith(prefix) for name in arrays):
        return arrays
    return {name.removeprefix(prefix): array for name, array in arrays.items()}
