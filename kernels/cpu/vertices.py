"""The vertices of a permutohedral lattice: found around each pixel, numbered, joined with their neighbours.

Each corner of a pixel's simplex gets a key of 64 bits (`lattice.key_digits`). A step along an axis adds a constant to
it. Hash tables give each key its number, in the order of pixels, so that neighbouring pixels find their vertices in
neighbouring memory: each chunk of pixels numbers its own keys, then those of all chunks are numbered in order. A key
that is the first of its kind in all is the first of its kind in its chunk, too: the numbers are those of one long list.
"""

import numpy as np

from .arrays import empty
from .jit import jit, jit_parallel, jit_rounded
from .parts import PARTS, bounds

CHUNKS = 8  # parts of the pixels where each needs memory of its own; independent of the number of threads
_RUN = 64  # pixels whose simplices are found together
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads keys over the table (Knuth)


def number_vertices(features, scale, lowest, strides, weights):
    """The vertices around each pixel, its barycentric weights, and the neighbours of each vertex.

    Args:
        features: (N, d); scale, lowest, strides: `feature_scale` and `key_digits`.
        weights: (N, d + 1), overwritten.

    Returns:
        vertex (N, d + 1) int32; neighbours (d + 1, M, 2) int32, see `Lattice`.
    """
    n, axes = weights.shape
    vertex, keys = empty((n, axes), np.int32), empty((n * axes,), np.int64)
    counts = np.zeros(CHUNKS, np.int64)
    _number_in_chunks(CHUNKS, features, scale, lowest, strides, weights, vertex, keys, counts)
    size = 1 << int(2 * counts.sum()).bit_length()
    table_keys, table_ids = empty((size,), np.int64), np.full(size, -1, np.int32)
    numbers = empty((n * axes,), np.int32)
    m = _number_all(keys, counts, n, axes, table_keys, table_ids, numbers)
    _rename(CHUNKS, numbers, vertex)
    neighbours = np.full((axes, m, 2), m, np.int32)
    _find_neighbours(PARTS, keys, table_keys, table_ids, strides, neighbours)
    return vertex, neighbours


@jit_rounded
def _find_simplices(features, first, count, scale, lowest, strides, columns, weights, keys):
    """Keys of the corners of `count` pixels' simplices, and their barycentric weights: see `reference.simplex_of`.

    On equal residuals the order decides which vertices of weight 0 exist, so it must be that of the reference.

    Args:
        columns: (3, d + 1, _RUN) and weights (N, d + 1), keys (_RUN, d + 1), overwritten: loops over the pixels of a
            run are vector code.
    """
    d = features.shape[1]
    size = np.float64(d + 1)
    per_cell = 1 / (d + 1)
    residuals, quotients, positions = columns[0], columns[1], columns[2]
    tail, excess = np.zeros(count), np.zeros(count)
    for axis in range(d, -1, -1):
        residual, quotient = residuals[axis], quotients[axis]
        for p in range(count):
            c = 0.0 if axis == 0 else np.float64(features[first + p, axis - 1]) * scale[axis - 1]
            coordinate = tail[p] - axis * c
            tail[p] += c
            whole = np.rint(coordinate * per_cell)
            quotient[p] = whole
            residual[p] = coordinate - whole * size
            excess[p] += whole
    for axis in range(d + 1):
        position = positions[axis]
        for p in range(count):
            position[p] = excess[p]
    for axis in range(d + 1):  # then add the rank: residuals that are larger, or equal and earlier
        residual, position = residuals[axis], positions[axis]
        for other in range(axis + 1, d + 1):
            other_residual, other_position = residuals[other], positions[other]
            for p in range(count):
                earlier = 1.0 if residual[p] >= other_residual[p] else 0.0
                other_position[p] += earlier
                position[p] += 1.0 - earlier
    for axis in range(d + 1):
        residual, quotient, position = residuals[axis], quotients[axis], positions[axis]
        for p in range(count):
            wrap = (1.0 if position[p] < 0 else 0.0) - (1.0 if position[p] > d else 0.0)
            position[p] += wrap * size
            quotient[p] += wrap
            residual[p] = (residual[p] - wrap * size) * per_cell
    t, step = np.empty(d + 1), np.empty(d + 1, np.int64)
    for p in range(count):
        key = np.int64(0)
        for axis in range(d + 1):
            rank = np.int64(positions[axis, p])
            t[rank], step[rank] = residuals[axis, p], strides[axis]
            if axis < d:
                key += np.int64(quotients[axis, p] - lowest[axis]) * strides[axis]
        i = first + p
        weights[i, 0] = max(1 + t[d] - t[0], 0.0)  # rounding may leave -1e-17
        keys[p, 0] = key
        for k in range(1, d + 1):  # from corner k - 1 to k: one step along the axis with the next lower residual
            weights[i, k] = max(t[d - k] - t[d - k + 1], 0.0)
            key += 1 - step[d - k + 1]
            keys[p, k] = key


@jit
def _slot(table_keys, table_ids, key):
    """Where the key is in the table, or the free place where it belongs."""
    mask = table_keys.size - 1
    slot = np.int64((np.uint64(key) * _MULTIPLIER) >> np.uint64(20)) & mask
    while table_ids[slot] >= 0 and table_keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@jit_parallel
def _number_in_chunks(chunk, features, scale, lowest, strides, weights, vertex, keys, counts):
    """Number the different keys of each chunk from 0; they stand in `keys` from the chunk's first corner on."""
    n, axes = vertex.shape
    first, last = bounds(chunk, CHUNKS, n)
    found = keys[first * axes : last * axes]
    columns, run = np.empty((3, axes, _RUN)), np.empty((_RUN, axes), np.int64)
    before = np.full(axes, -1, np.int64)  # the keys of the pixel before: no key is negative
    count = 0
    table_keys, table_ids = np.empty(1 << 12, np.int64), np.full(1 << 12, -1, np.int32)
    for start in range(first, last, _RUN):
        length = min(_RUN, last - start)
        _find_simplices(features, start, length, scale, lowest, strides, columns, weights, run)
        for p in range(length):
            for k in range(axes):
                key = run[p, k]
                if before[k] == key:
                    vertex[start + p, k] = vertex[start + p - 1, k]
                    continue
                before[k] = key
                slot = _slot(table_keys, table_ids, key)
                if table_ids[slot] < 0:
                    table_keys[slot], table_ids[slot] = key, count
                    found[count] = key
                    vertex[start + p, k] = count
                    count += 1
                    if 2 * count > table_keys.size:
                        size = 4 * table_keys.size
                        table_keys, table_ids = np.empty(size, np.int64), np.full(size, -1, np.int32)
                        for number in range(count):
                            place = _slot(table_keys, table_ids, found[number])
                            table_keys[place], table_ids[place] = found[number], number
                else:
                    vertex[start + p, k] = table_ids[slot]
    counts[chunk] = count


@jit
def _number_all(keys, counts, n, axes, table_keys, table_ids, numbers):
    """Number the keys of all chunks in order, and move them to the front of `keys`; returns how many differ.

    Args:
        numbers: (N (d + 1),) int32, overwritten where `keys` holds keys.
    """
    m = 0
    for chunk in range(CHUNKS):
        first = bounds(chunk, CHUNKS, n)[0] * axes
        for place in range(first, first + counts[chunk]):
            slot = _slot(table_keys, table_ids, keys[place])
            if table_ids[slot] < 0:
                table_keys[slot], table_ids[slot] = keys[place], m
                keys[m] = keys[place]  # m <= place
                m += 1
            numbers[place] = table_ids[slot]
    return m


@jit_parallel
def _rename(chunk, numbers, vertex):
    """From the number in a chunk to that in all."""
    n, axes = vertex.shape
    first, last = bounds(chunk, CHUNKS, n)
    own = numbers[first * axes : last * axes]
    for i in range(first, last):
        for k in range(axes):
            vertex[i, k] = own[vertex[i, k]]


@jit_parallel
def _find_neighbours(part, keys, table_keys, table_ids, strides, neighbours):
    """Look for the vertex one step forward along each axis; the one behind is the same relation, read backwards."""
    axes, m, _ = neighbours.shape
    wrap = strides.sum()
    first, last = bounds(part, PARTS, m)
    for v in range(first, last):
        key = keys[v]
        # a step adds 1 to all coordinates: the common remainder d becomes 0, and all quotients grow
        step = wrap - (axes - 1) if key % axes == axes - 1 else 1
        for axis in range(axes):
            found = table_ids[_slot(table_keys, table_ids, key + step - strides[axis])]
            if found >= 0:
                neighbours[axis, v, 0] = found
                neighbours[axis, found, 1] = v
