"""Foreign weight files: what is read is exact, and hostile files end in CheckpointError and in nothing else.

The files are put together here byte by byte, from the descriptions of the formats; the last tests compare with
PyTorch and safetensors themselves, where those are installed.
"""

import io
import json
import os
import pickle
import re
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minideeplab.errors import CheckpointError
from minideeplab.weights.containers import read_arrays, write_safetensors

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
SAFETENSORS_TYPES = [*(name for name in STORAGE_OF if name != "float16"), "uint16", "uint32", "uint64"]


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


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file of a name that says nothing about its format."""

    def read_bytes(data, **options):
        path = tmp_path / "weights.bin"
        path.write_bytes(data)
        return read_arrays(path, **options)

    return read_bytes


@pytest.fixture
def refuses(read):
    """The message of the refusal, which must name the file and come cheaply."""

    def message(data, **options):
        tracemalloc.start()
        start = time.perf_counter()
        try:
            with pytest.raises(CheckpointError) as caught:
                read(data, **options)
        finally:
            seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert "weights.bin: " in str(caught.value) and "; " in str(caught.value)
        assert len(str(caught.value)) < 1000
        assert seconds < 20 and peak < 300e6
        return str(caught.value)

    return message


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


# --- what is read is exact -------------------------------------------------------------------------------------------


@st.composite
def views(draw):
    """A storage, and a view of it by (offset, shape, strides), with any order of axes, gaps and repetitions."""
    dtype = np.dtype(draw(st.sampled_from(list(STORAGE_OF))))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    strides = tuple(draw(st.integers(0, 7)) for _ in shape)
    offset = draw(st.integers(0, 5))
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if all(shape) else 0
    numel = last + 1 + draw(st.integers(0, 3))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2 if dtype.kind == "b" else 100, numel)
    return values.astype(dtype), offset, shape, strides


@given(cases=st.lists(views(), min_size=1, max_size=3), legacy=st.booleans())
def test_any_view_of_a_storage_is_read(tmp_path_factory, cases, legacy):
    assume(not legacy or len({case[0].itemsize for case in cases}) == 1)
    content, storages, expected = OrderedDict(), {}, {}
    for index, (values, offset, shape, strides) in enumerate(cases):
        kind = STORAGE_OF[values.dtype.name]
        content[f"t{index}"] = tensor(storage(kind, str(index), values.size, legacy), offset, shape, strides)
        storages[str(index)] = values.tobytes()
        steps = [step * values.itemsize for step in strides]
        view = np.lib.stride_tricks.as_strided(values[offset if all(shape) else 0 :], shape, steps)
        expected[f"t{index}"] = view.astype(np.float32 if view.dtype == np.float16 else view.dtype)
    data = legacy_bytes(content, storages, itemsize=cases[0][0].itemsize) if legacy else zip_bytes(content, storages)
    path = tmp_path_factory.getbasetemp() / "views.bin"
    path.write_bytes(data)
    same(read_arrays(path), expected)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_share_a_storage(read, legacy):
    base = storage("Float", "0", 6, legacy)
    content = {"row": tensor(base, 3, (3,), (1,)), "transposed": tensor(base, 0, (3, 2), (1, 3))}
    data = (legacy_bytes if legacy else zip_bytes)(content, {"0": ARRAY.tobytes()})
    found = read(data)
    same(found, {"row": ARRAY[3:], "transposed": ARRAY.reshape(2, 3).T})
    assert np.shares_memory(found["row"], found["transposed"])


@pytest.mark.parametrize("key", ["state_dict", "model_state", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_module_are_taken_off(read, key, prefix):
    state = OrderedDict({f"{prefix}w": vector(ARRAY), f"{prefix}n": vector(np.array([7]), "1")})
    state[f"{prefix}n"].arguments = (storage("Long", "1", 1), 0, (), (), False, {})
    content = state if key is None else {"epoch": 3, "best": 0.5, key: state, "optimizer": {"state": {0: {"s": None}}}}
    found = read(zip_bytes(content, {"0": ARRAY.tobytes(), "1": np.array([7]).tobytes()}))
    same(found, {"w": ARRAY, "n": np.array(7)})


def test_one_name_without_module_keeps_them_all(read):
    content = {"module.a": vector(ARRAY), "b": vector(ARRAY)}
    assert read(zip_bytes(content, {"0": ARRAY.tobytes()})).keys() == {"module.a", "b"}


def test_what_else_a_checkpoint_holds_is_not_looked_at(read):
    namespace = Raw(assemble(Global("argparse Namespace")) + b")\x81" + assemble({"lr": 0.1}) + b"b")
    score = Call(Global("numpy._core.multiarray scalar"), (Call(Global("numpy dtype"), ("f8",), (3, "<")), "x"))
    content = {"args": namespace, "best": score, "device": Call(Global("torch device"), ("cpu",))}
    content |= {"milestones": Call(Global("collections Counter"), ({30: 1},)), "model": {"a": vector(ARRAY)}}
    same(read(zip_bytes(content, {"0": ARRAY.tobytes()})), {"a": ARRAY})


def test_other_forms_of_the_same_values(read):
    """Parameters, tensors of old versions, attributes, plain numbers, and the ordered dict of Python 2."""
    base = storage("Float", "0", 6)
    old = Call(Global("torch._utils _rebuild_tensor"), (base, 0, Call(Global("torch Size"), ((2, 3),)), (3, 1)))
    pairs = [["old", old], ["parameter", Call(Global("torch._utils _rebuild_parameter"), (old, True, {}))]]
    state = Call(Global("collections OrderedDict"), ([*pairs, ["n", 7]],), {"_metadata": {"": {"version": 1}}})
    matrix = ARRAY.reshape(2, 3)
    same(read(zip_bytes(state, {"0": ARRAY.tobytes()})), {"old": matrix, "parameter": matrix, "n": np.array(7)})


def test_the_memo_gives_a_value_again(read):
    """Also by the instructions of protocol 4, and with an index that a real memo would be allocated up to."""
    for put, get in ((b"q\x05", b"h\x05"), (b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff"), (b"\x94", b"h\x00")):
        content = Raw(b"}" + assemble("a") + assemble(vector(ARRAY)) + put + b"s" + assemble("b") + get + b"s")
        same(read(zip_bytes(content, {"0": ARRAY.tobytes()})), {"a": ARRAY, "b": ARRAY})


def test_16_bit_floats_become_float32(read):
    values = np.array([0, -0.0, 1, -2.5, 65504, 6e-8, np.inf], np.float32)
    halves, upper = values.astype(np.float16), (values.view(np.uint32) >> 16).astype(np.uint16)
    content = {"h": vector(halves, "h"), "b": tensor(storage("BFloat16", "b", 7), 0, (7,), (1,))}
    found = read(zip_bytes(content, {"h": halves.tobytes(), "b": upper.tobytes()}))
    same(found, {"h": halves.astype(np.float32), "b": (values.view(np.uint32) & 0xFFFF0000).view(np.float32)})


def test_any_byte_but_zero_is_true(read):
    content = {"a": tensor(storage("Bool", "0", 3), 0, (3,), (1,))}
    same(read(zip_bytes(content, {"0": b"\x00\x01\x07"})), {"a": np.array([False, True, True])})


def test_npz(read):
    stream = io.BytesIO()
    arrays = {"w": np.ones((2, 3), order="F"), "module/n": np.array(7), "h": np.ones(2, np.float16)}
    np.savez(stream, **arrays)
    same(read(stream.getvalue()), arrays | {"h": np.ones(2, np.float32)})


# --- safetensors: round trip -----------------------------------------------------------------------------------------


@st.composite
def named_arrays(draw):
    names = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5, unique=True))
    assume("__metadata__" not in names and not all(name.startswith("module.") for name in names or ["module."]))
    arrays = {}
    for name in names:
        dtype = np.dtype(draw(st.sampled_from(SAFETENSORS_TYPES))).newbyteorder(draw(st.sampled_from("<>")))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
        seed, nbytes = draw(st.integers(0, 99)), int(np.prod(shape)) * dtype.itemsize
        data = np.random.default_rng(seed).integers(0, 2 if dtype.kind == "b" else 256, nbytes, dtype=np.uint8)
        arrays[name] = data.view(dtype).reshape(shape, order=draw(st.sampled_from("CF")))
    return arrays


@given(arrays=named_arrays(), metadata=st.none() | st.dictionaries(st.just("format") | st.just("é"), st.just("pt\n")))
def test_safetensors_round_trip_is_exact(tmp_path_factory, arrays, metadata):
    path = tmp_path_factory.getbasetemp() / "round.bin"
    write_safetensors(path, arrays, metadata)
    first = path.read_bytes()
    assert int.from_bytes(first[:8], "little") % 8 == 0
    found = read_arrays(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert (found[name].dtype, found[name].shape) == (native.dtype, native.shape)
        assert found[name].tobytes() == native.tobytes()
    write_safetensors(path, dict(reversed(arrays.items())), metadata)
    assert path.read_bytes() == first


def test_safetensors_of_16_bit_floats(tmp_path, read):
    path, halves = tmp_path / "half.safetensors", np.array([1.5, -2], np.float16)
    write_safetensors(path, {"a": halves})
    same(read_arrays(path), {"a": halves.astype(np.float32)})
    upper = struct.pack("<2H", 0x3FC0, 0xC000)
    header = {"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, "__metadata__": {"format": "pt"}}
    same(read(safetensors_bytes(header, upper)), {"a": np.array([1.5, -2], np.float32)})


def test_safetensors_whose_header_begins_like_a_pickle(read):
    header = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    data = safetensors_bytes(header.ljust(0x0280), b"\x07")
    assert data.startswith(b"\x80\x02")
    same(read(data), {"a": np.array([7], np.uint8)})


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace"])
def test_a_failure_while_writing_keeps_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": ARRAY})
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(path, {"b": ARRAY})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize(
    ("arrays", "metadata", "error", "message"),
    [
        ({"a": np.array([None])}, None, TypeError, "'a' has type object"),
        ({"a": np.ones(1, complex)}, None, TypeError, "'a' has type complex128"),
        ({3: ARRAY}, None, TypeError, "names must be str, not 3"),
        ({"__metadata__": ARRAY}, None, ValueError, "no array can be called __metadata__"),
        ({"a": ARRAY}, {"epoch": 3}, TypeError, "metadata must be str by str"),
    ],
)
def test_write_safetensors_refuses(tmp_path, arrays, metadata, error, message):
    with pytest.raises(error, match=message):
        write_safetensors(tmp_path / "a.safetensors", arrays, metadata)
    assert not os.listdir(tmp_path)


# --- hostile pickles -------------------------------------------------------------------------------------------------


def a_tensor(offset=0, size=(6,), stride=(1,), numel=6, key="0", kind="Float"):
    return {"a": tensor(storage(kind, key, numel), offset, size, stride)}


HOSTILE_CONTENT = {
    "os.system": (Call(Global("os system"), ("touch sang",)), "refers to 'os.system'.*nothing was run"),
    "eval": (Call(Global("builtins eval"), ("open('sang', 'w')",)), "refers to 'builtins.eval'"),
    "eval of Python 2": (Global("__builtin__ eval"), "refers to '__builtin__.eval'"),
    "a whole model": (Call(Global("torchvision.models ResNet"), ()), "a whole model or program was saved"),
    "eval by protocol 4": (Raw(b"\x8c\x08builtins\x8c\x04eval\x93"), "refers to 'builtins.eval'"),
    "a name that is no text": (Raw(b"K\x01K\x02\x93"), "a name that is no text"),
    "inst": (Raw(b"(ios\nsystem\n"), "the instruction INST"),
    "extension": (Raw(b"\x82\x01"), "the instruction EXT1"),
    "protocol 0": (Raw(b"I1\n"), "the instruction INT"),
    "out-of-band buffer": (Raw(b"\x97"), "the instruction NEXT_BUFFER"),
    "bytearray of 2**60": (Raw(b"\x96" + struct.pack("<Q", 2**60)), "truncated, damaged"),
    "text of 2**32": (Raw(b"X\xff\xff\xff\xffabc"), "truncated, damaged"),
    "a text is called": (Call("os.system", ("ls",)), "calls 'os.system'"),
    "a storage type is called": (Call(Global("torch FloatStorage"), (10**12,)), "calls 'torch.FloatStorage'"),
    "arguments that are no tuple": (Call(Global("collections OrderedDict"), [[]]), "calls 'collections.OrderedDict'"),
    "too few arguments": (Call(Global("torch._utils _rebuild_tensor_v2"), (1,)), "truncated, damaged"),
    "attributes of a list": (Raw(b"]}b"), "sets attributes of a list"),
    "append to a dict": (Raw(b"}K\x01a"), "appends to a dict"),
    "items of a list": (Raw(b"]K\x01K\x02s"), "sets items of a list"),
    "a value without a key": (Raw(b"}(K\x01u"), "truncated, damaged"),
    "an empty stack": (Raw(b"\x85"), "takes values that it never gave"),
    "a mark that is not there": (Raw(b"t"), "truncated, damaged"),
    "a memo that is not there": (Raw(b"h\x05"), "truncated, damaged"),
    "1001 marks": (Raw(b"(" * 1001), "nested more than 200 deep"),
    "many instructions": (Raw(b"N" * 1_000_001), "more than 1000000 instructions"),
    "deep tuples as a key": (Raw(b"})" + b"\x85" * 100_000 + b"Ns"), "no tensors under"),
    "deep lists": (Raw(b"]" * 100_000 + b"a" * 99_999), "it holds a list"),
    "a dict in itself": (Raw(b"}q\x00" + assemble("state_dict") + b"h\x00s"), "no tensors under.*'state_dict'"),
    "a key twice": (Pairs([("a", 1), ("a", 2)]), "'a' twice"),
    "pairs that are none": (Call(Global("collections OrderedDict"), ([[1]],)), "an OrderedDict of a list"),
    "a parameter of nothing": (Call(Global("torch._utils _rebuild_parameter"), (3, True, {})), "is made of 3"),
    "a size of nothing": (Call(Global("torch Size"), (3,)), "a size is made of 3"),
    "no dict": ([1, 2], "it holds a list of 2"),
    "no tensors": ({"epoch": 3, "net": {}}, "no tensors under state_dict.*'epoch', 'net'"),
    "text among the tensors": (a_tensor() | {"arch": "resnet"}, "'arch' is neither a tensor nor a number"),
    "a large number": (a_tensor() | {"n": 2**70}, "truncated, damaged.*OverflowError"),
    "a long name": (Global("os " + "x" * 10**6), "refers to 'os.xxx"),
    "persistent id that is no tuple": (Persistent("storage"), "refers to 'storage', not to a storage"),
    "persistent id of a module": (Persistent(("module", 1, 2, 3, 4)), "refers to a tuple of 5, not to a storage"),
    "storage type as text": (Persistent(("storage", "torch.FloatStorage", "0", "cpu", 6)), "not described as"),
    "key that is no text": (Persistent(("storage", Global("torch FloatStorage"), 0, "cpu", 6)), "not described as"),
    "view of a storage": (Persistent(("storage", Global("torch FloatStorage"), "0", "cpu", 6, ("1", 0, 6))), "not de"),
    "elements as text": (Persistent(("storage", Global("torch FloatStorage"), "0", "cpu", "6")), "'6' elements"),
    "negative elements": (a_tensor(numel=-6), "has -6 elements"),
    "elements beyond counting": (a_tensor(numel=2**2000), r"elements, not possible"),
    "a storage of two types": (
        {"a": [storage("Float", "0", 6), storage("Int", "0", 6)]},
        "'0' is described in two ways",
    ),
    "more elements than the member has": (a_tensor(numel=7), "7 elements .F32. takes 28 bytes, the file has 24"),
    "a type of another size": (a_tensor(kind="Double"), "takes 48 bytes, the file has 24"),
    "a missing storage": (a_tensor(key="1"), "the storage '1' is missing"),
    "a path as the key": (a_tensor(key="../data/0"), "is missing"),
    "huge storage": (a_tensor(numel=2**40, size=(2**40,)), "the limit is 8589934592; give a larger max_bytes"),
    "huge by stride 0": (a_tensor(size=(2**40,), stride=(0,)), "the limit is 8589934592; give a larger max_bytes"),
    "huge by number": (
        {f"a{i}": a_tensor(size=(2**20,), stride=(0,))["a"] for i in range(3000)},
        "the limit is 8589934592",
    ),
    "larger than any array": (a_tensor(size=(2**40, 2**40, 0), stride=(0, 0, 0)), "larger than any array"),
    "a size beyond counting": (a_tensor(size=(2**2000, 0), stride=(0, 0)), "a size in a shape is"),
    "negative size": (a_tensor(size=(-1, -6), stride=(1, 1)), "a size in a shape is -1"),
    "size as a bool": (a_tensor(size=(True,)), "a size in a shape is True"),
    "33 axes": (a_tensor(size=(1,) * 33, stride=(1,) * 33), "a shape is a tuple of 33"),
    "negative offset": (a_tensor(offset=-1), "has offset -1 and impossible strides"),
    "negative stride": (a_tensor(offset=5, stride=(-1,)), "impossible strides"),
    "stride as text": (a_tensor(stride=("1",)), "impossible strides"),
    "too few strides": (a_tensor(stride=()), "impossible strides"),
    "offset as text": (a_tensor(offset="0"), "a tensor is described by"),
    "offset beyond": (a_tensor(offset=1), "ends at element 6 of storage '0', which has 6"),
    "stride beyond": (a_tensor(size=(2, 3), stride=(4, 1)), "ends at element 6 of storage"),
    "stride beyond 64 bits": (a_tensor(size=(2, 3), stride=(2**64, 1)), f"ends at element {2**64 + 2} "),
    "one element beyond": (a_tensor(offset=6, size=(), stride=()), "ends at element 6"),
    "no storage": ({"a": tensor(3, 0, (6,), (1,))}, "a tensor is described by 3"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE_CONTENT.values(), ids=HOSTILE_CONTENT.keys())
def test_hostile_pickles_are_refused(refuses, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    for data in (zip_bytes(content, {"0": ARRAY.tobytes()}), legacy_bytes(content, {"0": ARRAY.tobytes()})):
        text = refuses(data)
        # In the legacy format the storage has no size of its own in front, and is listed even where nothing uses it.
        legacy_only = "no tensor uses it|takes .* bytes, the file has|truncated: storage"
        assert re.search(message if data[:2] == b"PK" else f"{message}|{legacy_only}", text), text
    assert not (tmp_path / "sang").exists()


def test_the_limit_counts_what_is_returned(read, refuses):
    same(read(GOOD_ZIP, max_bytes=24), {"a": ARRAY})
    for data in (GOOD_ZIP, GOOD_LEGACY, GOOD_SAFETENSORS):
        assert "24 bytes or more, the limit is 23" in refuses(data, max_bytes=23)
    halves = ARRAY.astype(np.float16)
    data = zip_bytes({"a": vector(halves)}, {"0": halves.tobytes()})
    assert "24 bytes or more, the limit is 23" in refuses(data, max_bytes=23)
    stream = io.BytesIO()
    np.savez(stream, a=ARRAY)
    assert "the limit is 23" in refuses(stream.getvalue(), max_bytes=23)


# --- hostile archives ------------------------------------------------------------------------------------------------


def an_archive(**changes):
    return zip_bytes({"a": vector(ARRAY)}, {"0": ARRAY.tobytes()}, **changes)


def with_members(*members):
    """The good archive, and further members with names of their own."""
    stream = io.BytesIO(GOOD_ZIP)
    with zipfile.ZipFile(stream, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there already, as intended
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (an_archive(extra={"byteorder": b"big"}), "byte order is b'big'"),
        (an_archive(extra={"constants.pkl": b"\x80\x02)."}), "a TorchScript program"),
        (an_archive(extra={"code/__torch__.py": b""}), "a TorchScript program"),
        (an_archive(compress=["data/0"]), "member 'archive/data/0' is compressed"),
        (an_archive(extra={"bomb": bytes(10**7)}, compress=["bomb"]), "is compressed, 10000000 bytes in"),
        (an_archive(extra={"data.pkl": b"}" * (16 * 2**20 + 1)}), "data.pkl has 16777217 bytes"),
        (an_archive(extra={"data.pkl": None}), "neither of PyTorch nor of NumPy"),
        (an_archive(extra={"data/0": ARRAY[:5].tobytes()}), "takes 24 bytes, the file has 20"),
        (with_members(("archive/data/0", bytes(24))), "'archive/data/0' occurs twice"),
        (with_members(("archive/../../x", b"")), "'archive/../../x' leads out"),
        (with_members(("/archive/x", b"")), "'/archive/x' leads out"),
        (with_members(("other/data.pkl", b"")), "member 'other/data.pkl' is not in the folder 'archive/'"),
        (zip_bytes({}, {}, extra={"data.pkl": b""}), "truncated, damaged"),
        (b"PK\x05\x06" + bytes(18), "a zip archive of nothing"),
        (b"PK\x03\x04" + bytes(500), "truncated, damaged"),
        (GOOD_LEGACY.replace(b"little_endian\x88", b"little_endian\x89"), "not written on a little endian"),
        (legacy_bytes({}, {}, little_endian=False), "not written on a little endian"),
        (legacy_bytes({}, {}, protocol=1002), "its protocol is 1002"),
        (legacy_bytes({"a": vector(ARRAY, legacy=True)}, {}), "the storage '0' is missing"),
        (legacy_bytes({"a": 1}, {"0": b""}), "no tensor uses it"),
        (
            legacy_bytes({"a": vector(ARRAY, legacy=True)}, {"0": ARRAY.tobytes()}, counts={"0": -1}),
            "takes 24 bytes, the file has",
        ),
        (GOOD_LEGACY[:-1], "truncated: storage '0'"),
        (a_pickle({"a": 1}), "a pickle of a dict of 1, not a file of torch.save"),
        (pickle.dumps({"a": np.ones(3)}), "not a file of torch.save|instruction|refers to"),
        (b"\x80\x02" + b"." * 3, "truncated, damaged"),
        (b"archive".ljust(257, b"\0") + b"ustar\x0000".ljust(300, b"\0"), "a tar archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x89PNG\r\n\x1a\n", "starts with"),
        (b"", "starts with b''"),
    ],
)
def test_hostile_files_are_refused(refuses, data, message):
    text = refuses(data)
    assert re.search(message, text), text


def test_hostile_npz_files_are_refused(refuses, tmp_path):
    for arrays, message in (
        ({"a": np.array([print], object)}, "only numbers are allowed"),
        ({"a": np.ones(3, ">f4")}, "another byte order"),
    ):
        np.savez(tmp_path / "x.npz", **arrays)
        assert message in refuses((tmp_path / "x.npz").read_bytes())
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6))
    assert "is compressed" in refuses((tmp_path / "x.npz").read_bytes())


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.pth: no such file; give a \.pth"):
        read_arrays(tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match="a folder; give"):
        read_arrays(tmp_path)


# --- hostile safetensors ---------------------------------------------------------------------------------------------


def entry(begin=0, end=24, shape=(6,), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


HOSTILE_HEADERS = {
    "overlap": ({"a": entry(), "b": entry(12, 36)}, "'b' begins at 12, the array before it ends at 24"),
    "the same place twice": ({"a": entry(), "b": entry()}, "begins at 0, the array before it ends at 24"),
    "a gap": ({"a": entry(0, 12, (3,)), "b": entry(16, 24, (2,))}, "'b' begins at 16, the array before it ends at 12"),
    "not from the start": ({"a": entry(4, 24, (5,))}, "'a' begins at 4"),
    "beyond the file": ({"a": entry(0, 28, (7,))}, "'a' ends at 28, the file has 24 bytes"),
    "far beyond the file": ({"a": entry(0, 2**42, (2**40,))}, f"'a' ends at {2**42}"),
    "data that nothing uses": ({"a": entry(0, 20, (5,))}, "its arrays end at 20, the file has 24"),
    "negative": ({"a": entry(-24, 0)}, "'a' begins at -24"),
    "end before begin": ({"a": entry(24, 0)}, "its offsets are 24 and 0"),
    "not the size of the shape": ({"a": entry(shape=(7,))}, "takes 28 bytes"),
    "offsets beyond counting": ({"a": entry(10**4000, 10**4000 + 24)}, "begins at 1000"),
    "shape beyond counting": ({"a": entry(shape=(10**4000, 0))}, "a size in a shape is 1000"),
    "negative shape": ({"a": entry(shape=(-2, -3))}, "a size in a shape is -2"),
    "shape of floats": ({"a": entry(shape=(6.0,))}, "a size in a shape is 6.0"),
    "shape that is no list": ({"a": entry() | {"shape": "6"}}, "a shape is '6'"),
    "offsets of floats": ({"a": entry(0.0, 24.0)}, "not a pair of integers"),
    "three offsets": ({"a": entry() | {"data_offsets": [0, 24, 24]}}, "not a pair of integers"),
    "unknown type": ({"a": entry(dtype="F8_E4M3")}, "'a' has type 'F8_E4M3', known are F64"),
    "type that is no text": ({"a": entry(dtype=["F32"])}, "has type a list of 1"),
    "no entry": ({"a": [0, 24]}, "has not the entries"),
    "missing shape": ({"a": {"dtype": "F32", "data_offsets": [0, 24]}}, "has not the entries"),
    "something more": ({"a": entry(more=1)}, "has not the entries"),
    "metadata that is no text": ({"a": entry(), "__metadata__": {"epoch": 3}}, "is not text by name"),
    "metadata that is no dict": ({"a": entry(), "__metadata__": "pt"}, "is not text by name"),
    "a name twice": (b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}", "twice"),
    "not JSON": (b'{"a":', "is not JSON"),
    "not UTF-8": (b'{"\xff":1}', "is not JSON"),
    "deep": (b'{"a":' + b"[" * 400_000 + b"]" * 400_000 + b"}", "is not JSON|truncated"),
    "many": (b'{"a":[' + b"[]," * 1_000_000 + b"[]]}", "values, the limit is 1000000"),
    "a long number": (b'{"a":' + b"1" * 5000 + b"}", "is not JSON"),
}


@pytest.mark.parametrize(("header", "message"), HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS.keys())
def test_hostile_headers_are_refused(refuses, header, message):
    text = refuses(safetensors_bytes(header, ARRAY.tobytes()))
    assert re.search(message, text), text


@pytest.mark.parametrize("length", [0, 1, 1000, 2**31, 2**63, 2**64 - 1])
def test_a_lie_about_the_length_of_the_header(refuses, length):
    assert f"claims {length} bytes" in refuses(safetensors_bytes({"a": entry()}, ARRAY.tobytes(), length))


# --- damage ----------------------------------------------------------------------------------------------------------

GOOD_FILES = {"zip": GOOD_ZIP, "legacy": GOOD_LEGACY, "safetensors": GOOD_SAFETENSORS}


@pytest.mark.parametrize("data", GOOD_FILES.values(), ids=GOOD_FILES.keys())
def test_every_truncation_is_refused(read, data):
    assert read(data)["a"].size == 6
    for size in range(0, len(data), 1 if len(data) < 500 else 7):
        with pytest.raises(CheckpointError, match=r"weights\.bin: "):
            read(data[:size])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    data=st.sampled_from(list(GOOD_FILES.values())),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes_end_in_arrays_or_in_a_refusal(tmp_path_factory, data, flips):
    path = tmp_path_factory.getbasetemp() / "flipped.bin"
    data = bytearray(data)
    for place, change in flips:
        data[place % len(data)] ^= change
    path.write_bytes(data)
    try:
        arrays = read_arrays(path, max_bytes=10**6)
    except CheckpointError as error:
        assert "flipped.bin: " in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in arrays.values())


# --- the programs themselves -----------------------------------------------------------------------------------------


def torch_state(torch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    base = torch.arange(24.0)
    state = model.state_dict()
    state["transposed"] = base.reshape(4, 6).T
    state["part"] = base[5:20:3]
    state["expanded"] = base[3].expand(2, 5)
    state["parameter"] = torch.nn.Parameter(base.reshape(2, 12).double())
    state["empty"] = torch.empty(0, 3)
    state["bfloat16"] = torch.randn(5, 3).bfloat16()
    state["half"] = torch.randn(7).half()
    for dtype in (torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool):
        state[str(dtype)] = torch.tensor([[1, 0, 3]]).to(dtype)
    for index in range(60):  # more values than the short instructions of the memo can count
        state[f"more.{index}"] = torch.full((2,), float(index))
    return model, state


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("wrapped", [False, True])
def test_torch_save_is_read_equal(tmp_path, new, protocol, wrapped):
    torch = pytest.importorskip("torch")
    model, state = torch_state(torch)
    content = state
    if wrapped:
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model[0](torch.ones(1, 3, 6, 6)).sum().backward()
        optimiser.step()
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [30, 80])
        content = {
            "epoch": 3,
            "best_pred": np.float64(0.5),
            "history": np.ones(3),
            "shape": torch.Size([1, 2]),
            "device": torch.device("cpu"),
            "dtype": torch.float32,
            "done": {1, 2},
            "optimizer": optimiser.state_dict(),
            "scheduler": schedule.state_dict(),
            "state_dict": OrderedDict((f"module.{name}", value) for name, value in state.items()),
        }
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    expected = {
        name: (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).detach().numpy()
        for name, value in state.items()
    }
    same(read_arrays(path), expected)


def test_torch_files_that_are_not_weights(tmp_path):
    torch = pytest.importorskip("torch")
    path, layer = tmp_path / "layer.pth", torch.nn.Linear(2, 2)
    torch.save(layer, path)
    with pytest.raises(CheckpointError, match=r"refers to 'torch\.nn\.modules\.linear\.Linear'.*torch\.save"):
        read_arrays(path)
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path)
    with pytest.raises(CheckpointError, match=r"refers to 'torch\.ComplexFloatStorage'"):
        read_arrays(path)


def test_safetensors_itself_agrees(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {"w": np.arange(6.0).reshape(2, 3), "n": np.array(7), "é": np.ones((0, 2), np.float32), "b": ARRAY > 2}
    write_safetensors(tmp_path / "ours.safetensors", arrays, {"format": "np"})
    theirs = safetensors.load_file(tmp_path / "ours.safetensors")
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        assert theirs[name].dtype == array.dtype
        np.testing.assert_array_equal(theirs[name], array)
    safetensors.save_file(arrays, tmp_path / "theirs.safetensors")
    same(read_arrays(tmp_path / "theirs.safetensors"), arrays)
