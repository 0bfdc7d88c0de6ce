"""grad_w = sum over pixels of gathered input times output gradient, as one matrix product (implicit GEMM).

    c[m, k] = sum_i a(i, m) grad[i, k]      m = (kh, kw, channel), a(i, m) = x at the tap of position i, or 0

Small weights have too few tiles for a GPU, so positions are split among blocks; the partial results are added in order.
"""

from functools import lru_cache

import numba

from .arrays import empty, reshape
from .channels import sum_parts
from .device import SIMULATED, Kernel, cuda
from .tile import blocks, loader, multiplier, placer, preparer, storer, tile_for, vector_width

_BLOCKS = 6 if SIMULATED else 528  # blocks to aim at: tiles times splits
_PIXELS = 8 if SIMULATED else 512  # least positions of a split


def sum_over_pixels(x, grad, win, gather):
    """(KH, KW, C, K) from x (N, H, W, C) and grad (N, out_h, out_w, K); gather: see gather.py."""
    n_rows, positions = win.k_h * win.k_w * win.c_in, win.n * win.out_h * win.out_w
    widths = vector_width(x.dtype, win.c_in), vector_width(x.dtype, win.c_out)
    tile = tile_for(x.dtype, n_rows, win.c_out, widths)
    tiles = blocks(tile, n_rows, win.c_out)
    splits = max(1, min(_BLOCKS // tiles, positions // _PIXELS))
    per_split = -(-positions // splits)
    partial = empty((splits, *win.w_shape), x.dtype)
    kernel = _kernel(tile, x.dtype, *widths)
    kernel(
        (tiles, splits), tile.threads, x, win.in_h, win.in_w, win.c_in, win.k_w, grad, win.c_out, positions,
        win.out_h, win.out_w, per_split, *gather, n_rows, partial,
    )  # fmt: skip
    return reshape(partial, win.w_shape) if splits == 1 else sum_parts(partial, win.w_shape)


@lru_cache(maxsize=32)
def _kernel(tile, dtype, a_width, b_width):
    """The kernel for one tile, dtype, and numbers that a thread loads at once of x and of the gradient."""
    rows, columns, depth, down, across = tile.rows, tile.columns, tile.depth, tile.down, tile.across
    threads, number = tile.threads, numba.from_dtype(dtype)
    a_across, b_across = rows // a_width, columns // b_width  # threads side by side along channels
    a_loads, b_loads = -(-depth * a_across // threads), -(-depth * b_across // threads)
    a_pitch, b_pitch = tile.pitches
    size_of_a, size_of_b = 2 * depth * a_pitch, 2 * depth * b_pitch
    n_sums, n_a, n_b = down * across, a_loads * a_width, b_loads * b_width
    (of_down, of_across), (rows_apart, columns_apart) = tile.side_by_side, tile.apart
    groups = across // of_across
    place, prepare, multiply = placer(tile), preparer(tile), multiplier(tile, dtype)
    load_a, load_b, store = loader(a_width), loader(b_width), storer(b_width, of_across)

    def sum_over_pixels(
        # the left operand: x (N, in_h, in_w, channels), seen through taps, k_w in a row
        x, in_h, in_w, channels, k_w,
        # the right operand: grad, positions = N height width rows of n_columns
        grad, n_columns, positions, height, width,
        # positions that a block takes; which pixel a position reads at a tap (gather.py), the divisors being 1
        per_split, step_h, step_w, origin_h, origin_w, tap_h, tap_w, divisor_h, divisor_w,
        # the result: for each split (n_rows, n_columns), n_rows = taps times channels
        n_rows, partial,
    ):  # fmt: skip
        a = cuda.shared.array(size_of_a, number)
        b = cuda.shared.array(size_of_b, number)
        sums = cuda.local.array(n_sums, number)
        next_a = cuda.local.array(n_a, number)
        next_b = cuda.local.array(n_b, number)
        origin_of_h = cuda.local.array(a_loads, numba.int64)
        origin_of_w = cuda.local.array(a_loads, numba.int64)
        channel = cuda.local.array(a_loads, numba.int64)  # -1: none
        p = cuda.local.array(a_loads, numba.int64)  # the position that this thread loads of the next slab
        q = cuda.local.array(a_loads, numba.int64)
        image = cuda.local.array(a_loads, numba.int64)
        for i in range(n_sums):
            sums[i] = 0
        t = cuda.threadIdx.x
        column_blocks = (n_columns + columns - 1) // columns
        first_row = cuda.blockIdx.x // column_blocks * rows
        first_column = cuda.blockIdx.x % column_blocks * columns
        start = cuda.blockIdx.y * per_split
        end = min(start + per_split, positions)

        for i in range(a_loads):
            j = t + i * threads
            m, position = first_row + j % a_across * a_width, start + j // a_across
            channel[i] = m % channels if m < n_rows and j < depth * a_across else -1
            origin_of_h[i] = m // channels // k_w * tap_h + origin_h
            origin_of_w[i] = m // channels % k_w * tap_w + origin_w
            image[i] = position // (height * width)
            p[i] = position // width % height
            q[i] = position % width
        stage = 0
        for first in range(start, end, depth):
            # read the next slab into registers
            for i in range(a_loads):
                h, w = p[i] * step_h + origin_of_h[i], q[i] * step_w + origin_of_w[i]
                inside = channel[i] >= 0 and first + (t + i * threads) // a_across < end
                inside = inside and 0 <= h < in_h and 0 <= w < in_w
                load_a(x, ((image[i] * in_h + h) * in_w + w) * channels + channel[i], inside, next_a, i * a_width)
                q[i] += depth
                while q[i] >= width:
                    q[i] -= width
                    p[i] += 1
                    if p[i] == height:
                        p[i] = 0
                        image[i] += 1
            for i in range(b_loads):
                j = t + i * threads
                position, column = first + j // b_across, first_column + j % b_across * b_width
                inside = j < depth * b_across and position < end and column < n_columns
                load_b(grad, position * n_columns + column, inside, next_b, i * b_width)
            if first > start:
                multiply(a, b, 1 - stage, t, sums)
            # copy it from registers to shared memory
            for i in range(a_loads):
                j = t + i * threads
                if j < depth * a_across:
                    at = (stage * depth + j // a_across) * a_pitch + j % a_across * a_width
                    for v in range(a_width):
                        a[at + v] = prepare(next_a[i * a_width + v])
            for i in range(b_loads):
                j = t + i * threads
                if j < depth * b_across:
                    at = (stage * depth + j // b_across) * b_pitch + j % b_across * b_width
                    for v in range(b_width):
                        b[at + v] = prepare(next_b[i * b_width + v])
            cuda.syncthreads()
            stage = 1 - stage
        if start < end:
            multiply(a, b, 1 - stage, t, sums)

        row, column = place(t)
        for i in range(down):
            m = first_row + row + i // of_down * rows_apart + i % of_down
            for group in range(groups):
                k = first_column + column + group * columns_apart
                if m < n_rows and k < n_columns:
                    at = (cuda.blockIdx.y * n_rows + m) * n_columns + k
                    store(partial, at, sums, i * across + group * of_across, n_columns - k)

    return Kernel(sum_over_pixels)
