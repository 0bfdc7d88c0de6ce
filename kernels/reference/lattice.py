"""Gaussian filtering on a permutohedral lattice, and the exact filter that it approximates.

The lattice is the projection of the integer grid of d + 1 dimensions onto the plane where coordinates sum to zero. Its
cells are simplices: a point lies between d + 1 vertices only, however large d is.
"""

import numpy as np

from ..checks import check_features, check_join, check_lattice_values
from ..lattice import Lattice, alpha, embed


def exact_gaussian(features, values):
    """y[i] = sum_j exp(-|f_i - f_j|^2 / 2) x[j], i itself included, in float64.

    Args:
        features: (N, d), each dimension divided by its standard deviation; values: (N, K).

    Returns:
        (N, K) float64.

    Cost: N^2 (d + K) operations and 3 N^2 numbers of memory.
    """
    check_features(features)
    f = features.astype(np.float64)
    squared = sum((column[:, None] - column) ** 2 for column in f.T)
    return np.exp(-squared / 2) @ values.astype(np.float64)


def simplex_of(features):
    """The d + 1 lattice points around each feature vector, and its barycentric weights: embed, round, rank, repair.

    Args:
        features: (N, d).

    Returns:
        points: (N, d + 1, d + 1) int64: the k-th point of each pixel, its coordinates all k modulo d + 1, their sum 0.
        weights: (N, d + 1) float64, >= 0, their sum 1: sum_k weights[k] points[k] is the embedded feature.

    Source: Adams et al. 2010, section 3.1 and figure 4.
    """
    check_features(features)
    n, d = features.shape
    embedded = embed(features)
    nearest = np.rint(embedded * (1 / (d + 1))).astype(np.int64)  # times d + 1: the nearest point with remainder 0
    excess = nearest.sum(axis=1, keepdims=True)
    residual = embedded - nearest * (d + 1)
    rank = np.argsort(np.argsort(-residual, axis=1, kind="stable"), axis=1, kind="stable") + excess
    wrap = (rank < 0).astype(np.int64) - (rank > d)  # the sum must be 0: move the coordinates with most to gain
    rank, nearest = rank + wrap * (d + 1), nearest + wrap

    t = np.empty((n, d + 1))  # residuals in descending order, in units of the cell
    np.put_along_axis(t, rank, (embedded - nearest * (d + 1)) * (1 / (d + 1)), axis=1)
    weights = np.empty((n, d + 1))
    weights[:, 1:] = t[:, -2::-1] - t[:, :0:-1]
    weights[:, 0] = 1 + t[:, -1] - t[:, 0]
    np.maximum(weights, 0, out=weights)  # rounding may leave -1e-17

    k = np.arange(d + 1)[:, None]  # from point k to k + 1: 1 more everywhere, and d + 1 less at the next in rank
    points = (nearest * (d + 1))[:, None, :] + k - (d + 1) * (rank[:, None, :] > d - k)
    return points, weights


def build_lattice(features):
    """The lattice of N feature vectors, of which two at distance 1 are one standard deviation apart.

    Args:
        features: (N, d), d from 1 to 19, float32 or float64, each dimension divided by its standard deviation.

    Returns:
        Lattice, with weights of the features' dtype.

    Raises:
        ValueError: no features, values that are not finite or too large.
    """
    points, weights = simplex_of(features)
    n, size, _ = points.shape
    d = size - 1
    unique, first, vertex = np.unique(points.reshape(n * size, size), axis=0, return_index=True, return_inverse=True)
    by_pixel = np.argsort(first)  # vertices are numbered in the order in which pixels meet them
    unique, vertex = unique[by_pixel], np.argsort(by_pixel)[vertex.reshape(-1)]
    m = len(unique)
    number = {tuple(point): i for i, point in enumerate(unique.tolist())}
    neighbours = np.empty((size, m, 2), np.int32)
    for axis in range(size):
        step = np.ones(size, np.int64)
        step[axis] -= size
        for side, candidates in enumerate((unique + step, unique - step)):
            neighbours[axis, :, side] = [number.get(tuple(point), m) for point in candidates.tolist()]
    order = np.argsort(vertex, kind="stable")
    weights = weights.astype(features.dtype)
    return Lattice(
        vertex.reshape(n, size).astype(np.int32),
        weights * weights.dtype.type(alpha(d)),
        np.concatenate([[0], np.cumsum(np.bincount(vertex, minlength=m))]),
        (order // size).astype(np.int32),
        weights.reshape(-1)[order],
        (neighbours,),
    )


def join_lattices(lattices, before, after):
    """One lattice for sum_j diag(after_j) K_j diag(before_j), several filters of the same N pixels.

    Args:
        lattices: of `build_lattice`, of one dtype.
        before, after: for each of them factors (N,) or a number: what normalises and weighs a filter is free then.
    """
    check_join(lattices, before, after)
    first = np.cumsum([0] + [lattice.n_vertices for lattice in lattices])
    entries = np.cumsum([0] + [len(lattice.pixel) for lattice in lattices])
    n, dtype = lattices[0].n_pixels, lattices[0].slice_weight.dtype
    before, after = ([np.broadcast_to(factor, n).astype(dtype) for factor in factors] for factors in (before, after))
    return Lattice(
        np.concatenate([a.vertex + start for a, start in zip(lattices, first, strict=False)], axis=1).astype(np.int32),
        np.concatenate([a.slice_weight * f[:, None] for a, f in zip(lattices, after, strict=True)], axis=1),
        np.concatenate([[0]] + [a.starts[1:] + start for a, start in zip(lattices, entries, strict=False)]),
        np.concatenate([a.pixel for a in lattices]),
        np.concatenate([a.splat_weight * f[a.pixel] for a, f in zip(lattices, before, strict=True)]),
        sum((a.neighbours for a in lattices), ()),
    )


def splat(lattice, values):
    """u[m] = sum over the pixels around vertex m of splat_weight x[pixel].

    Args:
        values: (N, K).

    Returns:
        (M, K).
    """
    check_lattice_values("splat", lattice, values, lattice.n_pixels)
    result = np.zeros((lattice.n_vertices, values.shape[1]), values.dtype)
    vertex = np.repeat(np.arange(lattice.n_vertices), np.diff(lattice.starts))
    np.add.at(result, vertex, lattice.splat_weight[:, None] * values[lattice.pixel])
    return result


def blur(lattice, values, reverse=False):
    """u[m] <- u[m] + (u[forward] + u[back]) / 2 along each axis in turn, with 0 where there is no vertex.

    Args:
        values: (M, K); reverse: the axes from last to first, the adjoint: where vertices are missing the order matters.

    Returns:
        (M, K).
    """
    check_lattice_values("blur", lattice, values, lattice.n_vertices)
    blocks, start = [], 0
    for neighbours in lattice.neighbours:
        m = neighbours.shape[1]
        block = values[start : start + m]
        for forward_and_back in neighbours[::-1] if reverse else neighbours:
            padded = np.concatenate([block, np.zeros_like(block[:1])])
            block = block + padded[forward_and_back].sum(axis=1) * values.dtype.type(0.5)
        blocks.append(block)
        start += m
    return np.concatenate(blocks)


def slice_lattice(lattice, values):
    """y[i] = sum over the vertices around pixel i of slice_weight u[vertex].

    Args:
        values: (M, K).

    Returns:
        (N, K).
    """
    check_lattice_values("slice_lattice", lattice, values, lattice.n_vertices)
    return (lattice.slice_weight[:, :, None] * values[lattice.vertex]).sum(axis=1)
