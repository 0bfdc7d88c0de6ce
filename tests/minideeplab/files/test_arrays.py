"""NumPy's files: what is read is what was written; damaged, lying and foreign ones end in a sentence, cheaply."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.files.arrays import read_npy_or_npz
from minideeplab.files.refusal import Refusal

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape, dtype="<f8"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npz_bytes(members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


@st.composite
def arrays(draw):
    dtype = np.dtype(draw(st.sampled_from(["f2", "f4", "f8", "i1", "u2", "i8", "?"])))
    dtype = dtype.newbyteorder(draw(st.sampled_from("<>")))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2, shape)
    return np.array(values.astype(dtype), order=draw(st.sampled_from("CF")))


@given(array=arrays(), form=st.sampled_from(["npy", "npz", "compressed"]))
def test_what_is_written_is_read(tmp_path_factory, array, form):
    path = tmp_path_factory.getbasetemp() / "array.bin"
    with path.open("wb") as file:
        if form == "npy":
            np.save(file, array)
        else:
            (np.savez if form == "npz" else np.savez_compressed)(file, a=array)
    found = read_npy_or_npz(path)
    if form != "npy":
        assert list(found) == ["a"]
        found = found["a"]
    assert found.dtype == array.dtype.newbyteorder("=") and found.dtype.isnative and found.shape == array.shape
    assert found.flags.writeable and found.flags.f_contiguous == array.flags.f_contiguous
    np.testing.assert_array_equal(found, array)


HUGE = header((5000, 5000))
REFUSED = {
    "a .npy that declares 200 MB": (HUGE + bytes(100), r"shape \(5000, 5000\) and type float64 in 100 bytes; copy"),
    "an .npz that declares 200 MB": (npz_bytes({"a.npy": HUGE}), r"shape \(5000, 5000\) and type float64 in 0 bytes"),
    "beyond counting": (header((2**70,)), "an array of shape"),
    "negative": (header((-2, -3)) + bytes(48), "truncated, damaged"),
    "a header of 4 GB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100), "truncated, damaged"),
    "an npz cut off": (npz_bytes({"a.npy": npy_bytes(ARRAY)})[:-30], "truncated, damaged"),
    "a wrong checksum": (npz_bytes({"a.npy": npy_bytes(ARRAY)}).replace(b"\x00\x00\xb8A", b"\x00\x00\xb9A"), "CRC-32"),
    "objects": (b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(127) + b"\n.",
                "type object, only numbers are allowed"),
    "complex numbers": (npy_bytes(np.ones(2, complex)), "type complex128, only numbers are allowed"),
    "text": (npy_bytes(np.array(["a"])), "only numbers are allowed"),
    "another zip": (npz_bytes({"readme.txt": b"hello"}), "a zip archive of 'readme.txt', not of NumPy's arrays"),
    "a bomb": (npz_bytes({"a.npy": header((2 * 10**6,), "|u1") + bytes(2 * 10**6)}, zipfile.ZIP_DEFLATED),
               "limit is 1000000"),
    "a compression that NumPy does not have": (npz_bytes({"a.npy": npy_bytes(ARRAY)}, zipfile.ZIP_BZIP2), "in a way"),
    "a member out of the archive": (npz_bytes({"../a.npy": npy_bytes(ARRAY)}), "leads out of the archive"),
    "a picture": (b"\x89PNG\r\n\x1a\n", r"starts with b'\\x89PNG.*neither .npy nor .npz; save the array with"),
    "an empty file": (b"", "it is empty, it is neither"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_files_are_refused_cheaply(tmp_path, data, message):
    path = tmp_path / "scores.npy"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(Refusal, match=message):
        read_npy_or_npz(path, max_bytes=10**6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_a_size_that_no_compression_reaches(tmp_path):
    """Even the sizes in the archive's directory are lies."""
    data = npz_bytes({"a.npy": HUGE + bytes(1000)}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = archive.infolist()[0].file_size
    declared = (len(HUGE) + 8 * 5000 * 5000).to_bytes(4, "little")
    (tmp_path / "lie.npz").write_bytes(data.replace(size.to_bytes(4, "little"), declared))
    with pytest.raises(Refusal, match=r"declares 200000128 bytes in .*, not possible"):
        read_npy_or_npz(tmp_path / "lie.npz")


@pytest.mark.parametrize("data", [npy_bytes(ARRAY), npz_bytes({"a.npy": npy_bytes(ARRAY)})])
def test_every_truncation_is_refused(tmp_path, data):
    path = tmp_path / "cut.npy"
    for size in range(0, len(data), 5):
        path.write_bytes(data[:size])
        with pytest.raises(Refusal):
            read_npy_or_npz(path)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npy_or_npz(tmp_path / "none.npy")
