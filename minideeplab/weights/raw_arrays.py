"""Raw little-endian bytes to arrays, and the limits on them: what all foreign weight files have in common."""

import math
from dataclasses import dataclass, field

import numpy as np

from minideeplab.files.refusal import REDO, Refusal, shown

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
_MAX_AXES = 32
COUNTER_OF_AVERAGES = "n_averaged"  # has no prefix, unlike the names that it stands beside
_COUNTERS = (COUNTER_OF_AVERAGES, "num_batches_tracked")
_COUNTER_ENDS = tuple(f".{name}" for name in _COUNTERS)
MAX_ELEMENTS = 2**48


@dataclass
class Weights:
    """What a weight file holds.

    Attributes:
        arrays: by name.
        unread: what lies beside them under a name of its own and is no array of numbers: {name: what it is}.
    """

    arrays: dict[str, np.ndarray]
    unread: dict[str, str] = field(default_factory=dict)


def is_counter(name: str) -> bool:
    """Whether an array counts steps of the training: no weights, no result depends on it. Cost: none of the length."""
    return name in _COUNTERS or name.endswith(_COUNTER_ENDS)


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
