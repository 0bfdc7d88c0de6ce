"""The permutohedral lattice on a GPU: vertices, numbers and weights of the CPU's; every sum the same in every run.

Building: a thread finds the simplex of its pixel and the keys of its corners (reference/lattice.py; keys of 64 bits as
on the CPU). Each corner puts its key into a hash table by one compare-and-swap, no lock. Which place a key gets depends
on who comes first; which corner was the first with that key, in the order of pixels, does not, and numbers the
vertices. A stable sort of all corners by vertex gives the transposed matrix.

Filtering: labels lie across the lanes of a warp, so that a row is one access to memory. The splat cuts the entries into
equal chunks, a warp each, whatever vertices they belong to: a vertex of a flat sky, with a hundred thousand pixels,
keeps nobody waiting. What a chunk holds of a vertex that goes on in the next is written beside and added in order.
"""

import numba
import numpy as np

from .. import reference
from ..checks import MOST_DIMENSIONS, check_features, check_join, check_largest_feature, check_lattice_values
from ..lattice import Lattice, alpha, feature_scale, key_digits
from .arrays import constant, empty, from_numpy, full, to_numpy, zeros
from .channels import ACROSS, DOWN
from .device import SIMULATED, Kernel, cuda, device_function
from .llvm import product
from .sort import exclusive_sum, stable_order

_PARTS = 2 if SIMULATED else 16384  # parts of the pixels, in the search for the smallest and largest features
_CHUNK = 3 if SIMULATED else 64  # entries that a warp adds in a splat
_LONGEST_SEARCH = 256  # places: in a table that is half full a key is found after some ten
_MOST_DOWN = 2 if SIMULATED else 65535  # blocks of a grid in its second dimension
_LARGEST = 1 << 30  # places of a table, which int32 can number
_NOBODY = np.iinfo(np.int32).max
_SIZE = MOST_DIMENSIONS + 1


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
    n, d = features.shape
    extremes = empty((_PARTS, d, 2), features.dtype)
    _extremes.flat(_PARTS * d, _PARTS * d, n, d, features, extremes)
    extremes = to_numpy(extremes)
    low, high = extremes[..., 0].min(axis=0), extremes[..., 1].max(axis=0)
    check_largest_feature(max(float(high.max()), -float(low.min())))
    lowest, strides = key_digits(low, high)
    if strides is None:  # the keys of so many dimensions, or so far apart, do not fit into 64 bits
        return _to_device(reference.build_lattice(to_numpy(features)))
    corners, t = n * (d + 1), features.dtype.type
    if corners > np.iinfo(np.int32).max:
        raise ValueError(f"lattice: {n} pixels of {d} dimensions have {corners} corners, at most 2^31 - 1 are possible")
    keys, weights = empty((n, d + 1), np.int64), empty((n, d + 1), features.dtype)
    lowest, strides = from_numpy(lowest), from_numpy(strides)
    _embed.flat(n, n, d, features, constant(feature_scale(d)), lowest, strides, keys, weights)
    table, first, place, number, m = _numbered(keys, corners)
    vertex, unique = empty((n, d + 1), np.int32), empty((m,), np.int64)
    slice_weight = empty((n, d + 1), features.dtype)
    _name_vertices.flat(
        corners, corners, keys, place, first, number, weights, t(alpha(d)), vertex, unique, slice_weight
    )
    neighbours = full((d + 1, m, 2), m, np.int32)
    _find_neighbours.flat(m * (d + 1), m, d + 1, unique, table, table.size, first, number, strides, neighbours)
    by_vertex, order = stable_order(vertex, m)
    starts, pixel = empty((m + 1,), np.int64), empty((corners,), np.int32)
    splat_weight = empty((corners,), features.dtype)
    _transpose.flat(corners, corners, m, d + 1, by_vertex, order, weights, starts, pixel, splat_weight)
    return Lattice(vertex, slice_weight, starts, pixel, splat_weight, (neighbours,))


def join_lattices(lattices, before, after):
    """One lattice for sum_j diag(after_j) K_j diag(before_j), several filters of the same N pixels.

    Args:
        lattices: of `build_lattice`, of one dtype.
        before, after: for each of them factors (N,) or a number: what normalises and weighs a filter is free then.
    """
    check_join(lattices, before, after)
    n, dtype = lattices[0].n_pixels, lattices[0].slice_weight.dtype
    before, after = ([_factor(factor, n, dtype) for factor in factors] for factors in (before, after))
    first = np.cumsum([0] + [lattice.n_vertices for lattice in lattices]).tolist()
    column = np.cumsum([0] + [lattice.vertex.shape[1] for lattice in lattices]).tolist()
    width = column[-1]
    vertex, slice_weight = empty((n, width), np.int32), empty((n, width), dtype)
    pixel, splat_weight = empty((n * width,), np.int32), empty((n * width,), dtype)
    starts = empty((first[-1] + 1,), np.int64)
    for i, lattice in enumerate(lattices):
        size, entries = lattice.vertex.shape[1], lattice.pixel.size
        _place_corners.flat(
            n * size, n * size, size, width, lattice.vertex, lattice.slice_weight, after[i], first[i], column[i],
            vertex, slice_weight,
        )  # fmt: skip
        _place_entries.flat(
            entries, entries, lattice.pixel, lattice.splat_weight, before[i], n * column[i], pixel, splat_weight
        )
        _place_starts.flat(lattice.starts.size, lattice.starts.size, lattice.starts, first[i], n * column[i], starts)
    return Lattice(vertex, slice_weight, starts, pixel, splat_weight, sum((a.neighbours for a in lattices), ()))


def splat(lattice, values):
    """u[m] = sum over the pixels around vertex m of splat_weight x[pixel].

    Args:
        values: (N, K).

    Returns:
        (M, K).
    """
    check_lattice_values("splat", lattice, values, lattice.n_pixels)
    m, entries, labels = lattice.n_vertices, lattice.pixel.size, values.shape[1]
    chunks = -(-entries // _CHUNK)
    result, partial = empty((m, labels), values.dtype), empty((chunks, 2, labels), values.dtype)
    if result.size:
        grid = (-(-chunks // DOWN), -(-labels // ACROSS))
        _splat(grid, (ACROSS, DOWN), chunks, entries, m, labels, values, *lattice[2:5], partial, result)
        _add_chunks(*_rows(labels, m), m, labels, lattice.starts, partial, result)
    return result


def blur(lattice, values, reverse=False):
    """u[m] <- u[m] + (u[forward] + u[back]) / 2 along each axis in turn, with 0 where there is no vertex.

    Args:
        values: (M, K); reverse: the axes from last to first, the adjoint: where vertices are missing the order matters.

    Returns:
        (M, K).
    """
    check_lattice_values("blur", lattice, values, lattice.n_vertices)
    spare, result = empty(values.shape, values.dtype), empty(values.shape, values.dtype)
    labels, start = values.shape[1], 0
    for neighbours in lattice.neighbours if values.size else ():
        axes, m, _ = neighbours.shape
        # the last pass writes `result`
        source, target, next_target = values, *((result, spare) if axes % 2 else (spare, result))
        for axis in range(axes)[::-1] if reverse else range(axes):
            _blur(*_rows(labels, m), m, labels, start, axis, source, neighbours, target)
            source, target, next_target = target, next_target, target
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
    (n, corners), labels = lattice.vertex.shape, values.shape[1]
    result = empty((n, labels), values.dtype)
    if result.size:
        _slice(*_rows(labels, n), n, labels, corners, values, lattice.vertex, lattice.slice_weight, result)
    return result


# ---------------------------------------------------------------- building


def _to_device(lattice):
    return Lattice(*map(from_numpy, lattice[:5]), tuple(map(from_numpy, lattice.neighbours)))


def _numbered(keys, corners):
    """Put all keys into a hash table, at most half full, and number the vertices.

    Returns:
        table: keys by place, -1 where there is none; first: the first corner with the key of a place; place: of each
        corner's key; number: how many first corners come before each corner; m: how many there are.
    """
    place, is_first = empty((corners,), np.int32), empty((corners,), np.int32)
    size = 1 << (corners // 2).bit_length()  # enough for images; if all corners differ, a second try has more
    while size <= _LARGEST:
        table, first, crowded = full((size,), -1, np.int64), full((size,), _NOBODY, np.int32), zeros((1,), np.int32)
        _insert.flat(corners, corners, keys, table, size, first, place, crowded)
        _find_first.flat(corners, corners, place, first, is_first)
        number, total = exclusive_sum(is_first)
        m = int(to_numpy(total)[0])
        if 2 * m <= size and not to_numpy(crowded)[0]:
            return table, first, place, number, m
        size *= 4
    raise MemoryError(f"lattice: {corners} corners of simplices do not fit into a table of {_LARGEST} places")


def _factor(factor, n, dtype):
    """(n,) of a number, or the array itself."""
    if not getattr(factor, "shape", ()):
        return full((n,), float(factor), dtype)
    if factor.dtype != dtype:
        raise TypeError(f"join_lattices: factors must have the lattices' dtype {dtype}, got {factor.dtype}")
    return factor


def _rows(labels, rows):
    """Grid and block of a kernel whose threads own a label each and share nothing."""
    return (-(-labels // ACROSS), min(-(-rows // DOWN), _MOST_DOWN)), (ACROSS, DOWN)


@Kernel
def _extremes(count, n, d, x, extremes):
    """Smallest and largest value of each dimension in every _PARTS-th pixel; NaN stays."""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        axis = i % d
        low, high = x[axis], x[axis]
        for pixel in range(i // d, n, _PARTS):
            value = x[pixel * d + axis]
            low = value if value < low or value != value else low
            high = value if value > high or value != value else high
        extremes[2 * i], extremes[2 * i + 1] = low, high


@Kernel
def _embed(n, d, features, scale, lowest, strides, keys, weights):
    """Keys of the corners of each pixel's simplex, and its barycentric weights: see `reference.simplex_of`.

    On equal residuals the order decides which vertices of weight 0 exist, so it must be that of the reference: products
    are rounded before they are added.
    """
    residual, quotient = cuda.local.array(_SIZE, numba.float64), cuda.local.array(_SIZE, numba.float64)
    t, by_rank = cuda.local.array(_SIZE, numba.float64), cuda.local.array(_SIZE, numba.int32)
    per_cell = 1 / (d + 1)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        tail, excess = 0.0, 0.0
        for step in range(d + 1):
            axis = d - step
            c = 0.0 if axis == 0 else product(np.float64(features[i * d + axis - 1]), scale[axis - 1])
            coordinate = tail - product(np.float64(axis), c)
            tail += c
            quotient[axis] = round(product(coordinate, per_cell))
            residual[axis] = coordinate - quotient[axis] * (d + 1)
            excess += quotient[axis]
        key = np.int64(0)
        for axis in range(d + 1):
            position = np.int64(excess)  # then add the rank: residuals that are larger, or equal and earlier
            for other in range(d + 1):
                if residual[other] > residual[axis] or (residual[other] == residual[axis] and other < axis):
                    position += 1
            wrap = 1 if position < 0 else (-1 if position > d else 0)
            position += wrap * (d + 1)
            by_rank[position], t[position] = axis, product(residual[axis] - wrap * (d + 1), per_cell)
            if axis < d:
                key += np.int64(quotient[axis] + wrap - lowest[axis]) * strides[axis]
        at = i * (d + 1)
        weights[at], keys[at] = max(1 + t[d] - t[0], 0.0), key  # rounding may leave -1e-17
        for k in range(1, d + 1):  # from corner k - 1 to k: one step along the axis with the next lower residual
            key += 1 - strides[by_rank[d - k + 1]]
            weights[at + k], keys[at + k] = max(t[d - k] - t[d - k + 1], 0.0), key


@device_function
def _place_of(key, size):
    """Where to look for a key in a table of `size` places, a power of 2; every digit of a key moves it (splitmix64)."""
    z = np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64(z >> np.uint64(33)) & (size - 1)


@Kernel
def _insert(corners, keys, table, size, first, place, crowded):
    """Each corner finds the place of its key, or takes a free one for it; first[place] <- its smallest corner."""
    for i in range(cuda.grid(1), corners, cuda.gridsize(1)):
        key = keys[i]
        slot, steps = _place_of(key, size), 0
        while True:
            held = table[slot]
            if held == -1:
                held = cuda.atomic.cas(table, slot, -1, key)
            if held == -1 or held == key:
                break
            slot, steps = (slot + 1) & (size - 1), steps + 1
            if steps == min(size, _LONGEST_SEARCH) or (steps % 16 == 0 and crowded[0]):
                crowded[0] = 1  # all threads that find it so write the same
                break
        place[i] = slot
        if first[slot] > i:  # an old value can only be larger
            cuda.atomic.min(first, slot, i)


@Kernel
def _find_first(corners, place, first, is_first):
    for i in range(cuda.grid(1), corners, cuda.gridsize(1)):
        is_first[i] = 1 if first[place[i]] == i else 0


@Kernel
def _name_vertices(corners, keys, place, first, number, weights, scale, vertex, unique, slice_weight):
    """A vertex has the number of its first corner among all first ones."""
    for i in range(cuda.grid(1), corners, cuda.gridsize(1)):
        owner = first[place[i]]
        vertex[i] = number[owner]
        slice_weight[i] = weights[i] * scale
        if owner == i:
            unique[number[i]] = keys[i]


@Kernel
def _find_neighbours(m, axes, unique, table, size, first, number, strides, neighbours):
    """Look for the vertex one step forward along each axis; the one behind is the same relation, read backwards."""
    for i in range(cuda.grid(1), m * axes, cuda.gridsize(1)):
        v, axis = i // axes, i % axes
        key = unique[v]
        step = np.int64(1)
        if key % axes == axes - 1:  # the common remainder d becomes 0, and all quotients grow
            for other in range(axes):
                step += strides[other]
            step -= axes
        wanted = key + step - strides[axis]
        slot = _place_of(wanted, size)
        while table[slot] != -1 and table[slot] != wanted:
            slot = (slot + 1) & (size - 1)
        if table[slot] == wanted:
            found = number[first[slot]]
            neighbours[2 * (axis * m + v)] = found
            neighbours[2 * (axis * m + found) + 1] = v


@Kernel
def _transpose(corners, m, size, by_vertex, order, weights, starts, pixel, splat_weight):
    for i in range(cuda.grid(1), corners, cuda.gridsize(1)):
        pixel[i], splat_weight[i] = order[i] // size, weights[order[i]]
        if i == 0 or by_vertex[i] != by_vertex[i - 1]:
            starts[by_vertex[i]] = i
        if i == corners - 1:
            starts[m] = corners


@Kernel
def _place_corners(count, size, width, vertex, weight, factor, first_vertex, first_column, all_vertex, all_weight):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        pixel = i // size
        at = pixel * width + first_column + i % size
        all_vertex[at], all_weight[at] = vertex[i] + first_vertex, weight[i] * factor[pixel]


@Kernel
def _place_entries(count, pixel, weight, factor, first_entry, all_pixel, all_weight):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        all_pixel[first_entry + i], all_weight[first_entry + i] = pixel[i], weight[i] * factor[pixel[i]]


@Kernel
def _place_starts(count, starts, first_vertex, first_entry, all_starts):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        all_starts[first_vertex + i] = starts[i] + first_entry


# ---------------------------------------------------------------- filtering


@Kernel
def _splat(chunks, entries, m, labels, x, starts, pixel, weight, partial, u):
    """Warp: a chunk of the entries, its lanes some labels.

    Vertices that lie inside are done; partial[chunk] = (sum for a vertex that has begun before, for one that goes on).
    """
    chunk = cuda.blockIdx.x * DOWN + cuda.threadIdx.y
    k = cuda.blockIdx.y * ACROSS + cuda.threadIdx.x
    if chunk < chunks and k < labels:
        entry, last = chunk * _CHUNK, min((chunk + 1) * _CHUNK, entries)
        v, above = 0, m  # the vertex of the first entry: starts[v] <= entry < starts[v + 1]
        while above - v > 1:
            middle = (v + above) // 2
            if starts[middle] <= entry:
                v = middle
            else:
                above = middle
        while entry < last:
            begin, end = starts[v], starts[v + 1]
            total = x.dtype.type(0)
            for i in range(entry, min(end, last)):
                total += weight[i] * x[pixel[i] * labels + k]
            if begin < entry:
                partial[2 * chunk * labels + k] = total
            elif end > last:
                partial[(2 * chunk + 1) * labels + k] = total
            else:
                u[v * labels + k] = total
            entry, v = end, v + 1


@Kernel
def _add_chunks(m, labels, starts, partial, u):
    """The vertices that go through several chunks: what the first ends with and what the others begin with."""
    k = cuda.blockIdx.x * ACROSS + cuda.threadIdx.x
    if k < labels:
        for v in range(cuda.blockIdx.y * DOWN + cuda.threadIdx.y, m, cuda.gridDim.y * DOWN):
            first, last = starts[v] // _CHUNK, (starts[v + 1] - 1) // _CHUNK
            if first < last:
                total = partial[(2 * first + 1) * labels + k]
                for chunk in range(first + 1, last + 1):
                    total += partial[2 * chunk * labels + k]
                u[v * labels + k] = total


@Kernel
def _blur(m, labels, start, axis, x, neighbours, u):
    """u[v] = x[v] + (x[forward] + x[back]) / 2 along one axis, for m vertices from `start` on."""
    k = cuda.blockIdx.x * ACROSS + cuda.threadIdx.x
    if k < labels:
        zero, half = x.dtype.type(0), x.dtype.type(0.5)
        for v in range(cuda.blockIdx.y * DOWN + cuda.threadIdx.y, m, cuda.gridDim.y * DOWN):
            forward, back = neighbours[2 * (axis * m + v)], neighbours[2 * (axis * m + v) + 1]
            before = x[(start + back) * labels + k] if back < m else zero
            after = x[(start + forward) * labels + k] if forward < m else zero
            at = (start + v) * labels + k
            u[at] = x[at] + half * (before + after)


@Kernel
def _slice(n, labels, corners, u, vertex, weight, y):
    k = cuda.blockIdx.x * ACROSS + cuda.threadIdx.x
    if k < labels:
        for i in range(cuda.blockIdx.y * DOWN + cuda.threadIdx.y, n, cuda.gridDim.y * DOWN):
            total = u.dtype.type(0)
            for corner in range(i * corners, (i + 1) * corners):
                total += weight[corner] * u[vertex[corner] * labels + k]
            y[i * labels + k] = total
