"""Files that are often given for weights, and are none, or hold them in a format that is not read."""

import os
import re
from typing import BinaryIO

from minideeplab.files.refusal import shown

CONVERT = "convert it to .npz with the program that wrote it"
# First bytes of what is often found under the name of a weight file.
_MISTAKEN = {
    b"version https://git-lfs": "only a pointer of Git LFS; run `git lfs pull` in its repository",
    b"<": "a web page, not weights; download the file itself",
    b"{": "a JSON text, not weights; if it is the index of a divided model, give one of the files that it names",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x89HDF": f"an HDF5 file, as of Keras; {CONVERT}",
    b"\x93NUMPY": "a single .npy array without a name; write all arrays, by name, with numpy.savez",
    b"MATLAB": f"a .mat file of MATLAB; {CONVERT}",
    b"GGUF": f"a GGUF file; {CONVERT}",
    b"\x00\x05\x16\x07": "what macOS keeps beside a file (its name begins with '._'); give the file itself",
    b"model_checkpoint_path:": "the list of checkpoints of TensorFlow; "
    "write their variables, {name: array}, with numpy.savez",
}
_DIVIDED = (
    "the index of a divided model, not weights; join its parts: arrays = {}; for each part "
    "arrays |= minideeplab.weights.containers.read_arrays(part); numpy.savez('whole.npz', **arrays)"
)
_TENSORFLOW = (
    "a checkpoint of TensorFlow; with TensorFlow write its variables by name: reader = "
    "tf.train.load_checkpoint(prefix); numpy.savez('weights.npz', **{name: reader.get_tensor(name) "
    "for name in reader.get_variable_to_shape_map()})"
)
_TABLE_END = bytes.fromhex("57fb808b247547db")  # of the tables in which TensorFlow's checkpoints have their names
_TEXT = 300  # bytes: an answer of a server is that short


def mistaken(file: BinaryIO, head: bytes) -> str:
    """What a file is that holds no weights, or holds them in a format that is not read, and what to do.

    Args:
        file: open for reading; it is left at any place.
        head: its first 512 bytes.

    Returns:
        One sentence; empty where it is nothing that is known.
    """
    size, name = file.seek(0, os.SEEK_END), str(getattr(file, "name", ""))
    file.seek(max(0, size - len(_TABLE_END)))
    end = file.read()
    text = head.lstrip()
    if (text.startswith(b"{") and b'"weight_map"' in head) or name.endswith(".index.json"):
        return _DIVIDED
    for start, message in _MISTAKEN.items():
        if (text if start == b"<" else head).startswith(start):
            return message
    if end == _TABLE_END or re.search(r"\.data-\d{5}-of-\d{5}$", name):
        return _TENSORFLOW
    if head[4:8] == b"TFL3":
        return "a network of TensorFlow Lite; convert the checkpoint that it was made of to .npz"
    if b"\x12\x0bminideeplab" in head[:32]:  # the producer in an ONNX file
        return "an ONNX file of minideeplab.export; give the checkpoint that it was made of, or run it by onnxruntime"
    if binary := _protocol_buffer(head):
        return f"{binary}; {CONVERT}"
    if _is_message_pack(head):
        return (
            "a msgpack file, as of Flax; with Flax write its arrays by name: flax.traverse_util.flatten_dict(params, "
            "sep='.'), and numpy.savez"
        )
    if size <= _TEXT and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return f"a text, {shown(head.decode())}, not weights; download the file itself"
    return ""


def _protocol_buffer(head: bytes) -> str:
    """Which message of Protocol Buffers begins so: a field with 8 * its number, plus 2 where a length follows."""
    if head[:3] == b"\x08\x01\x12":
        return "a SavedModel of TensorFlow"
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b"\x3a"):  # fields 1 and 2, 3 or 7
        return "an ONNX model, or one of Core ML"
    if head[:1] != b"\x0a" or len(head) < 4:
        return ""
    start = 2 + (head[1] >= 128)  # of what the length counts
    if head[start : start + 1] == b"\x0a":  # a message whose first field is a name again: a node
        return "a frozen graph of TensorFlow"
    name = head[start : start + min(head[1], 40)]
    return "a network of Caffe" if head[1] < 128 and name.isascii() and name.decode().isprintable() else ""


def _is_message_pack(head: bytes) -> bool:
    """A map of up to 15 entries, or with a count of 16 bits, and a text as its first key."""
    key = head[1:2] if 0x81 <= head[0] <= 0x8F else head[3:4] if head[0] == 0xDE else b""
    return bool(key) and (0xA1 <= key[0] <= 0xBF or key[0] == 0xD9)
