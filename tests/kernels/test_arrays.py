"""The pool of large buffers, and the small functions that make arrays."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import both_dtypes, each_backend, normal

import kernels
from kernels.cpu import arrays

MEBI = 1 << 20


@pytest.fixture(autouse=True)
def empty_pool():
    arrays.release_pool()
    yield
    arrays.release_pool()


def address(array):
    return array.__array_interface__["data"][0]


def test_a_buffer_comes_back_when_its_array_dies():
    first = arrays.empty((MEBI,), np.float32)
    where = address(first)
    del first
    assert address(arrays.empty((512, 2048), np.float32)) == where


def test_it_comes_back_without_the_garbage_collector():
    gc.disable()
    try:
        places = {address(arrays.empty((MEBI,))) for _ in range(5)}
    finally:
        gc.enable()
    assert len(places) == 1


@pytest.mark.parametrize(
    "view_of",
    [
        lambda a: a[7:9],
        lambda a: a.reshape(2, -1).T,
        lambda a: a.view(np.int32),
        lambda a: memoryview(a),
        lambda a: np.broadcast_to(a[:1], (3, 5)),
    ],
    ids=["slice", "transpose", "other dtype", "memoryview", "broadcast"],
)
def test_never_while_a_view_lives(view_of):
    array = arrays.full((MEBI,), 1.0)
    where, view = address(array), view_of(array)
    held = bytes(np.asarray(view).tobytes())
    del array
    other = arrays.full((MEBI,), 2.0)
    assert address(other) != where
    assert np.asarray(view).tobytes() == held
    del view
    assert address(arrays.empty((MEBI,))) == where


@pytest.mark.parametrize("pooled", [0, 1, 3, 10])
def test_arrays_alive_never_share_memory(pooled):
    """Whether their buffers are fresh or from the pool."""
    before = [arrays.empty((MEBI // 4 + i,)) for i in range(pooled)]
    del before
    alive = [arrays.full((MEBI // 4 + i,), i) for i in range(10)]
    for i, array in enumerate(alive):
        assert (array == i).all()


def test_dtypes_and_nearly_equal_sizes_share_buffers():
    first = arrays.empty((MEBI,), np.float32)
    where = address(first)
    del first
    second = arrays.empty((MEBI // 2 - 100,), np.float64)
    assert address(second) == where and second.shape == (MEBI // 2 - 100,)


def test_the_smallest_free_buffer_of_up_to_twice_the_size_is_taken():
    held = [arrays.empty((size * MEBI,), np.uint8) for size in (9, 4, 3, 8)]
    places = {size: address(array) for size, array in zip((9, 4, 3, 8), held, strict=True)}
    del held
    taken = [arrays.empty((4 * MEBI,), np.uint8) for _ in range(3)]
    assert [address(a) for a in taken[:2]] == [places[4], places[8]]
    assert address(taken[2]) not in places.values()  # 9 is too large, 3 too small


@given(size=st.integers(1, 1 << 40))
def test_a_size_class_wastes_less_than_an_eighth(size):
    assert size <= arrays._size_class(size) < size * 1.125 + 1
    assert arrays._size_class(arrays._size_class(size)) == arrays._size_class(size)


def test_release_gives_the_memory_back():
    tracemalloc.start()
    try:
        array = arrays.empty((16 * MEBI,), np.uint8)
        del array
        held = tracemalloc.get_traced_memory()[0]
        arrays.release_pool()
        assert held >= 16 * MEBI and tracemalloc.get_traced_memory()[0] < MEBI
    finally:
        tracemalloc.stop()


def test_an_array_outlives_a_release_and_its_buffer_comes_back_later():
    array = arrays.full((MEBI,), 3.0)
    where = address(array)
    arrays.release_pool()
    assert (array == 3).all()
    del array
    assert address(arrays.empty((MEBI,))) == where


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 5), (300, 1000)])
@each_backend
@both_dtypes
def test_shape_dtype_and_contents(k, dtype, shape):
    assert k.empty(shape, dtype).shape == shape and k.empty(shape, dtype).dtype == dtype
    for array, value in ((k.zeros(shape, dtype), 0), (k.full(shape, 2.5, dtype), 2.5)):
        assert array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
        np.testing.assert_array_equal(array, np.full(shape, value))


@each_backend
def test_a_copy_is_contiguous_and_apart(k):
    x = np.arange(600_000.0).reshape(600, 1000)
    copied = k.copy(x.T)
    assert copied.flags.c_contiguous and not np.shares_memory(copied, x)
    np.testing.assert_array_equal(copied, x.T)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_conversion_is_the_identity_on_the_host(backend):
    k, x = kernels.load(backend), np.ones(3, np.float32)
    assert k.from_numpy(x) is x and k.to_numpy(x) is x


@each_backend
@pytest.mark.parametrize("value, finite", [(1.0, True), (np.nan, False), (np.inf, False), (-np.inf, False)])
def test_is_finite(k, value, finite):
    x = np.zeros((3, 5), np.float32)
    x[1, 2] = value
    assert k.is_finite(x) is finite


SHAPES = [(3, 1, 2), (), (5,), (0, 4), (2, 300)]


@each_backend
@both_dtypes
def test_what_is_flattened_comes_back_in_parts(k, dtype):
    arrays = [normal(number, shape, dtype=dtype) for number, shape in enumerate(SHAPES)]
    flat = np.full(sum(a.size for a in arrays), np.nan, dtype)
    k.flatten(arrays, flat)
    np.testing.assert_array_equal(flat, np.concatenate([a.ravel() for a in arrays]))
    first = 0
    for a in arrays:
        found = k.part(flat, first, a.shape)
        assert found.dtype == dtype and found.shape == a.shape and found.flags.c_contiguous
        np.testing.assert_array_equal(found, a)
        first += a.size


@each_backend
def test_what_does_not_fill_a_flat_array_is_refused(k):
    flat = np.zeros(6, np.float32)
    for parts in ([flat[:5]], [flat, flat[:1]]):
        with pytest.raises(ValueError, match=r"flatten: flat must have shape"):
            k.flatten(parts, flat)
    with pytest.raises(TypeError, match="flatten: array 1 is float64, flat is float32"):
        k.flatten([flat[:3], np.zeros(3)], flat)
    for first, shape in ((0, (7,)), (4, (3,)), (-1, (2,))):
        with pytest.raises(ValueError, match=r"part: flat of shape \(6,\) has no"):
            k.part(flat, first, shape)
