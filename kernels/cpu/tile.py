"""The register tiles: the two loops in which every convolution, forward and both gradients, spends its time.

    dense       c[c_rows[i] + j] (+)= sum_s sum_k a[a_rows[i] + a_segments[s] + k * a_step] * b[.. + j]
    by channel  c[c_rows[i] + j] (+)= sum_s sum_k a[a_rows[i] + a_segments[s] + k * a_step + j] * b[.. + j]

    with b[b_segments[s] + k * b_step + j], for i < ROWS, j < columns(dtype); by channel CHANNEL_ROWS, channel_columns

A segment is a run of the reduction in which both operands advance by a constant step: a tap's channels in the forward
pass, an image row's pixels in the weight gradient. All offsets count elements of the flat arrays. The accumulators
stay in vector registers from the first segment to the last: each step of k loads one row of b, takes ROWS values of a
(by channel: ROWS rows of a), and does ROWS * VECTORS fused multiply-adds.

Memory is far away. While a tile computes it asks for the cache lines of c, a row at a step, and for what a later tile
will read: with ahead = (i, j, l), at step k the line i + k * j elements after the last row of a, and the row of b that
is l elements after the one it uses. This changes no result, and may point anywhere.

`tile` and `channel_tile` are these loops as LLVM vector code (llvm.py), because plain Numba keeps no tile of
accumulators in registers; `tile_plain` and `channel_tile_plain` are the same in plain Numba: what tests compare with,
tutorials show, and unknown processors run.
"""

import llvmlite.binding
import numba
import numpy as np

from .jit import jit
from .llvm import taps_intrinsic, tile_intrinsic, transpose_intrinsic
from .rows import add_multiple, add_product


def _host_tile():
    """(bytes of a vector, vectors in a row of the tile, rows): accumulators and operands fit the registers."""
    features = numba.config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    if "+avx512f" in features:
        return 64, 2, 14  # 32 registers: 28 accumulators, 2 of b, 1 broadcast
    if "+avx2" in features and "+fma" in features:
        return 32, 2, 6  # 16 registers: 12 accumulators, 2 of b, 1 broadcast
    if "+neon" in features or "+asimd" in features:
        return 16, 3, 8  # 32 registers: 24 accumulators, 3 of b, 1 broadcast
    return None


_HOST = None if numba.config.DISABLE_JIT else _host_tile()
VECTORISED = _HOST is not None
VECTOR_BYTES, VECTORS, ROWS = _HOST or (32, 2, 4)
TILE_BYTES = VECTORS * VECTOR_BYTES  # of a row of the tile
# 9 rows are the taps of a 3x3 kernel; with two vectors 18 accumulators, for which AVX2 has too few registers
CHANNEL_ROWS, CHANNEL_VECTORS = 9, 1 if VECTOR_BYTES == 32 else 2
CHANNEL_BYTES = CHANNEL_VECTORS * VECTOR_BYTES


def columns(dtype):
    """Output channels in a tile: those of VECTORS vectors of the dtype."""
    return TILE_BYTES // np.dtype(dtype).itemsize


def channel_columns(dtype):
    """Channels in a tile by channel."""
    return CHANNEL_BYTES // np.dtype(dtype).itemsize


@jit
def tile_plain(a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, n_columns, accumulate, ahead):
    """The tile's equation as loops; n_k[s] is the length of segment s. The inner loop over j runs in vectors."""
    sums = np.zeros((ROWS, n_columns), c.dtype)
    if accumulate:
        for i in range(ROWS):
            for j in range(n_columns):
                sums[i, j] = c[c_rows[i] + j]
    for s in range(n_k.size):
        for k in range(n_k[s]):
            b_row = b_segments[s] + k * b_step
            for i in range(ROWS):
                x = a[a_rows[i] + a_segments[s] + k * a_step]
                add_multiple(sums[i], x, b[b_row : b_row + n_columns])
    for i in range(ROWS):  # all loads of c come before all stores: rows of a tile may repeat
        for j in range(n_columns):
            c[c_rows[i] + j] = sums[i, j]


@jit
def channel_tile_plain(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The equation by channel as loops; the inner loop over j runs in vectors."""
    sums = np.zeros((CHANNEL_ROWS, n_columns), c.dtype)
    if accumulate:
        for i in range(CHANNEL_ROWS):
            for j in range(n_columns):
                sums[i, j] = c[c_rows[i] + j]
    for s in range(n_k.size):
        for k in range(n_k[s]):
            b_row = b_segments[s] + k * b_step
            for i in range(CHANNEL_ROWS):
                a_row = a_rows[i] + a_segments[s] + k * a_step
                add_product(sums[i], a[a_row : a_row + n_columns], b[b_row : b_row + n_columns])
    for i in range(CHANNEL_ROWS):
        for j in range(n_columns):
            c[c_rows[i] + j] = sums[i, j]


transpose = transpose_intrinsic(VECTOR_BYTES)
_tile_vector = tile_intrinsic(ROWS, VECTORS, VECTOR_BYTES)
_channel_tile_vector = tile_intrinsic(CHANNEL_ROWS, CHANNEL_VECTORS, VECTOR_BYTES, by_channel=True)


@jit
def tile_vector(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The tile's equation in vector registers; arguments as `tile_plain` (n_columns must be columns(dtype))."""
    _tile_vector(a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, accumulate, ahead)  # fmt: skip


@jit
def channel_tile_vector(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The equation by channel in vector registers; n_columns must be channel_columns(dtype)."""
    _channel_tile_vector(
        a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, accumulate, ahead
    )  # fmt: skip


@jit
def channel_tile(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The equation by channel for any number of columns up to channel_columns(dtype)."""
    if VECTORISED and n_columns == CHANNEL_BYTES // c.itemsize:
        channel_tile_vector(
            a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, n_columns, accumulate, ahead
        )  # fmt: skip
    else:
        channel_tile_plain(
            a, a_rows, a_segments, a_step, b, b_segments, b_step, n_k, c, c_rows, n_columns, accumulate, ahead
        )  # fmt: skip


@jit
def channel_row_plain(a, a_rows, a_step, w, w_rows, c, c_row, c_step, length, n_columns, accumulate):
    """c[c_row + k * c_step + j] (+)= sum_t a[a_rows[t] + k * a_step + j] * w[w_rows[t] + j] for k < length.

    A row of positions of a depthwise convolution: its taps' weights stay, positions pass by.
    """
    for k in range(length):
        start = c_row + k * c_step
        out = c[start : start + n_columns]
        if not accumulate:
            out[:] = 0
        for t in range(a_rows.size):
            at = a_rows[t] + k * a_step
            add_product(out, a[at : at + n_columns], w[w_rows[t] : w_rows[t] + n_columns])


_row_of_9, _row_of_6, _row_of_4, _row_of_1 = (taps_intrinsic(n, CHANNEL_VECTORS, VECTOR_BYTES) for n in (9, 6, 4, 1))


@jit
def channel_row_vector(a, a_rows, a_step, w, w_rows, c, c_row, c_step, length, n_columns, accumulate):
    """The equation of `channel_row_plain` in vector registers; n_columns must be channel_columns(dtype).

    The taps of a 3x3 kernel go in one pass: nine inside an image, six at its edges, four in its corners.
    """
    if a_rows.size == 0:
        channel_row_plain(a, a_rows, a_step, w, w_rows, c, c_row, c_step, length, n_columns, accumulate)
    t, on_top = 0, accumulate
    while t < a_rows.size:
        left = a_rows.size - t
        taps = 9 if left >= 9 else 6 if left >= 6 else 4 if left >= 4 else 1
        x, weights = a_rows[t : t + taps], w_rows[t : t + taps]
        if taps == 9:
            _row_of_9(a, x, a_step, w, weights, c, c_row, c_step, length, on_top)
        elif taps == 6:
            _row_of_6(a, x, a_step, w, weights, c, c_row, c_step, length, on_top)
        elif taps == 4:
            _row_of_4(a, x, a_step, w, weights, c, c_row, c_step, length, on_top)
        else:
            _row_of_1(a, x, a_step, w, weights, c, c_row, c_step, length, on_top)
        t, on_top = t + taps, True


@jit
def channel_row(a, a_rows, a_step, w, w_rows, c, c_row, c_step, length, n_columns, accumulate):
    """The equation of `channel_row_plain` for any number of columns up to channel_columns(dtype)."""
    if VECTORISED and n_columns == CHANNEL_BYTES // c.itemsize:
        channel_row_vector(a, a_rows, a_step, w, w_rows, c, c_row, c_step, length, n_columns, accumulate)
    else:
        channel_row_plain(a, a_rows, a_step, w, w_rows, c, c_row, c_step, length, n_columns, accumulate)


tile = tile_vector if VECTORISED else tile_plain
