"""Prefix sum (scan) and radix sort: whole numbers only, so the results are the same in every run."""

import numba
import numpy as np

from .arrays import empty
from .device import SIMULATED, THREADS, Kernel, cuda

_RUN = 16 if SIMULATED else 8  # numbers that a thread of a sum takes, one after the other
_TILE = _RUN * THREADS
_BITS = 4  # bits of a digit
_DIGITS = 1 << _BITS
_SHARE = _DIGITS  # numbers that a thread of a pass of sorting takes: as many counters as numbers


def exclusive_sum(x):
    """y[i] = sum of x[j] over j < i.

    Args:
        x: flat int32, not empty, with a sum below 2^31.

    Returns:
        y: int32; total: (1,) int32, the sum of all.

    Source: sums of tiles, then of the tiles' sums; inside a tile Hillis and Steele 1986.
    """
    tiles = -(-x.size // _TILE)
    y, sums = empty(x.shape, np.int32), empty((tiles,), np.int32)
    _sum_tiles(tiles, THREADS, x.size, x, y, sums)
    if tiles == 1:
        return y, sums
    before, total = exclusive_sum(sums)
    _add_before(tiles, THREADS, x.size, before, y)
    return y, total


def stable_order(keys, below):
    """The order in which flat int32 keys, 0 <= key < below, ascend; equal keys keep theirs.

    Returns:
        keys in that order, order: int32.

    Cost: a pass over the keys for every four bits of `below`.

    Radix sort, least significant digit first: a thread counts the digits of its own run, and the exclusive sum of the
    counts over (digit, thread) says where it writes.
    """
    n = keys.size
    threads = -(-n // _SHARE)
    order = empty((n,), np.int32)
    _number.flat(n, n, order)
    for shift in range(0, max(1, (below - 1).bit_length()), _BITS):
        counts = empty((_DIGITS * threads,), np.int32)
        _count_digits.flat(threads, threads, n, keys, shift, counts)
        places, _ = exclusive_sum(counts)
        sorted_keys, sorted_order = empty((n,), np.int32), empty((n,), np.int32)
        _scatter.flat(threads, threads, n, keys, order, shift, places, sorted_keys, sorted_order)
        keys, order = sorted_keys, sorted_order
    return keys, order


@Kernel
def _sum_tiles(n, x, y, sums):
    """Block: y = sums inside a tile, and the tile's own sum."""
    upto = cuda.shared.array(THREADS, numba.int32)
    t = cuda.threadIdx.x
    first = cuda.blockIdx.x * _TILE + t * _RUN
    last = min(first + _RUN, n)
    own = 0
    for i in range(first, last):
        own += x[i]
    upto[t] = own
    cuda.syncthreads()
    step = 1
    while step < THREADS:
        other = upto[t - step] if t >= step else 0
        cuda.syncthreads()
        upto[t] += other
        cuda.syncthreads()
        step *= 2
    before = upto[t] - own
    for i in range(first, last):
        value = x[i]
        y[i] = before
        before += value
    if t == THREADS - 1:
        sums[cuda.blockIdx.x] = upto[t]


@Kernel
def _add_before(n, before, y):
    first = cuda.blockIdx.x * _TILE
    for i in range(first + cuda.threadIdx.x, min(first + _TILE, n), THREADS):
        y[i] += before[cuda.blockIdx.x]


@Kernel
def _number(count, y):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        y[i] = i


@Kernel
def _count_digits(threads, n, keys, shift, counts):
    count = cuda.local.array(_DIGITS, numba.int32)
    for t in range(cuda.grid(1), threads, cuda.gridsize(1)):
        for digit in range(_DIGITS):
            count[digit] = 0
        for i in range(t * _SHARE, min((t + 1) * _SHARE, n)):
            count[(keys[i] >> shift) & (_DIGITS - 1)] += 1
        for digit in range(_DIGITS):
            counts[digit * threads + t] = count[digit]


@Kernel
def _scatter(threads, n, keys, order, shift, places, sorted_keys, sorted_order):
    place = cuda.local.array(_DIGITS, numba.int32)
    for t in range(cuda.grid(1), threads, cuda.gridsize(1)):
        for digit in range(_DIGITS):
            place[digit] = places[digit * threads + t]
        for i in range(t * _SHARE, min((t + 1) * _SHARE, n)):
            digit = (keys[i] >> shift) & (_DIGITS - 1)
            sorted_keys[place[digit]], sorted_order[place[digit]] = keys[i], order[i]
            place[digit] += 1
