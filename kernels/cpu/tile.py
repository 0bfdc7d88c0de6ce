"""The register tiles, and the loop by channel: here every convolution, forward and gradients, spends its time.

    dense       c[c_rows[i] + j] (+)= sum_s sum_k a[a_rows[i] + a_segments[s] + k * a_step] * b[.. + j]
    by channel  c[c_rows[i] + j] (+)= sum_s sum_k a[a_rows[i] + a_segments[s] + k * a_step + j] * b[.. + j]

    with b[b_segments[s] + k * b_step + j], for i < ROWS, j < columns(dtype); by channel CHANNEL_ROWS, channel_columns

A segment is a run of the reduction in which both operands advance by a constant step: a tap's channels in the forward
pass, an image row's pixels in the weight gradient. All offsets count elements of the flat arrays. The accumulators
stay in vector registers from the first segment to the last: each step of k loads one row of b, takes ROWS values of a
(by channel: ROWS rows of a), and does ROWS * VECTORS fused multiply-adds.

Memory is far away. While a tile computes it asks for what a later tile will read; this changes no result, and the
addresses need not exist. The dense tile asks every ASKS steps, with ahead = (address, step, lines), for so many
cache lines of a run that starts at the address, `step` bytes apart, and for two rows of its own c.
By channel, with ahead = (i, j, l), it asks at step k for

    a[a_rows[-1] + a_segments[s] + i + k * j]   and   b[b_segments[s] + k * b_step + l]

`channel_row` computes a row of positions of a depthwise convolution, forward or input gradient.

By channel and in `channel_row`, a and b may be the bits of bfloat16 numbers; they are widened as they are loaded, and
c, in float32, takes the sums.

`tile`, `channel_tile` and `channel_row` run as LLVM vector code (llvm.py), because plain Numba keeps no tile of
accumulators in registers. Their `_plain` versions are the same in plain Numba: what tests compare with, the place to
understand them, and what unknown processors run.
"""

import numpy as np

from .jit import jit
from .llvm import tile_intrinsic, transpose_intrinsic
from .llvm_row import row_intrinsic
from .processor import FEATURES
from .rows import add_multiple, add_product


def _host_tile():
    """(bytes of a vector, vectors in a row of the tile, rows): accumulators and operands fit the registers."""
    if "+avx512f" in FEATURES:
        return 64, 2, 14  # 32 registers: 28 accumulators, 2 of b, 1 broadcast
    if "+avx2" in FEATURES and "+fma" in FEATURES:
        return 32, 2, 6  # 16 registers: 12 accumulators, 2 of b, 1 broadcast
    if "+neon" in FEATURES or "+asimd" in FEATURES:
        return 16, 3, 8  # 32 registers: 24 accumulators, 3 of b, 1 broadcast
    return None


_HOST = _host_tile()
VECTORISED = _HOST is not None
VECTOR_BYTES, VECTORS, ROWS = _HOST or (32, 2, 4)
TILE_BYTES = VECTORS * VECTOR_BYTES  # bytes of a row of the tile
# 9 rows are the taps of a 3x3 kernel; with two vectors 18 accumulators, for which AVX2 has too few registers
CHANNEL_ROWS, CHANNEL_VECTORS = 9, 1 if VECTOR_BYTES == 32 else 2
CHANNEL_BYTES = CHANNEL_VECTORS * VECTOR_BYTES
SPLITS_PAIRS = VECTORISED and CHANNEL_VECTORS == 2  # bfloat16 by channel: sums of even columns, then of odd ones


def columns(dtype):
    """Output channels in a tile: those of VECTORS vectors of the dtype."""
    return TILE_BYTES // np.dtype(dtype).itemsize


def channel_columns(dtype):
    """Channels in a tile by channel."""
    return CHANNEL_BYTES // np.dtype(dtype).itemsize


@jit
def tile_plain(a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, n_columns, accumulate, ahead):
    """The tile's equation as loops; lengths[s] is the length of segment s. The inner loop over j runs in vectors."""
    sums = np.zeros((ROWS, n_columns), c.dtype)
    if accumulate:
        for i in range(ROWS):
            for j in range(n_columns):
                sums[i, j] = c[c_rows[i] + j]
    for s in range(lengths.size):
        for k in range(lengths[s]):
            b_row = b_segments[s] + k * b_step
            for i in range(ROWS):
                x = a[a_rows[i] + a_segments[s] + k * a_step]
                add_multiple(sums[i], x, b[b_row : b_row + n_columns])
    for i in range(ROWS):  # all loads of c come before all stores: rows of a tile may repeat
        for j in range(n_columns):
            c[c_rows[i] + j] = sums[i, j]


@jit
def channel_tile_plain(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The equation by channel as loops; the inner loop over j runs in vectors."""
    sums = np.zeros((CHANNEL_ROWS, n_columns), c.dtype)
    if accumulate:
        for i in range(CHANNEL_ROWS):
            for j in range(n_columns):
                sums[i, j] = c[c_rows[i] + j]
    for s in range(lengths.size):
        for k in range(lengths[s]):
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
    a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The tile's equation in vector registers; arguments as `tile_plain` (n_columns must be columns(dtype))."""
    _tile_vector(
        a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, accumulate, ahead
    )  # fmt: skip


@jit
def channel_tile_vector(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The equation by channel in vector registers; n_columns must be channel_columns(dtype)."""
    _channel_tile_vector(
        a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, accumulate, ahead
    )  # fmt: skip


@jit
def channel_tile(
    a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, n_columns, accumulate, ahead
):  # fmt: skip
    """The equation by channel for any number of columns up to channel_columns(dtype).

    Of bfloat16 and channel_columns the sums of even columns come before those of odd ones, if SPLITS_PAIRS.
    """
    if VECTORISED and n_columns == CHANNEL_BYTES // c.itemsize:
        channel_tile_vector(
            a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, n_columns, accumulate, ahead
        )  # fmt: skip
    else:
        channel_tile_plain(
            a, a_rows, a_segments, a_step, b, b_segments, b_step, lengths, c, c_rows, n_columns, accumulate, ahead
        )  # fmt: skip


@jit
def channel_row_plain(a, a_row, a_step, a_taps, tap_columns, w, w_taps, c, c_row, c_step, length, n_channels):
    """c[c_row + p c_step + j] = sum_t a[a_row + p a_step + a_taps[t] + j] w[w_taps[t] + j], j < n_channels, p < length.

    A row of positions of a depthwise convolution. Its taps are a grid with tap_columns columns, listed row by row.
    """
    for p in range(length):
        at = c_row + p * c_step
        out = c[at : at + n_channels]
        out[:] = 0
        for t in range(a_taps.size):
            at = a_row + p * a_step + a_taps[t]
            add_product(out, a[at : at + n_channels], w[w_taps[t] : w_taps[t] + n_channels])


_POSITIONS = 4  # computed together: a weight that is loaded is used four times
_row_of_9, _row_of_6, _row_of_4, _row_of_2, _row_of_1 = (
    row_intrinsic(n, 1, _POSITIONS, VECTOR_BYTES) for n in (9, 6, 4, 2, 1)
)
_row_of_3x3, _row_of_2x3, _row_of_3x2, _row_of_2x2 = (
    row_intrinsic(n_rows, n_columns, _POSITIONS, VECTOR_BYTES) for n_columns in (3, 2) for n_rows in (3, 2)
)


@jit
def channel_row_vector(
    a, a_row, a_step, a_taps, tap_columns, w, w_taps, c, c_row, c_step, length, n_channels, last=None, final=False
):  # fmt: skip
    """The equation of `channel_row_plain` in vector registers, for a tap and a vector of channels at least.

    Channels that fill no vector are taken as one more vector that ends with them, in a second pass. Taps in other grids
    than 2 or 3 by 2 or 3, in short rows, or at a stride are taken one by one, up to nine in a pass. `last` and `final`
    as of `llvm_row.row_intrinsic`.
    """
    lanes, tap_rows = VECTOR_BYTES // c.itemsize, a_taps.size // tap_columns
    # positions of one phase are as far apart as the taps of a kernel row: what is loaded for one serves its neighbours
    phases = (a_taps[1] - a_taps[0]) // a_step if tap_columns > 1 else 0
    shared = phases > 0 and a_taps[1] - a_taps[0] == phases * a_step and length >= _POSITIONS * phases
    shared = shared and 2 <= tap_rows <= 3 and 2 <= tap_columns <= 3
    for part in range(2):
        first, n_vectors = (0, n_channels // lanes) if part == 0 else (n_channels - lanes, 1)
        if part == 1 and n_channels % lanes == 0:
            continue
        if shared:
            for phase in range(phases):
                x, x_step, y, y_step = a_row + phase * a_step, phases * a_step, c_row + phase * c_step, phases * c_step
                n = (length - phase + phases - 1) // phases
                if tap_rows == 3 and tap_columns == 3:
                    _row_of_3x3(a, x, x_step, a_taps, w, w_taps, c, y, y_step, n, first, n_vectors, False, last, final)
                elif tap_rows == 2 and tap_columns == 3:
                    _row_of_2x3(a, x, x_step, a_taps, w, w_taps, c, y, y_step, n, first, n_vectors, False, last, final)
                elif tap_rows == 3:
                    _row_of_3x2(a, x, x_step, a_taps, w, w_taps, c, y, y_step, n, first, n_vectors, False, last, final)
                else:
                    _row_of_2x2(a, x, x_step, a_taps, w, w_taps, c, y, y_step, n, first, n_vectors, False, last, final)
            continue
        t = 0
        while t < a_taps.size:
            left = a_taps.size - t
            n = 9 if left >= 9 else 6 if left >= 6 else 4 if left >= 4 else 2 if left >= 2 else 1
            x, k, more, done = a_taps[t : t + n], w_taps[t : t + n], t > 0, final and t + n == a_taps.size
            if n == 9:
                _row_of_9(a, a_row, a_step, x, w, k, c, c_row, c_step, length, first, n_vectors, more, last, done)
            elif n == 6:
                _row_of_6(a, a_row, a_step, x, w, k, c, c_row, c_step, length, first, n_vectors, more, last, done)
            elif n == 4:
                _row_of_4(a, a_row, a_step, x, w, k, c, c_row, c_step, length, first, n_vectors, more, last, done)
            elif n == 2:
                _row_of_2(a, a_row, a_step, x, w, k, c, c_row, c_step, length, first, n_vectors, more, last, done)
            else:
                _row_of_1(a, a_row, a_step, x, w, k, c, c_row, c_step, length, first, n_vectors, more, last, done)
            t += n


@jit
def channel_row(
    a, a_row, a_step, a_taps, tap_columns, w, w_taps, c, c_row, c_step, length, n_channels, last, final
):  # fmt: skip
    """The equation of `channel_row_plain` for any number of channels and taps; whether it has done what is `final`."""
    if VECTORISED and n_channels >= VECTOR_BYTES // c.itemsize and a_taps.size:
        channel_row_vector(
            a, a_row, a_step, a_taps, tap_columns, w, w_taps, c, c_row, c_step, length, n_channels, last, final
        )  # fmt: skip
        return final
    channel_row_plain(a, a_row, a_step, a_taps, tap_columns, w, w_taps, c, c_row, c_step, length, n_channels)
    return False


tile = tile_vector if VECTORISED else tile_plain
