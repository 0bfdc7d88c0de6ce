"""Raw little-endian bytes to arrays, and the limits on them: what all foreign weight files have in common."""

import math

import numpy as np

# Element types by their safetensors names. bfloat16 is read as the upper half of a float32.
STORED = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
REDO = "copy or download the file again"
DEFAULT_MAX_BYTES = 8 * 2**30
_MAX_AXES = 32
MAX_ELEMENTS = 2**48


class Refusal(ValueError):
    """Why a file is not read, and what to do instead; `containers.read_arrays` adds the name of the file."""


class Budget:
    """Counts bytes before they are allocated.

    Args:
        max_bytes: how many there may be.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.used = max_bytes, 0

    def take(self, nbytes: int) -> None:
        """Raises Refusal where `nbytes` more are too many."""
        self.used += nbytes
        if self.used > self.max_bytes:
            raise Refusal(
                f"its arrays take {self.used} bytes or more, the limit is {self.max_bytes}; "
                f"give a larger max_bytes if the file is meant to be that large"
            )


def result_dtype(code: str) -> np.dtype:
    """The type that arrays of a stored type come back as: 16-bit floats become float32, the rest stays."""
    return np.dtype(np.float32) if code in ("F16", "BF16") else STORED[code].newbyteorder("=")


def decode(code: str, data: bytes) -> np.ndarray:
    """All elements in `data`, as a read-only vector of `result_dtype(code)`."""
    if code == "BOOL":
        vector = np.frombuffer(data, np.uint8) != 0  # any byte may stand there, but only 0 and 1 are bools
    elif code == "BF16":
        vector = (np.frombuffer(data, STORED[code]).astype(np.uint32) << 16).view(np.float32)
    else:
        vector = np.frombuffer(data, STORED[code]).astype(result_dtype(code), copy=False)
    vector.flags.writeable = False
    return vector


def element_count(shape) -> int:
    """The number of elements of a shape that comes from a file.

    Raises:
        Refusal: not a sequence of sizes, or sizes that no array can have (also beside a 0, where the count is 0).
    """
    if not isinstance(shape, list | tuple) or len(shape) > _MAX_AXES:
        raise Refusal(f"a shape is {shown(shape)}, at most {_MAX_AXES} sizes were expected; {REDO}")
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_ELEMENTS:
            raise Refusal(f"a size in a shape is {shown(size)}, not possible; {REDO}")
    if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
        raise Refusal(f"the shape {tuple(shape)} is larger than any array; {REDO}")
    return math.prod(shape)


def shown(value) -> str:
    """A value of a file for a message: short, on one line, and without a walk through what it contains."""
    if value is None or isinstance(value, str | bytes | int | float):
        text = repr(value[:80] if isinstance(value, str | bytes) else value)
        return text if len(text) <= 80 else text[:77] + "..."
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list | dict) else "")
