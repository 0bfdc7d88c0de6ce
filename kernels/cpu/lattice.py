"""The permutohedral lattice: built once for an image, then run through for every filter.

Building: vertices.py finds and numbers the vertices; the pixels around each of them are listed here, by counting.

Filtering: three sparse products (gather.py). The splat gathers too, from the pixels around each vertex, so that every
number is written by one thread, in one order.
"""

import itertools

import numpy as np

from .. import reference
from ..checks import check_features, check_join, check_lattice_values
from ..lattice import Lattice, alpha, feature_scale, key_digits
from .arrays import contiguous, empty
from .gather import PANEL_BYTES, blur_vector, gather_row
from .jit import jit, jit_parallel
from .parts import PARTS, bounds
from .vertices import CHUNKS, number_vertices

# 0, 32, 16, 48, ...: the parts of a thread lie all over the lattice, for those of a fine one cost less
_SPREAD = [int(f"{part:06b}"[::-1], 2) for part in range(PARTS)]


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
    _extremes(PARTS, features, low, high)
    lowest, strides = key_digits(low.min(axis=0), high.max(axis=0))
    if strides is None:  # the keys of so many dimensions, or so far apart, do not fit into 64 bits
        return reference.build_lattice(features)
    weights = empty((n, d + 1), features.dtype)
    vertex, neighbours = number_vertices(features, feature_scale(d), lowest, strides, weights)
    starts, pixel, splat_weight = _transposed(vertex, weights, neighbours.shape[1])
    weights *= weights.dtype.type(alpha(d))
    return Lattice(vertex, weights, starts, pixel, splat_weight, (neighbours,))


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
        _place_corners(PARTS, lattice.vertex, lattice.slice_weight, after[i], first[i], column[i], vertex, slice_weight)
        entries = slice(n * column[i], n * column[i + 1])
        _place_entries(PARTS, lattice.pixel, lattice.splat_weight, before[i], pixel[entries], splat_weight[entries])
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
    shares = np.stack([shares[:-1], shares[1:]], axis=1)[_SPREAD]
    _splat(len(shares), values.reshape(-1), values.shape[1], shares, *lattice[2:5], result.reshape(-1))
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
    result, width = empty(values.shape, values.dtype), values.shape[1]
    lanes = PANEL_BYTES // values.itemsize
    first = np.cumsum([0] + [neighbours.shape[1] for neighbours in lattice.neighbours]).tolist()
    parts = [slice(*ends) for ends in itertools.pairwise(first)]
    lattices = [(values[part], axes, result[part]) for part, axes in zip(parts, lattice.neighbours, strict=True)]
    if width < lanes:
        for job in lattices:
            _blur_rows(*job, reverse)
        return result
    nothing = (values[:0], lattice.neighbours[0][:0, :0], result[:0])
    for i in range(0, len(lattices), 2):  # two at a time: more blocks of labels, which threads can share evenly
        one, other = (*lattices[i : i + 2], nothing)[:2]
        _blur_blocks(2 * -(-width // lanes), *one, *other, lanes, reverse)
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
    _slice(PARTS, values.reshape(-1), values.shape[1], *corners, lattice.vertex.shape[1], result.reshape(-1))
    return result


# ---------------------------------------------------------------- building


@jit_parallel
def _extremes(part, features, low, high):
    """Smallest and largest value of each dimension in each part of the pixels."""
    first, last = bounds(part, PARTS, features.shape[0])
    for axis in range(features.shape[1]):
        low[part, axis], high[part, axis] = np.inf, -np.inf
    for i in range(first, last):
        for axis in range(features.shape[1]):
            low[part, axis] = min(low[part, axis], np.float64(features[i, axis]))
            high[part, axis] = max(high[part, axis], np.float64(features[i, axis]))


def _transposed(vertex, weights, m):
    """(starts, pixel, weight) of the matrix that has `vertex` and `weights` as the columns and values of its rows."""
    places = np.zeros((CHUNKS, m), np.int64)
    _count(CHUNKS, vertex, places)
    starts = np.empty(m + 1, np.int64)
    _place(places, starts)
    pixel, weight = empty((vertex.size,), np.int32), empty((vertex.size,), weights.dtype)
    _fill(CHUNKS, vertex, weights, places, pixel, weight)
    return starts, pixel, weight


@jit_parallel
def _count(chunk, vertex, counts):
    first, last = bounds(chunk, CHUNKS, vertex.shape[0])
    own = counts[chunk]
    for i in range(first, last):
        for k in range(vertex.shape[1]):
            own[vertex[i, k]] += 1


@jit
def _place(places, starts):
    """Numbers of entries, by chunk and vertex, become their places: vertex by vertex, in the order of chunks."""
    m = places.shape[1]
    total = 0
    for v in range(m):
        starts[v] = total
        for chunk in range(CHUNKS):
            count = places[chunk, v]
            places[chunk, v] = total
            total += count
    starts[m] = total


@jit_parallel
def _fill(chunk, vertex, weights, places, pixel, weight):
    first, last = bounds(chunk, CHUNKS, vertex.shape[0])
    own = places[chunk]
    for i in range(first, last):
        for k in range(vertex.shape[1]):
            place = own[vertex[i, k]]
            own[vertex[i, k]] = place + 1
            pixel[place], weight[place] = i, weights[i, k]


@jit_parallel
def _place_corners(part, vertex, weight, factor, first_vertex, first_column, all_vertex, all_weight):
    first, last = bounds(part, PARTS, vertex.shape[0])
    for i in range(first, last):
        for k in range(vertex.shape[1]):
            all_vertex[i, first_column + k] = vertex[i, k] + first_vertex
            all_weight[i, first_column + k] = weight[i, k] * factor[i]


@jit_parallel
def _place_entries(part, pixel, weight, factor, all_pixel, all_weight):
    first, last = bounds(part, PARTS, pixel.size)
    for entry in range(first, last):
        all_pixel[entry], all_weight[entry] = pixel[entry], weight[entry] * factor[pixel[entry]]


# ---------------------------------------------------------------- filtering


@jit_parallel
def _splat(part, x, width, shares, starts, pixel, weight, u):
    none = np.empty(0, x.dtype)  # made here, so that the compiler sees that it has no elements
    for m in range(shares[part, 0], shares[part, 1]):
        gather_row(x, width, pixel, weight, starts[m], starts[m + 1], u, m * width, none, 0)


def _blur_rows(values, neighbours, result, reverse):
    """Axis by axis: for rows of less than a vector."""
    spare, axes = empty(values.shape, values.dtype), len(neighbours)
    buffers = [values, *([result, spare] if axes % 2 else [spare, result])]  # the passes end in `result`
    order = range(axes)[::-1] if reverse else range(axes)
    for number, axis in enumerate(order):
        source, target = buffers[0 if number == 0 else 1 + (number - 1) % 2], buffers[1 + number % 2]
        _blur_axis(PARTS, source.reshape(-1), values.shape[1], neighbours[axis], target.reshape(-1))


@jit_parallel
def _blur_axis(part, x, width, neighbours, u):
    """u[m] = x[m] + (x[forward] + x[back]) / 2 along one axis."""
    n = neighbours.shape[0]
    first, last = bounds(part, PARTS, n)
    for m in range(first, last):
        forward, back = np.int64(neighbours[m, 0]), np.int64(neighbours[m, 1])
        for k in range(width):
            total = x[m * width + k]
            if forward < n:
                total += x.dtype.type(0.5) * x[forward * width + k]
            if back < n:
                total += x.dtype.type(0.5) * x[back * width + k]
            u[m * width + k] = total


@jit_parallel
def _blur_blocks(job, x, neighbours, y, other_x, other_neighbours, other_y, lanes, reverse):
    """All axes of two lattices, a block of labels at a time: its rows of 32 bytes fit the second-level cache of a core.

    The last block starts earlier, so that it ends with the row: what it shares is written twice, with the same bits.
    """
    width = x.shape[1]
    column = min(job // 2 * lanes, width - lanes)
    if job % 2 == 0:
        _blur_block(x.reshape(-1), width, lanes, column, neighbours, reverse, y.reshape(-1))
    else:
        _blur_block(other_x.reshape(-1), width, lanes, column, other_neighbours, reverse, other_y.reshape(-1))


@jit
def _blur_block(x, width, lanes, column, neighbours, reverse, y):
    axes, n, _ = neighbours.shape
    one, other = np.empty((n + 1) * lanes, x.dtype), np.empty((n + 1) * lanes, x.dtype)
    for k in range(lanes):  # the row of the vertex that does not exist
        one[n * lanes + k] = other[n * lanes + k] = 0
    for m in range(n):
        for k in range(lanes):
            one[m * lanes + k] = x[m * width + column + k]
    for number in range(axes):
        axis = axes - 1 - number if reverse else number
        last = number == axes - 1
        target, step, start = (y, width, column) if last else (other, lanes, 0)
        for m in range(n):
            forward, back = np.int64(neighbours[axis, m, 0]) * lanes, np.int64(neighbours[axis, m, 1]) * lanes
            blur_vector(one, m * lanes, forward, back, target, m * step + start)
        one, other = other, one


@jit_parallel
def _slice(part, u, width, vertex, weight, corners, y):
    first, last = bounds(part, PARTS, vertex.size // corners)
    none = np.empty(0, u.dtype)
    for i in range(first, last):
        gather_row(u, width, vertex, weight, i * corners, (i + 1) * corners, y, i * width, none, 0)
