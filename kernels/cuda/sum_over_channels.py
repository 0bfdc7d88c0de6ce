"""c = sum over taps and channels of gathered pixels times weights: the forward pass and, with transposed weights, the
input gradient, as one matrix product whose left operand is never written down (implicit GEMM).

    c[m, n] = sum_k a(m, k) b[k, n]      m = (image, p, q), k = (kh, kw, channel), a(m, k) = source at m's tap, or 0
"""

from functools import lru_cache

import numba

from ..activation import GATES, limits_of
from .activation import between, hardswish
from .device import Kernel, cuda
from .elementwise import activate
from .tile import blocks, loader, multiplier, placer, preparer, storer, tile_for, vector_width


def sum_over_channels(source, weights, result, gather, taps, scale=None, shift=None, activation=None, residual=None):
    """Fill `result`.

    Args:
        source: (N, h, w, C); weights: (KH, KW, C, K); result: (N, H, W, K); gather: see gather.py.
        taps: (KH, KW); scale, shift, activation, residual: as in `conv2d`.
    """
    (n, height, width, n_columns), (_, source_h, source_w, channels) = result.shape, source.shape
    positions = n * height * width
    widths = vector_width(result.dtype, channels), vector_width(result.dtype, n_columns)
    tile = tile_for(result.dtype, positions, n_columns, widths)
    kernel = _kernel(tile, result.dtype, *widths)
    unused = result
    kernel(
        blocks(tile, positions, n_columns), tile.threads, source, source_h, source_w, channels, *taps, weights,
        n_columns, result, positions, height, width, *gather,
        unused if scale is None else scale, unused if shift is None else shift, scale is not None,
        unused if residual is None else residual, residual is not None,
        *limits_of(activation, result.dtype), activation == "hardswish",
    )  # fmt: skip
    return activate(result, activation) if activation in GATES else result


@lru_cache(maxsize=32)
def _kernel(tile, dtype, a_width, b_width):
    """The kernel for one tile, dtype, and numbers that a thread loads at once of the source and of the weights."""
    rows, columns, depth, down, across = tile.rows, tile.columns, tile.depth, tile.down, tile.across
    threads, number = tile.threads, numba.from_dtype(dtype)
    a_across = depth // a_width  # threads side by side along a pixel's channels
    a_down = threads // a_across
    a_loads = -(-rows // a_down)
    b_across = columns // b_width
    b_loads = -(-depth * b_across // threads)
    a_pitch, b_pitch = tile.pitches
    size_of_a, size_of_b = 2 * depth * a_pitch, 2 * depth * b_pitch
    n_sums, n_a, n_b = down * across, a_loads * a_width, b_loads * b_width
    (of_down, of_across), (rows_apart, columns_apart) = tile.side_by_side, tile.apart
    groups = across // of_across
    place, prepare, multiply = placer(tile), preparer(tile), multiplier(tile, dtype)
    load_a, load_b, store = loader(a_width), loader(b_width), storer(b_width, of_across)

    def sum_over_channels(
        # the left operand a: source (N, h, w, channels), seen through k_h x k_w taps
        source, source_h, source_w, channels, k_h, k_w,
        # the right operand b: (k_h k_w channels, n_columns)
        weights, n_columns,
        # the result: positions = N height width rows of n_columns
        result, positions, height, width,
        # which pixel a position reads at a tap (gather.py): (p step + origin + kh tap) / divisor
        step_h, step_w, origin_h, origin_w, tap_h, tap_w, divisor_h, divisor_w,
        # the last step: scale and shift (n_columns,), read where it `scales`; residual like result, where it `adds`
        scale, shift, scales, residual, adds,
        # its activation: the result lies between low and high, or is hardswish
        low, high, is_hardswish,
    ):  # fmt: skip
        a = cuda.shared.array(size_of_a, number)
        b = cuda.shared.array(size_of_b, number)
        sums = cuda.local.array(n_sums, number)
        next_a = cuda.local.array(n_a, number)
        next_b = cuda.local.array(n_b, number)
        row_h = cuda.local.array(a_loads, numba.int64)
        row_w = cuda.local.array(a_loads, numba.int64)
        row_line = cuda.local.array(a_loads, numba.int64)  # the first line of its image in the source; -1: no position
        for i in range(n_sums):
            sums[i] = 0
        t = cuda.threadIdx.x
        column_blocks = (n_columns + columns - 1) // columns
        first_row = cuda.blockIdx.x // column_blocks * rows  # neighbours share positions, and with them the cache
        first_column = cuda.blockIdx.x % column_blocks * columns

        # the positions whose pixels this thread loads, and the term it loads of them
        for i in range(a_loads):
            row = t // a_across + i * a_down
            m = first_row + row
            line = m // width
            row_line[i] = line // height * source_h if row < rows and m < positions else -1
            row_h[i] = line % height * step_h + origin_h
            row_w[i] = m % width * step_w + origin_w
        c, kh, kw = t % a_across * a_width, 0, 0
        terms, stage = k_h * k_w * channels, 0
        for k in range(0, terms, depth):
            # read the next slab into registers
            while c >= channels:
                c -= channels
                kw += 1
                if kw == k_w:
                    kw = 0
                    kh += 1
            for i in range(a_loads):
                h = row_h[i] + kh * tap_h
                w = row_w[i] + kw * tap_w
                inside = row_line[i] >= 0 and kh < k_h and h >= 0 and w >= 0
                if divisor_h != 1 and inside:
                    inside = h % divisor_h == 0
                    h //= divisor_h
                if divisor_w != 1 and inside:
                    inside = w % divisor_w == 0
                    w //= divisor_w
                inside = inside and h < source_h and w < source_w
                load_a(source, ((row_line[i] + h) * source_w + w) * channels + c, inside, next_a, i * a_width)
            for i in range(b_loads):
                j = t + i * threads
                term, column = k + j // b_across, first_column + j % b_across * b_width
                inside = j < depth * b_across and term < terms and column < n_columns
                load_b(weights, term * n_columns + column, inside, next_b, i * b_width)
            if k > 0:
                multiply(a, b, 1 - stage, t, sums)
            # copy it from registers to shared memory
            for i in range(a_loads):
                row = t // a_across + i * a_down
                if row < rows:
                    for v in range(a_width):
                        a[(stage * depth + t % a_across * a_width + v) * a_pitch + row] = prepare(
                            next_a[i * a_width + v]
                        )
            for i in range(b_loads):
                j = t + i * threads
                if j < depth * b_across:
                    at = (stage * depth + j // b_across) * b_pitch + j % b_across * b_width
                    for v in range(b_width):
                        b[at + v] = prepare(next_b[i * b_width + v])
            cuda.syncthreads()
            stage = 1 - stage
            c += depth
        multiply(a, b, 1 - stage, t, sums)

        # write the sums of this thread; the loops are short, so that they are unrolled and the sums stay in registers
        row, column = place(t)
        first_m, first_n = first_row + row, first_column + column
        if scales:
            for j in range(across):
                n = first_n + j // of_across * columns_apart + j % of_across
                factor, offset = scale[min(n, n_columns - 1)], shift[min(n, n_columns - 1)]
                for i in range(down):
                    sums[i * across + j] = sums[i * across + j] * factor + offset
        if adds:
            for i in range(down):
                m = first_m + i // of_down * rows_apart + i % of_down
                for j in range(across):
                    n = first_n + j // of_across * columns_apart + j % of_across
                    if m < positions and n < n_columns:
                        sums[i * across + j] += residual[m * n_columns + n]
        for i in range(n_sums):
            sums[i] = between(sums[i], low, high)
        if is_hardswish:
            for i in range(n_sums):
                sums[i] = hardswish(sums[i])
        for i in range(down):
            m = first_m + i // of_down * rows_apart + i % of_down
            for group in range(groups):
                n = first_n + group * columns_apart
                if m < positions and n < n_columns:
                    store(result, m * n_columns + n, sums, i * across + group * of_across, n_columns - n)

    return Kernel(sum_over_channels)
