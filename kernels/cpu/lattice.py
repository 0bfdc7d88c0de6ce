"""The permutohedral lattice: built once for an image, then run through for every filter.

Building: each pixel's simplex is found as in `reference`, and each of its corners gets a key of 64 bits (`key_digits`).
A step along an axis adds a constant to it. A hash table gives each key its number, in the order of pixels, so that
neighbouring pixels find their vertices in neighbouring memory.

Filtering: three sparse products (gather.py). The splat gathers too, from the pixels around each vertex, so that every
number is written by one thread, in one order.
"""

import numpy as np
from numba import prange

from .. import reference
from ..checks import check_features, check_join, check_lattice_values
from ..lattice import Lattice, alpha, feature_scale, key_digits
from .arrays import contiguous, empty
from .gather import gather_row
from .jit import jit, jit_parallel, jit_parallel_rounded
from .parts import PARTS, bounds

_CHUNKS = 8  # parts of the pixels where each needs memory of its own; independent of the number of threads
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads keys over the table (Knuth)


def build_lattice(features):
    """The lattice of N feature vectors, of which two at distance 1 are one standard deviation apart.

    Args:
        features: (N, d), d from 1 to 19, float32 or float64, each dimension divided by its standard deviation.

    Returns:
        Lattice, with weights of the features' dtype.

    Raises:
        ValueError: no features, values that are not finite or too large.
    """
    check_features(features)
    (features,) = contiguous(features)
    n, d = features.shape
    low, high = np.empty((PARTS, d)), np.empty((PARTS, d))
    _extremes(features, low, high)
    lowest, strides = key_digits(low.min(axis=0), high.max(axis=0))
    if strides is None:  # the keys of so many dimensions, or so far apart, do not fit into 64 bits
        return reference.build_lattice(features)
    keys, weights = np.empty((n, d + 1), np.int64), empty((n, d + 1), features.dtype)
    _embed(features, feature_scale(d), lowest, strides, keys, weights)
    vertex = np.empty((n, d + 1), np.int32)
    unique, table_keys, table_ids = _number(keys, vertex)
    m = len(unique)
    neighbours = np.full((d + 1, m, 2), m, np.int32)
    _find_neighbours(unique, table_keys, table_ids, strides, neighbours)
    starts, pixel, splat_weight = _transposed(vertex, weights, m)
    return Lattice(vertex, weights * weights.dtype.type(alpha(d)), starts, pixel, splat_weight, (neighbours,))


def join_lattices(lattices, before, after):
    """One lattice for sum_j diag(after_j) K_j diag(before_j), several filters of the same N pixels.

    Args:
        lattices: of `build_lattice`, of one dtype.
        before, after: for each of them factors (N,) or a number: what normalises and weighs a filter is free then.
    """
    check_join(lattices, before, after)
    n, dtype = lattices[0].n_pixels, lattices[0].slice_weight.dtype
    before, after = ([np.broadcast_to(factor, n).astype(dtype) for factor in factors] for factors in (before, after))
    first = np.cumsum([0] + [lattice.n_vertices for lattice in lattices]).tolist()
    column = np.cumsum([0] + [lattice.vertex.shape[1] for lattice in lattices]).tolist()
    vertex, slice_weight = empty((n, column[-1]), np.int32), empty((n, column[-1]), dtype)
    pixel, splat_weight = empty((n * column[-1],), np.int32), empty((n * column[-1],), dtype)
    for i, lattice in enumerate(lattices):
        _place_corners(lattice.vertex, lattice.slice_weight, after[i], first[i], column[i], vertex, slice_weight)
        entries = slice(n * column[i], n * column[i + 1])
        _place_entries(lattice.pixel, lattice.splat_weight, before[i], pixel[entries], splat_weight[entries])
    starts = [lattice.starts[:-1] + n * column[i] for i, lattice in enumerate(lattices)]
    starts = np.concatenate([*starts, [n * column[-1]]])
    return Lattice(vertex, slice_weight, starts, pixel, splat_weight, sum((a.neighbours for a in lattices), ()))


def splat(lattice, values):
    """u[m] = sum over the pixels around vertex m of splat_weight x[pixel].

    Args:
        values: (N, K).

    Returns:
        (M, K).
    """
    check_lattice_values("splat", lattice, values, lattice.n_pixels)
    (values,) = contiguous(values)
    result = empty((lattice.n_vertices, values.shape[1]), values.dtype)
    shares = np.searchsorted(lattice.starts, np.linspace(0, len(lattice.pixel), PARTS + 1))
    shares[-1] = lattice.n_vertices
    _splat(values.reshape(-1), values.shape[1], shares, *lattice[2:5], result.reshape(-1))
    return result


def blur(lattice, values, reverse=False):
    """u[m] <- u[m] + (u[forward] + u[back]) / 2 along each axis in turn, with 0 where there is no vertex.

    Args:
        values: (M, K); reverse: the axes from last to first, the adjoint: where vertices are missing the order matters.

    Returns:
        (M, K).
    """
    check_lattice_values("blur", lattice, values, lattice.n_vertices)
    (values,) = contiguous(values)
    spare, result = empty(values.shape, values.dtype), empty(values.shape, values.dtype)
    start = 0
    for neighbours in lattice.neighbours:
        axes, m, _ = neighbours.shape
        part = slice(start, start + m)
        # the passes end in `result`
        buffers = [values[part], *([result[part], spare[part]] if axes % 2 else [spare[part], result[part]])]
        order = range(axes)[::-1] if reverse else range(axes)
        for number, axis in enumerate(order):
            source = buffers[0] if number == 0 else buffers[1 + (number - 1) % 2]
            target = buffers[1 + number % 2]
            _blur(source.reshape(-1), values.shape[1], neighbours[axis], target.reshape(-1))
        start += m
    return result


def slice_lattice(lattice, values):
    """y[i] = sum over the vertices around pixel i of slice_weight u[vertex].

    Args:
        values: (M, K).

    Returns:
        (N, K).
    """
    check_lattice_values("slice_lattice", lattice, values, lattice.n_vertices)
    (values,) = contiguous(values)
    result = empty((lattice.n_pixels, values.shape[1]), values.dtype)
    corners = (a.reshape(-1) for a in contiguous(lattice.vertex, lattice.slice_weight))
    _slice(values.reshape(-1), values.shape[1], *corners, lattice.vertex.shape[1], result.reshape(-1))
    return result


# ---------------------------------------------------------------- building


@jit_parallel
def _extremes(features, low, high):
    """Smallest and largest value of each dimension in each part of the pixels."""
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, features.shape[0])
        for axis in range(features.shape[1]):
            low[part, axis], high[part, axis] = np.inf, -np.inf
        for i in range(first, last):
            for axis in range(features.shape[1]):
                low[part, axis] = min(low[part, axis], np.float64(features[i, axis]))
                high[part, axis] = max(high[part, axis], np.float64(features[i, axis]))


@jit_parallel_rounded
def _embed(features, scale, lowest, strides, keys, weights):
    """Keys of the corners of each pixel's simplex, and its barycentric weights: see `reference.simplex_of`.

    On equal residuals the order decides which vertices of weight 0 exist, so it must be that of the reference.
    """
    d = features.shape[1]
    per_cell = 1 / (d + 1)
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, features.shape[0])
        residual, quotient = np.empty(d + 1), np.empty(d + 1)
        by_rank, t = np.empty(d + 1, np.int64), np.empty(d + 1)
        for i in range(first, last):
            tail, excess = 0.0, 0.0
            for axis in range(d, -1, -1):
                c = 0.0 if axis == 0 else np.float64(features[i, axis - 1]) * scale[axis - 1]
                coordinate = tail - axis * c
                tail += c
                quotient[axis] = np.rint(coordinate * per_cell)
                residual[axis] = coordinate - quotient[axis] * (d + 1)
                excess += quotient[axis]
            key = np.int64(0)
            for axis in range(d + 1):
                position = np.int64(excess)  # then add the rank: residuals that are larger, or equal and earlier
                for other in range(axis):
                    position += residual[other] >= residual[axis]
                for other in range(axis + 1, d + 1):
                    position += residual[other] > residual[axis]
                wrap = np.int64(position < 0) - np.int64(position > d)
                position += wrap * (d + 1)
                by_rank[position], t[position] = axis, (residual[axis] - wrap * (d + 1)) * per_cell
                if axis < d:
                    key += np.int64(quotient[axis] + wrap - lowest[axis]) * strides[axis]
            weights[i, 0] = max(1 + t[d] - t[0], 0.0)  # rounding may leave -1e-17
            keys[i, 0] = key
            for k in range(1, d + 1):  # from corner k - 1 to k: one step along the axis with the next lower residual
                weights[i, k] = max(t[d - k] - t[d - k + 1], 0.0)
                key += 1 - strides[by_rank[d - k + 1]]
                keys[i, k] = key


@jit
def _slot(table_keys, table_ids, key):
    """Where the key is in the table, or the free place where it belongs."""
    mask = table_keys.size - 1
    slot = np.int64((np.uint64(key) * _MULTIPLIER) >> np.uint64(20)) & mask
    while table_ids[slot] >= 0 and table_keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@jit
def _number(keys, vertex):
    """Number the different keys in the order of pixels.

    Returns:
        the keys by number; the hash table (keys, numbers or -1), at most half full.
    """
    n, corners = keys.shape
    unique = np.empty(n * corners, np.int64)
    count = 0
    table_keys, table_ids = np.empty(1 << 12, np.int64), np.full(1 << 12, -1, np.int32)
    for i in range(n):
        for k in range(corners):
            key = keys[i, k]
            if i > 0 and keys[i - 1, k] == key:
                vertex[i, k] = vertex[i - 1, k]
                continue
            slot = _slot(table_keys, table_ids, key)
            if table_ids[slot] < 0:
                table_keys[slot], table_ids[slot] = key, count
                unique[count] = key
                count += 1
                vertex[i, k] = count - 1
                if 2 * count > table_keys.size:
                    size = 4 * table_keys.size
                    table_keys, table_ids = np.empty(size, np.int64), np.full(size, -1, np.int32)
                    for number in range(count):
                        place = _slot(table_keys, table_ids, unique[number])
                        table_keys[place], table_ids[place] = unique[number], number
            else:
                vertex[i, k] = table_ids[slot]
    return unique[:count].copy(), table_keys, table_ids


@jit_parallel
def _find_neighbours(unique, table_keys, table_ids, strides, neighbours):
    """Look for the vertex one step forward along each axis; the one behind is the same relation, read backwards."""
    axes, m, _ = neighbours.shape
    wrap = strides.sum()
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, m)
        for v in range(first, last):
            key = unique[v]
            # a step adds 1 to all coordinates: the common remainder d becomes 0, and all quotients grow
            step = wrap - (axes - 1) if key % axes == axes - 1 else 1
            for axis in range(axes):
                found = table_ids[_slot(table_keys, table_ids, key + step - strides[axis])]
                if found >= 0:
                    neighbours[axis, v, 0] = found
                    neighbours[axis, found, 1] = v


def _transposed(vertex, weights, m):
    """(starts, pixel, weight) of the matrix that has `vertex` and `weights` as the columns and values of its rows."""
    counts = np.zeros((_CHUNKS, m), np.int32)
    _count(vertex, counts)
    ends = np.cumsum(counts.T.reshape(-1))  # in the order of vertices, and of chunks for each vertex
    first = (ends.reshape(m, _CHUNKS) - counts.T).T.copy()
    starts = np.empty(m + 1, np.int64)
    starts[:m], starts[m] = first[0], vertex.size
    pixel, weight = np.empty(vertex.size, np.int32), empty((vertex.size,), weights.dtype)
    _fill(vertex, weights, first, pixel, weight)
    return starts, pixel, weight


@jit_parallel
def _count(vertex, counts):
    for chunk in prange(_CHUNKS):
        first, last = bounds(chunk, _CHUNKS, vertex.shape[0])
        for i in range(first, last):
            for k in range(vertex.shape[1]):
                counts[chunk, vertex[i, k]] += 1


@jit_parallel
def _fill(vertex, weights, first, pixel, weight):
    for chunk in prange(_CHUNKS):
        start, end = bounds(chunk, _CHUNKS, vertex.shape[0])
        for i in range(start, end):
            for k in range(vertex.shape[1]):
                place = first[chunk, vertex[i, k]]
                first[chunk, vertex[i, k]] = place + 1
                pixel[place], weight[place] = i, weights[i, k]


@jit_parallel
def _place_corners(vertex, weight, factor, first_vertex, first_column, all_vertex, all_weight):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, vertex.shape[0])
        for i in range(first, last):
            for k in range(vertex.shape[1]):
                all_vertex[i, first_column + k] = vertex[i, k] + first_vertex
                all_weight[i, first_column + k] = weight[i, k] * factor[i]


@jit_parallel
def _place_entries(pixel, weight, factor, all_pixel, all_weight):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, pixel.size)
        for entry in range(first, last):
            all_pixel[entry], all_weight[entry] = pixel[entry], weight[entry] * factor[pixel[entry]]


# ---------------------------------------------------------------- filtering


@jit_parallel
def _splat(x, width, shares, starts, pixel, weight, u):
    for part in prange(shares.size - 1):
        none = np.empty(0, x.dtype)  # made here, so that the compiler sees that it has no elements
        for m in range(shares[np.int64(part)], shares[np.int64(part) + 1]):
            gather_row(x, width, pixel, weight, starts[m], starts[m + 1], u, m * width, none, 0)


@jit_parallel
def _blur(x, width, neighbours, u):
    """u[m] = x[m] + (x[forward] + x[back]) / 2 along one axis."""
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, neighbours.shape[0])
        index, weight, none = np.empty(3, np.int32), np.ones(3, x.dtype), np.empty(0, x.dtype)
        for m in range(first, last):
            index[0] = m
            for side in range(2):  # where there is no vertex: the row itself, which is at hand, times 0
                there = neighbours[m, side] < neighbours.shape[0]
                index[1 + side] = neighbours[m, side] if there else m
                weight[1 + side] = 0.5 if there else 0
            gather_row(x, width, index, weight, 0, 3, u, m * width, none, 0)


@jit_parallel
def _slice(u, width, vertex, weight, corners, y):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, vertex.size // corners)
        none = np.empty(0, u.dtype)
        for i in range(first, last):
            gather_row(u, width, vertex, weight, i * corners, (i + 1) * corners, y, i * width, none, 0)
