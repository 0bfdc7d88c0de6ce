"""Which formats there are, by the suffix of the file; and weights under torchvision's names in each container."""

from pathlib import Path

from minideeplab.errors import UsageError
from minideeplab.weights import torchvision_arrays, write_pytorch
from minideeplab.weights.containers import write_npz, write_safetensors

ONNX = "onnx"
SUFFIXES = {ONNX: ".onnx", "torchvision": ".pth", "safetensors": ".safetensors", "npz": ".npz"}
_ALSO = {".pt": ".pth"}  # another spelling of a suffix


def format_of(out: str, asked: str | None) -> str:
    """The format: the one that was asked for, or that of the suffix.

    Raises:
        UsageError: an unknown suffix, or one of another format.
    """
    suffix = Path(out).suffix.lower()
    suffix = _ALSO.get(suffix, suffix)
    if asked is None:
        asked = next((key for key, own in SUFFIXES.items() if own == suffix), None)
    if asked is None:
        raise UsageError(f"--out {out}: the suffix says the format: {', '.join(SUFFIXES.values())}")
    if suffix != SUFFIXES[asked]:
        raise UsageError(f"--out {out}: a file of --format {asked} is called ...{SUFFIXES[asked]}")
    return asked


def write_weights(path: str | Path, model, kind: str) -> int:
    """Writes the weights under torchvision's names; returns the number of arrays.

    Args:
        path: the file, written in full or not at all; kind: "torchvision" (.pth), "safetensors" or "npz".

    Raises:
        UsageError: torchvision has no such network, or `load_pretrained` would not read this one back.
        OSError: the file cannot be written.
    """
    try:
        arrays = torchvision_arrays(model, f"--format {kind}")
    except ValueError as error:
        raise UsageError(f"{error}; of any network --out FILE.onnx makes a file for other programs") from error
    if kind == "torchvision":
        write_pytorch(path, arrays)
    elif kind == "safetensors":
        write_safetensors(path, arrays, {"format": "pt"})
    else:
        write_npz(path, arrays)
    return len(arrays)
