"""Weight files put together byte by byte, from the descriptions of the formats."""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

STORAGE_OF = {
    "float64": "Double",
    "float32": "Float",
    "float16": "Half",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}


# --- a pickle assembler: values in, instructions of protocol 2 out ---------------------------------------------------


@dataclass
class Global:
    name: str  # "module name"


@dataclass
class Call:
    function: object
    arguments: tuple
    attributes: object = None


@dataclass
class Persistent:
    identity: object


@dataclass
class Raw:
    instructions: bytes


@dataclass
class Pairs:
    """A dict that may have a key twice."""

    pairs: list = field(default_factory=list)


def assemble(value) -> bytes:
    match value:
        case Raw():
            return value.instructions
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        case int():
            data = pickle.encode_long(value)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case tuple():
            return b"(" + b"".join(map(assemble, value)) + b"t"
        case list():
            return b"](" + b"".join(map(assemble, value)) + b"e"
        case OrderedDict():
            return assemble(Call(Global("collections OrderedDict"), ())) + assemble_items(value.items())
        case dict():
            return b"}" + assemble_items(value.items())
        case Pairs():
            return b"}" + assemble_items(value.pairs)
        case Global():
            return b"c" + value.name.replace(" ", "\n").encode() + b"\n"
        case Call():
            attributes = b"" if value.attributes is None else assemble(value.attributes) + b"b"
            return assemble(value.function) + assemble(value.arguments) + b"R" + attributes
        case Persistent():
            return assemble(value.identity) + b"Q"
    raise TypeError(value)


def assemble_items(items) -> bytes:
    return b"(" + b"".join(assemble(key) + assemble(value) for key, value in items) + b"u"


def a_pickle(value) -> bytes:
    return b"\x80\x02" + assemble(value) + b"."


# --- files in the real formats ---------------------------------------------------------------------------------------


def storage(kind, key, numel, legacy=False):
    identity = ("storage", Global(f"torch {kind}Storage"), key, "cpu", numel)
    return Persistent((*identity, None) if legacy else identity)


def tensor(base, offset, size, stride):
    hooks = Call(Global("collections OrderedDict"), ())
    return Call(Global("torch._utils _rebuild_tensor_v2"), (base, offset, size, stride, False, hooks))


def vector(array, key="0", legacy=False):
    """A 1-D array as a tensor that is its whole storage."""
    base = storage(STORAGE_OF[array.dtype.name], key, array.size, legacy)
    return tensor(base, 0, (array.size,), (1,))


def zip_bytes(content, storages, *, top="archive", extra=None, compress=()):
    stream = io.BytesIO()
    members = {"data.pkl": a_pickle(content), "byteorder": b"little"}
    members |= {f"data/{key}": data for key, data in storages.items()}
    members |= {"version": b"3\n"} | (extra or {})
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            if data is not None:
                method = zipfile.ZIP_DEFLATED if name in compress else zipfile.ZIP_STORED
                archive.writestr(f"{top}/{name}", data, method)
    return stream.getvalue()


def legacy_bytes(content, storages, *, itemsize=4, little_endian=True, protocol=1001, counts=None):
    head = [0x1950A86A20F9469CFC6C, protocol, {"protocol_version": 1001, "little_endian": little_endian}]
    parts = [a_pickle(value) for value in (*head, content, list(storages))]
    for key, data in storages.items():
        parts += [struct.pack("<q", (counts or {}).get(key, len(data) // itemsize)), data]
    return b"".join(parts)


def safetensors_bytes(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


class Made:
    """Pickles put together from instructions, in one of the two formats of torch.save.

    Attributes:
        weights: the arrays {name: array} of a state dict and a module, where no others are given.
    """

    def __init__(self, weights, legacy=False, protocol=2):
        self.weights, self.legacy, self.protocol = weights, legacy, protocol
        self.storages, self.counts = {}, {}

    def tensor(self, array):
        key = str(len(self.storages))
        self.storages[key], self.counts[key] = array.tobytes(), array.size
        kind = {"float32": "Float", "int64": "Long"}[array.dtype.name]
        strides = tuple(step // array.itemsize for step in array.strides)
        return tensor(storage(kind, key, array.size, self.legacy), 0, array.shape, strides)

    def state(self, prefix="", weights=None):
        return OrderedDict((prefix + name, self.tensor(array)) for name, array in (weights or self.weights).items())

    def value(self, value):
        """As Python's pickle writes it."""
        return Raw(pickle.dumps(value, self.protocol)[2:-1])

    def foreign(self, name, *arguments, state=None):
        """An object of a class that need not be here."""
        return Call(Global(name), arguments, state)

    def module(self, name="nets Net", weights=None):
        """A module of PyTorch with the modules in it, as its `__reduce_ex__` gives it."""
        parameters, buffers, inner = {"none": None}, {}, {}
        for path, array in (weights or self.weights).items():
            first, dot, rest = path.partition(".")
            if dot:
                inner.setdefault(first, {})[rest] = array
            elif first.startswith(("running", "num")):
                buffers[first] = self.tensor(array)
            else:
                arguments = (self.tensor(array), True, OrderedDict())
                parameters[first] = Call(Global("torch._utils _rebuild_parameter"), arguments)
        state = {
            "training": True,
            "_parameters": parameters,
            "_buffers": buffers,
            "_non_persistent_buffers_set": [],
            "_forward_hooks": OrderedDict(),
            "_modules": {key: self.module("torch.nn.modules.module Module", each) for key, each in inner.items()},
        }
        return Raw(assemble(Global(name)) + b")\x81" + assemble(state) + b"b")

    def write(self, path, content):
        if self.legacy:
            path.write_bytes(legacy_bytes(content, self.storages, counts=self.counts))
        else:
            path.write_bytes(zip_bytes(content, self.storages))


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert not found[name].flags.writeable and found[name].flags.aligned


ARRAY = np.arange(6, dtype=np.float32)
GOOD_ZIP = zip_bytes({"a": vector(ARRAY)}, {"0": ARRAY.tobytes()})
GOOD_LEGACY = legacy_bytes({"a": vector(ARRAY, legacy=True)}, {"0": ARRAY.tobytes()})
GOOD_SAFETENSORS = safetensors_bytes(
    {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}, np.arange(6, dtype="<f4").tobytes()
)
