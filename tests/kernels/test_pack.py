"""Weights packed for the register tile: every weight is in its place, and what is past the last channel is zero."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import both_dtypes, seeds

from kernels.cpu.sum_over_channels import pack
from kernels.cpu.tile import columns


@both_dtypes
@given(taps=st.integers(1, 3), c=st.integers(1, 70), k=st.integers(1, 70), transposed=st.booleans(), seed=seeds)
def test_packed_weights_are_the_weights(dtype, taps, c, k, transposed, seed):
    """packed[block, tap * rows + row, j] = w[tap, row, block * columns + j], with w's last axes exchanged or not."""
    w = np.random.default_rng(seed).standard_normal((1, taps, c, k)).astype(dtype)
    packed, width = pack(w, transposed), columns(dtype)
    expected = w[0].swapaxes(1, 2) if transposed else w[0]
    n_rows, n_columns = expected.shape[1:]
    unpacked = packed.reshape(-1, taps, n_rows, width).transpose(1, 2, 0, 3).reshape(taps, n_rows, -1)
    np.testing.assert_array_equal(unpacked[..., :n_columns], expected)
    assert not unpacked[..., n_columns:].any()
    assert packed.shape[0] == -(-n_columns // width)
