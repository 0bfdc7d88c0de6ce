"""The register tile: vector code, plain code and the definition agree, and the machine code is as meant."""

import platform
import re

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import assert_close, both_dtypes, normal, seeds

from kernels.cpu import tile as tiles

needs_vectors = pytest.mark.skipif(tiles.tile is not tiles.tile_vector, reason="no vector tile for this processor")
STEPS = st.integers(1, 3)
AHEAD = st.tuples(*3 * [st.integers(-(10**9), 10**9)])  # what a tile asks for need not exist


class Dense:
    """A row of a tile takes one value of a at each step."""

    vector, plain, rows, columns = tiles.tile_vector, tiles.tile_plain, tiles.ROWS, tiles.columns

    @staticmethod
    def operand(a, at, width):
        return a[at]


class ByChannel:
    """A row of a tile takes a row of a at each step."""

    vector, plain = tiles.channel_tile_vector, tiles.channel_tile_plain
    rows, columns = tiles.CHANNEL_ROWS, tiles.channel_columns

    @staticmethod
    def operand(a, at, width):
        return a[at : at + width]


both_kinds = pytest.mark.parametrize("kind", [Dense, ByChannel])


@st.composite
def problems(draw, kind, dtype):
    """Arguments of a tile, the last rows repeated as the drivers do at the end of a region."""
    used, length = draw(st.integers(1, kind.rows)), draw(st.lists(st.integers(0, 9), max_size=4))
    width = kind.columns(dtype)
    a_step, b_step = draw(STEPS), width * draw(STEPS)
    seed, accumulate = draw(seeds), draw(st.booleans())
    a, b, c = normal(seed, 400 + width, 9 * b_step + 300, kind.rows * (width + 5) + 40, dtype=dtype)
    generator = np.random.default_rng(seed)
    rows = np.minimum(np.arange(kind.rows), used - 1)
    a_rows = generator.integers(0, 300, kind.rows)[rows]
    c_rows = generator.permutation(kind.rows)[rows] * (width + 5) + 3  # neither aligned nor in order
    lengths = np.array(length, np.int64)
    a_segments = generator.integers(
        -a_rows.min(), 70, lengths.size
    )  # an origin may lie before the array, a segment not
    b_segments = generator.integers(0, 300 - width, lengths.size)
    ahead = draw(AHEAD)
    return a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, width, accumulate, ahead


def definition(
    kind, a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, width, accumulate, ahead
):
    """The equation in the head of tile.py as a new c, every operand read before anything is stored."""
    result = c.copy()
    for a_row, c_row in zip(a_rows, c_rows, strict=True):
        total = c[c_row : c_row + width] * accumulate
        for s in range(lengths.size):
            for k in range(lengths[s]):
                at = b_segments[s] + k * b_step
                total = total + kind.operand(a, a_row + a_segments[s] + k * a_step, width) * b[at : at + width]
        result[c_row : c_row + width] = total
    return result


@both_kinds
@both_dtypes
@pytest.mark.parametrize("code", [pytest.param("vector", marks=needs_vectors), "plain"])
@given(data=st.data())
def test_the_tile_is_its_equation(kind, code, dtype, data):
    """For repeated rows, no segments, empty segments, any step, on top of c or not; nothing beside the tile changes."""
    problem = data.draw(problems(kind, dtype))
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype == dtype else a for a in problem]
    expected = definition(kind, *wide)
    magnitude = definition(kind, *(abs(a) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a for a in wide))
    lengths, c, c_rows, width = problem[7:11]
    before = c.copy()
    getattr(kind, code)(*problem)
    assert_close(c, expected, magnitude, terms=lengths.sum() + 2)
    untouched = np.ones(c.size, bool)
    untouched[(c_rows[:, None] + np.arange(width)).ravel()] = False
    np.testing.assert_array_equal(c[untouched], before[untouched])


@both_dtypes
@pytest.mark.parametrize("code", [pytest.param("vector", marks=needs_vectors), "plain"])
@given(data=st.data(), seed=seeds)
def test_a_row_of_positions_is_its_equation(code, dtype, data, seed):
    """For any grid of taps, as far apart as positions, twice as far, or anywhere; nothing beside the row changes."""
    row = {"vector": tiles.channel_row_vector, "plain": tiles.channel_row_plain}[code]
    rows, columns, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 14))
    lanes = tiles.VECTOR_BYTES // np.dtype(dtype).itemsize
    channels = data.draw(st.integers(lanes, 3 * lanes))
    a_step, c_step = channels * data.draw(STEPS), channels + data.draw(st.integers(0, 3))
    tap_step = data.draw(st.sampled_from([a_step, 2 * a_step, 3 * a_step, -a_step, channels, 1]))
    generator = np.random.default_rng(seed)
    a_taps = (generator.integers(0, 90, rows)[:, None] + tap_step * np.arange(columns)).ravel()
    a_taps += max(0, -a_taps.min())
    w_taps = generator.integers(0, 50, a_taps.size)
    sizes = 20 + a_taps.max() + length * a_step + channels, 50 + channels, 20 + length * c_step + channels
    a, w, c = normal(seed, *(int(size) for size in sizes), dtype=dtype)
    expected, magnitude = c.astype(np.float64), abs(c.astype(np.float64))
    for p in range(length):
        out = slice(7 + p * c_step, 7 + p * c_step + channels)
        expected[out] = magnitude[out] = 0
        for a_tap, w_tap in zip(11 + p * a_step + a_taps, w_taps, strict=True):
            products = a[a_tap : a_tap + channels].astype(np.float64) * w[w_tap : w_tap + channels]
            expected[out] += products
            magnitude[out] += abs(products)
    row(a, 11, a_step, a_taps, columns, w, w_taps, c, 7, c_step, length, channels)
    assert_close(c, expected, magnitude, terms=a_taps.size + 2)


def compiled(kind, dtype):
    """A fresh compilation of a vector tile: one read from the cache has no code to look at."""
    floats, ints = numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C"), numba.int64[::1]
    signature = (floats, ints, ints, numba.intp, floats, ints, numba.intp, ints, floats, ints, numba.intp)
    function = numba.njit(fastmath={"contract"}, error_model="numpy")(kind.vector.py_func)
    function.compile((*signature, numba.boolean, numba.types.UniTuple(numba.intp, 3)))
    return function


@needs_vectors
@both_kinds
def test_float32_code_has_no_float64(kind):
    """One float64 constant would halve the speed of everything that it meets."""
    (code,) = compiled(kind, np.float32).inspect_llvm().values()
    assert f"<{tiles.VECTOR_BYTES // 4} x float>" in code
    assert "double" not in code


@needs_vectors
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@both_kinds
@both_dtypes
def test_the_loop_is_packed_fused_multiply_adds_on_whole_registers(kind, dtype):
    """Rows x vectors of them in the loop over k; without the intrinsic LLVM makes none or spills the sums to memory."""
    (code,) = compiled(kind, dtype).inspect_asm().values()
    register, suffix = {64: "zmm", 32: "ymm"}[tiles.VECTOR_BYTES], "ps" if dtype == np.float32 else "pd"
    fused = re.findall(rf"vfmadd\d+{suffix}\s.*%{register}\d+", code)
    assert len(fused) >= kind.rows * kind.columns(dtype) * np.dtype(dtype).itemsize // tiles.VECTOR_BYTES
    assert not re.search(r"vfmadd\d+s[sd]\s", code)


@needs_vectors
@pytest.mark.skipif(tiles.VECTOR_BYTES != 64, reason="narrower registers also copy the arguments")
def test_sums_stay_in_registers_where_nothing_is_asked_for():
    """A caller without requests, whose zeros LLVM sees: it would then move loads to the front, and sums to memory."""

    @numba.njit(fastmath={"contract"}, error_model="numpy")
    def caller(a, rows, segments, b, lengths, c, width):
        tiles.tile(a, rows, segments, 1, b, segments, width, lengths, c, rows, width, True, (0, 0, 0))

    floats, ints = numba.float32[::1], numba.int64[::1]
    caller.compile((floats, ints, ints, floats, ints, floats, numba.intp))
    (code,) = caller.inspect_asm().values()
    held = tiles.ROWS * tiles.VECTORS  # once in memory each, where sums are added to what is there
    assert len(re.findall(r"%zmm\d+, -?\d*\(%rsp\)|\(%rsp\), %zmm", code)) <= held


@both_kinds
@both_dtypes
def test_a_tile_is_some_whole_vectors_wide(kind, dtype):
    assert kind.columns(dtype) * np.dtype(dtype).itemsize % tiles.VECTOR_BYTES == 0
