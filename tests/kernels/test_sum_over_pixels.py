"""The weight gradient's share of work: every weight in one job, and the same bits however the jobs are cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import both_dtypes, normal

import kernels
from kernels.cpu import sum_over_pixels as driver
from kernels.cpu.tile import ROWS, columns
from kernels.geometry import Window


@both_dtypes
@given(
    taps=st.integers(1, 9), c=st.integers(1, 900), k=st.integers(1, 900), threads=st.integers(1, 33),
    ranges=st.sampled_from([1, 2, 16]),
)  # fmt: skip
def test_every_weight_is_in_one_job_of_every_range(dtype, taps, c, k, threads, ranges):
    tiles, blocks = -(-c // ROWS), -(-k // columns(dtype))
    times = np.zeros((ranges, tiles, blocks), int)
    for pixels, first_c, last_c, first_k, last_k in driver._jobs(taps, c, k, ranges, np.dtype(dtype), threads):
        assert first_c < last_c and first_k < last_k
        times[pixels, first_c:last_c, first_k:last_k] += 1
    assert (times == 1).all()


@pytest.mark.parametrize(
    "x_shape, w_shape", [((1, 15, 31, 515), (2, 2, 515, 530)), ((1, 21, 20, 70), (3, 3, 70, 66))], ids=["far", "near"]
)
@pytest.mark.usefixtures("by_tiles")
def test_the_cut_changes_no_bit(x_shape, w_shape, monkeypatch):
    """Several chunks, pixels far apart, which are copied, or not: as one job, and as cut for any number of threads."""
    win = Window.conv(x_shape, w_shape, padding="same")
    x, grad = normal(0, x_shape, win.y_shape, dtype=np.float32)
    results = []
    for threads in (1, 3, 7):
        monkeypatch.setattr(driver, "get_num_threads", lambda threads=threads: threads)
        results.append(kernels.load("cpu").conv2d_grad_weight(x, grad, win))
    shape = win.k_h * win.k_w, win.c_in, win.c_out, 1
    assert len({len(driver._jobs(*shape, x.dtype, threads)) for threads in (1, 3, 7)}) > 1
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    expected = kernels.load("reference").conv2d_grad_weight(x.astype(np.float64), grad.astype(np.float64), win)
    np.testing.assert_allclose(results[0], expected, atol=2e-4 * abs(expected).max())


@both_dtypes
@given(
    n=st.integers(1, 9), channels=st.integers(1, 70), first=st.integers(0, 3), more=st.integers(0, 5),
    step=st.integers(70, 90), wide=st.booleans(),
)  # fmt: skip
def test_packed_pixels_are_the_pixels(dtype, n, channels, first, more, step, wide):
    """Group after group, in it pixel after pixel; nothing beside them is read beyond the end of the array."""
    group = columns(dtype) if wide else ROWS
    lanes = driver.VECTOR_BYTES // np.dtype(dtype).itemsize
    pitch, groups, size = -(-group // lanes) * lanes, -(-channels // group), n + first + more
    source = normal(1, 5 + (n - 1) * step + channels, dtype=dtype)
    target = np.full((groups, size + 1, pitch), np.nan, dtype)
    driver._pack(source, 5, step, n, channels, group, target.reshape(-1), first, size, pitch)
    pixels = np.stack([source[5 + i * step :][:channels] for i in range(n)])
    for g in range(groups):
        used = min(group, channels - g * group)
        np.testing.assert_array_equal(target[g, first : first + n, :used], pixels[:, g * group :][:, :used])
    assert np.isnan(target[:, :first]).all() and np.isnan(target[:, first + n :]).all()
