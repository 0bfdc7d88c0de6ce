"""Sums of weighted rows and the two helpers beside them: vector code, plain code and the definitions agree."""

import numba
import numpy as np
import pytest
from strategies import SIMULATED, assert_close, both_dtypes, normal

from kernels.cpu import gather

pytestmark = pytest.mark.skipif(SIMULATED, reason="the simulator is for the CUDA backend")
WIDTHS = range(1, 41)


@numba.njit
def gather_row(x, width, index, weight, begin, end, y, at, minus, minus_at):
    gather.gather_row(x, width, index, weight, begin, end, y, at, minus, minus_at)


@numba.njit
def blur_vector(x, at, forward, back, y, to):
    gather.blur_vector(x, at, forward, back, y, to)


@numba.njit
def subtract_largest(x, count, width, y, lowest):
    gather.subtract_largest(x, count, width, y, lowest)


@numba.njit
def normalise_and_damp(e, count, width, q, at, damping, largest):
    gather.normalise_and_damp(e, count, width, q, at, damping, largest)


@both_dtypes
@pytest.mark.parametrize("code", [gather_row, gather.gather_row_plain], ids=["vector", "plain"])
@pytest.mark.parametrize("subtracts", [False, True])
def test_gather_is_a_sum_of_weighted_rows(code, dtype, subtracts):
    """Of 0 to 7 entries from anywhere in the list; nothing beside the row changes."""
    for width in WIDTHS:
        x, weight, held, given = normal(width, (9, width), 20, width + 30, width + 4, dtype=dtype)
        minus = given if subtracts else given[:0]
        index = np.random.default_rng(width).integers(0, 9, 20).astype(np.int32)
        for entries in range(8):
            used, y, out = slice(5, 5 + entries), held.copy(), slice(13, 13 + width)
            code(x.reshape(-1), width, index, weight, used.start, used.stop, y, out.start, minus, 3)
            rows, factors = x[index[used]].astype(np.float64), weight[used].astype(np.float64)[:, None]
            start = -given[3 : 3 + width].astype(np.float64) * subtracts
            expected, magnitude = start + (factors * rows).sum(axis=0), abs(start) + abs(factors * rows).sum(axis=0)
            assert_close(y[out], expected, magnitude, terms=entries + 1)
            np.testing.assert_array_equal(np.delete(y, range(13, 13 + width)), np.delete(held, range(13, 13 + width)))


@both_dtypes
def test_vector_and_plain_gather_agree(dtype):
    for width in WIDTHS:
        x, weight, held = normal(width, 9 * width, 20, width + 3, dtype=dtype)
        index = np.random.default_rng(width).integers(0, 9, 20).astype(np.int32)
        for entries in range(8):
            for minus in (held[:0], held):
                y, plain = held.copy(), held.copy()
                gather_row(x, width, index, weight, 2, 2 + entries, y, 1, minus, 2)
                gather.gather_row_plain(x, width, index, weight, 2, 2 + entries, plain, 1, minus, 2)
                magnitude = (1 + abs(weight).max() * entries) * max(abs(x).max(), abs(held).max())
                assert_close(y, plain.astype(np.float64), magnitude, terms=entries + 1)


@both_dtypes
def test_shift_moves_the_largest_to_0_and_the_lowest_not_below_the_limit(dtype):
    """A difference and a comparison round once or not at all: the vector code has the bits of the plain code."""
    for width in WIDTHS:
        rows = normal(width, (width, width), dtype=dtype)
        np.fill_diagonal(rows, 6)  # the largest lies at each place in turn
        lowest, held = dtype(-6.5), normal(1, width * width + 6, dtype=dtype)
        expected = np.concatenate([np.maximum(rows - dtype(6), lowest).reshape(-1), held[width * width :]])
        for code in (subtract_largest, gather.subtract_largest_plain):
            y = held.copy()
            code(rows.reshape(-1), width, width, y, lowest)
            np.testing.assert_array_equal(y, expected)


@both_dtypes
@pytest.mark.parametrize("code", [normalise_and_damp, gather.normalise_and_damp_plain], ids=["vector", "plain"])
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("count", [1, 3])
def test_mix_damps_normalises_and_keeps_the_largest_change(code, dtype, damping, count):
    for width in WIDTHS:
        e, held = (abs(a) for a in normal(width, count * width, count * width + 7, dtype=dtype))
        q, largest, rows = held.copy(), np.zeros(gather.LANES, dtype), slice(4, 4 + count * width)
        code(e, count, width, q, rows.start, dtype(damping), largest)
        old, share = (a.astype(np.float64).reshape(count, width) for a in (held[rows], e))
        kept = float(dtype(damping))
        expected = (kept * old + (1 - kept) * share / share.sum(axis=1, keepdims=True)).reshape(-1)
        assert_close(q[rows], expected, expected, terms=width + 4)
        outside = np.r_[: rows.start, rows.stop : len(q)]
        np.testing.assert_array_equal(q[outside], held[outside])
        assert largest.max() == abs(q[rows] - held[rows]).max()
        once = largest.max()
        code(e, count, width, q, rows.start, dtype(damping), largest)  # changes less
        assert largest.max() == once


@both_dtypes
@pytest.mark.parametrize("code", [blur_vector, gather.blur_vector_plain], ids=["vector", "plain"])
def test_a_vector_is_blurred_with_two_others(code, dtype):
    """Halves are exact, so that only two sums round; nothing beside the vector changes."""
    lanes = gather.PANEL_BYTES // np.dtype(dtype).itemsize
    x, held = normal(3, 60, 40, dtype=dtype)
    y = held.copy()
    code(x, 7, 33, 20, y, 11)
    own, forward, back = (x[at : at + lanes] for at in (7, 33, 20))
    np.testing.assert_array_equal(y[11 : 11 + lanes], own + dtype(0.5) * forward + dtype(0.5) * back)
    np.testing.assert_array_equal(np.delete(y, range(11, 11 + lanes)), np.delete(held, range(11, 11 + lanes)))
