"""Weight files of other programs as plain arrays: .pth of PyTorch (new and old), .safetensors and .npz.

No file is trusted: nothing in it is executed, and sizes are checked before memory is taken.
"""

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minideeplab.errors import CheckpointError
from minideeplab.files.arrays import damage_refused, read_npz
from minideeplab.files.refusal import DEFAULT_MAX_BYTES, REDO, Refusal, shown
from minideeplab.files.whole import written_whole
from minideeplab.weights import formats
from minideeplab.weights.pytorch_file import read_legacy, read_zip
from minideeplab.weights.raw_arrays import Weights
from minideeplab.weights.safetensors_file import read_safetensors, write_safetensors
from minideeplab.weights.wrappers import unwrapped

__all__ = ["DEFAULT_MAX_BYTES", "read_arrays", "read_weights", "write_npz", "write_safetensors"]


def read_arrays(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> dict[str, np.ndarray]:
    """Reads the arrays of a weight file by name.

    A checkpoint around the state dict is taken off, and so are the prefixes that all names have: see `wrappers`. What
    lies beside the arrays is left out. Layouts stay those of the file, such as (C_out, C_in, KH, KW) of PyTorch.

    Args:
        path: a .pth of torch.save in either format, a .safetensors, or an .npz that is not compressed.
        max_bytes: limit on the bytes of all arrays together, as returned.

    Returns:
        Arrays, read-only; float16 and bfloat16 as float32, every other type as it is, scalars of shape (). Tensors
        that share memory in PyTorch may share it here, and may be strided views.

    Raises:
        CheckpointError: no such file, another format, damaged, too large, or without arrays.

    Cost: the bytes of the file in memory once; twice those of 16-bit floats.
    """
    return read_weights(path, max_bytes=max_bytes).arrays


def read_weights(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Weights:
    """As `read_arrays`, with the names of what was left out."""
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path.is_file never an error: a name may be too long
        raise CheckpointError(f"{path}: {'a folder' if os.path.isdir(path) else 'no such file'}; give {formats.WANTED}")
    try:
        with path.open("rb") as file, damage_refused():
            weights = _read(file, max_bytes)
    except Refusal as error:
        raise CheckpointError(f"{path}: {error}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes do not fit into memory; free some first") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); {REDO}") from error
    for array in weights.arrays.values():
        array.flags.writeable = False
    return weights


def write_npz(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays by their names; the file is replaced as a whole or not at all.

    Raises:
        OSError: the file cannot be written; the old one is untouched.
    """
    with written_whole(path) as file:
        np.savez(file, **arrays)


def _read(file: BinaryIO, max_bytes: int) -> Weights:
    match formats.format_of(file):
        case formats.SAFETENSORS:
            weights = read_safetensors(file, max_bytes)
        case formats.PYTORCH_LEGACY:
            weights = read_legacy(file, max_bytes)
        case formats.PYTORCH:
            with zipfile.ZipFile(file) as archive:
                weights = read_zip(archive, file.seek(0, os.SEEK_END), max_bytes)
        case formats.NPZ:
            unread = {}
            arrays = read_npz(file, max_bytes=max_bytes, others=unread)
            halves = {name: array.astype(np.float32) for name, array in arrays.items() if array.dtype == np.float16}
            weights = Weights(arrays | halves, unread)
    if weights.unread and not weights.arrays:
        name, what = next(iter(weights.unread.items()))
        raise Refusal(f"no arrays of numbers: {shown(name)} is {what}; save the weights alone, as float32")
    return unwrapped(weights)
