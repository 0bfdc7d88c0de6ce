"""Files of PyTorch, written without it: they come back bit for bit, here and there."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from minideeplab.weights import write_pytorch
from minideeplab.weights.containers import read_arrays

TYPES = ("<f4", "<f8", "<i8", "|u1")
stored = st.dictionaries(
    st.text(min_size=1, max_size=20).map(lambda text: f"layer.{text}"),
    st.sampled_from(TYPES).flatmap(
        lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    ),
    min_size=1,
    max_size=5,
)


@given(stored)
def test_arrays_come_back_bit_for_bit(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("written") / "weights.pth"
    write_pytorch(path, arrays)
    found = read_arrays(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_any_memory_layout_and_byte_order_is_taken(tmp_path):
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    write_pytorch(tmp_path / "weights.pth", {"a": array})
    np.testing.assert_array_equal(read_arrays(tmp_path / "weights.pth")["a"], array)


def test_the_same_arrays_give_the_same_bytes_each_at_a_multiple_of_64(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {name: generator.random(size, np.float32) for name, size in (("a", 3), ("bb", 17), ("ccc", 2))}
    for name in ("one.pth", "two.pth"):
        write_pytorch(tmp_path / name, arrays)
    data = (tmp_path / "one.pth").read_bytes()
    assert data == (tmp_path / "two.pth").read_bytes()
    for array in arrays.values():
        assert data.index(array.tobytes()) % 64 == 0
    members = zipfile.ZipFile(tmp_path / "one.pth").infolist()
    assert all(member.compress_type == zipfile.ZIP_STORED for member in members)


def test_another_type_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"'layer\.a' has type float16; float32, float64, int64, uint8 are written"):
        write_pytorch(tmp_path / "weights.pth", {"layer.a": np.zeros(3, np.float16)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mmap", [False, True])
def test_pytorch_reads_them(tmp_path, mmap):
    torch = pytest.importorskip("torch")
    generator, path = np.random.default_rng(0), tmp_path / "weights.pth"
    arrays = {
        f"a{i}": generator.uniform(0, 99, shape) for i, shape in enumerate(((), (5,), (2, 3), (2, 1, 3, 3), (0,)))
    }
    arrays = {f"{name}{kind}": array.astype(kind) for name, array in arrays.items() for kind in TYPES}
    write_pytorch(path, arrays)
    found = torch.load(path, weights_only=True, mmap=mmap)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].numpy().dtype == array.dtype and found[name].is_contiguous()
        np.testing.assert_array_equal(found[name].numpy(), array)
