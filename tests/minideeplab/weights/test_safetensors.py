"""safetensors: round trips, writing, hostile headers, and the library itself where it is installed."""

import json
import os
import re
import struct

import numpy as np
import pytest
from container_files import ARRAY, STORAGE_OF, safetensors_bytes, same
from hypothesis import assume, given
from hypothesis import strategies as st

from minideeplab.weights.containers import read_arrays, write_safetensors
from minideeplab.weights.wrappers import PREFIXES

SAFETENSORS_TYPES = [*(name for name in STORAGE_OF if name != "float16"), "uint16", "uint32", "uint64"]


# --- round trip ------------------------------------------------------------------------------------------------------


@st.composite
def named_arrays(draw):
    names = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5, unique=True))
    assume("__metadata__" not in names and not any(name.startswith(PREFIXES) for name in names))
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


# --- hostile headers -------------------------------------------------------------------------------------------------


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
    "unknown type": ({"a": entry(dtype="F8_E4M3")}, "no arrays of numbers: 'a' is of type 'F8_E4M3'"),
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


# --- the library itself ----------------------------------------------------------------------------------------------


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
