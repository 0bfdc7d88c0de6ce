"""Hostile and damaged weight files end in CheckpointError and in nothing else."""

import io
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest
from container_files import (
    ARRAY,
    GOOD_LEGACY,
    GOOD_SAFETENSORS,
    GOOD_ZIP,
    Call,
    Global,
    Pairs,
    Persistent,
    Raw,
    a_pickle,
    assemble,
    legacy_bytes,
    same,
    storage,
    tensor,
    vector,
    zip_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minideeplab.errors import CheckpointError
from minideeplab.weights.containers import read_arrays
from minideeplab.weights.state_pickle import StatePickle

# --- hostile pickles -------------------------------------------------------------------------------------------------


def a_tensor(offset=0, size=(6,), stride=(1,), numel=6, key="0", kind="Float"):
    return {"a": tensor(storage(kind, key, numel), offset, size, stride)}


def names_of_two_texts(length, count):
    """Each name is joined from the same two texts, by five bytes."""
    texts = assemble("a" * length) + b"q\x00" + assemble("b" * length) + b"q\x01"
    return Raw(texts + b"h\x00h\x01\x93" * count)


HOSTILE_CONTENT = {
    "os.system": (Call(Global("os system"), ("touch sang",)), "refers to 'os.system'.*nothing was run"),
    "eval": (Call(Global("builtins eval"), ("open('sang', 'w')",)), "refers to 'builtins.eval'"),
    "eval of Python 2": (Global("__builtin__ eval"), "refers to '__builtin__.eval'"),
    "a whole model": (Call(Global("torchvision.models ResNet"), ()), "an object without parameters was saved"),
    "eval by protocol 4": (Raw(b"\x8c\x08builtins\x8c\x04eval\x93"), "refers to 'builtins.eval'"),
    "a name that is no text": (Raw(b"K\x01K\x02\x93"), "a name that is no text"),
    "inst": (Raw(b"(ios\nsystem\n"), "refers to 'os.system'.*nothing was run"),
    "eval by the oldest protocol": (Raw(b"(c__builtin__\neval\nX\x01\x00\x00\x001o"), "refers to '__builtin__.eval'"),
    "eval with named arguments": (Raw(b"cbuiltins\neval\n)}\x92"), "refers to 'builtins.eval'"),
    "extension": (Raw(b"\x82\x01"), "refers to 'extension 1 of copyreg'.*nothing was run"),
    "a number alone": (Raw(b"I1\n"), "it holds 1, not tensors"),
    "a persistent name": (Raw(b"P0\n"), "the instruction PERSID"),
    "one list copied by many calls": (
        Raw(b"ctorch\nSize\nq\x00](" + b"N" * 10**4 + b"eq\x01" + b"0h\x00h\x01\x85R" * 200),
        "makes objects of more than 1000000 values",
    ),
    "one tuple given to many calls": (
        Raw(b"cbuiltins\nset\nq\x00(" + b"N" * 10**4 + b"tq\x01" + b"h\x00h\x01R" * 200),
        "makes objects of more than 1000000 values",
    ),
    "names of two long texts": (names_of_two_texts(10**5, 50), "names of more than 4194304 characters"),
    "names of two short texts": (names_of_two_texts(100, 50_000), "names of more than 4194304 characters"),
    "many extensions": (Raw(b"\x82\x01" * 200_000), "names of more than 4194304 characters"),
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
    "deep tuples as a key": (Raw(b"})" + b"\x85" * 20_000 + b"Ns"), "no tensors under"),
    "deep lists": (Raw(b"]" * 20_000 + b"a" * 19_999), "it holds a list"),
    "a dict in itself": (Raw(b"}q\x00" + assemble("state_dict") + b"h\x00s"), "no tensors under.*'state_dict'"),
    "a key twice": (Pairs([("a", 1), ("a", 2)]), "'a' twice"),
    "pairs that are none": (Call(Global("collections OrderedDict"), ([[1]],)), "an OrderedDict of a list"),
    "a parameter of nothing": (Call(Global("torch._utils _rebuild_parameter"), (3, True, {})), "is made of 3"),
    "a size of nothing": (Call(Global("torch Size"), (3,)), "a size is made of 3"),
    "no dict": ([1, 2], "it holds a list of 2"),
    "no tensors": ({"epoch": 3, "net": {}}, "no tensors under state_dict.*'epoch', 'net'"),
    "text alone": ({"arch": "resnet"}, "no tensors under state_dict.*'arch'"),
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
    "large by stride 0": (a_tensor(size=(2**21,), stride=(0,)), "tensors have 8388608 bytes, and there are 24 under"),
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
    "stride beyond 64 bits": (a_tensor(size=(2, 3), stride=(2**64, 1)), "begins or steps beyond element 2814"),
    "stride of nothing": (a_tensor(size=(0,), stride=(2**2000,)), "begins or steps beyond element 2814"),
    "offset of nothing": (a_tensor(size=(0,), offset=2**2000), "begins or steps beyond element 2814"),
    "offset beyond counting": (a_tensor(offset=2**2000), "begins or steps beyond element 2814"),
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


def test_the_stride_of_an_axis_of_size_1_may_be_any_number(read):
    data = zip_bytes(a_tensor(size=(1, 6), stride=(2**2000, 1)), {"0": ARRAY.tobytes()})
    same(read(data), {"a": ARRAY[np.newaxis]})


def test_equal_texts_of_a_pickle_are_one():
    """Each use of a key compares it with an equal one: with itself in no time, with a copy of megabytes not."""
    texts = assemble("a.b") + assemble("a.b") + b"ca\nb\n"
    first, second, placeholder = StatePickle().run(io.BytesIO(b"\x80\x02(" + texts + b"t."))
    assert first is second is placeholder.name


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
        (a_pickle({"a": 1}), "a plain pickle, as of detectron2"),
        (a_pickle(Call(Global("os system"), ("touch sang",))), "a plain pickle.*this runs what is in it"),
        (b"\x80\x02" + b"." * 3, "truncated, damaged"),
        (b"archive".ljust(257, b"\0") + b"ustar\x0000".ljust(300, b"\0"), "a tar archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x89PNG\r\n\x1a\n", "starts with"),
        (b"", "is empty; copy or download"),
    ],
)
def test_hostile_files_are_refused(refuses, data, message):
    text = refuses(data)
    assert re.search(message, text), text


def test_hostile_npz_files_are_refused(refuses, tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([print], object))
    assert "no arrays of numbers: 'a' is an array of type object" in refuses((tmp_path / "x.npz").read_bytes())
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6))
    assert "is compressed" in refuses((tmp_path / "x.npz").read_bytes())


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.pth: no such file; give a \.pth"):
        read_arrays(tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match="a folder; give"):
        read_arrays(tmp_path)


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
