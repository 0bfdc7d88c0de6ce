"""A permutohedral lattice as arrays: the Gaussian filter K = slice blur splat, each factor a sparse matrix.

    splat   u[m] = sum over the pixels i around vertex m of splat_weight x[i]
    blur    along each axis in turn: u[m] <- u[m] + (u[one step forward] + u[one step back]) / 2; the paper halves this,
            here a filter of ones stays a count of neighbours
    slice   y[i] = sum over the vertices m around pixel i of slice_weight u[m]

All that depends on the features alone is computed once; a filter then only runs through these arrays. Several lattices
of one image are joined into one: their vertices follow each other, a pixel has the vertices of all.

Source: Adams, Baek, Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice".
"""

from typing import Any, NamedTuple

import numpy as np


class Lattice(NamedTuple):
    """What a backend's `build_lattice` makes; its arrays lie on that backend's device.

    Attributes:
        vertex: (N, E) int32, the vertices around each pixel; E = d + 1, the corners of a simplex in d dimensions.
        slice_weight: (N, E), the pixel's barycentric weights times alpha = 1 / (1 + 2^-d). A step along each of the
            d + 1 axes ends where it began, as the axes sum to 0: so the blur, 1 for staying and 1/2 for each step,
            brings a vertex 1 + 2 (1/2)^(d + 1) = 1 + 2^-d times itself, and alpha takes that back to 1.
        starts, pixel, splat_weight: (M + 1,) int64, (N E,) int32 and floats, the transposed matrix by rows: around
            vertex m lie pixel[starts[m] : starts[m + 1]], in ascending order.
        neighbours: for each lattice that was joined (d + 1, M', 2) int32: one step forward and back along each axis, M'
            where there is no vertex. Its vertices follow those of the lattices before it.
    """

    vertex: Any
    slice_weight: Any
    starts: Any
    pixel: Any
    splat_weight: Any
    neighbours: tuple

    @property
    def n_pixels(self):
        return self.vertex.shape[0]

    @property
    def n_vertices(self):
        return self.starts.shape[0] - 1


def alpha(d):
    """1 / (1 + 2^-d): see `Lattice.slice_weight`."""
    return 1 / (1 + 2.0**-d)


def feature_scale(d):
    """(d,) lengths of the features' axes on the plane: splat, blur and slice then spread with variance 1.

    Source: Adams et al. 2010, section 3.1, whose matrix E has orthogonal columns of these lengths.
    """
    j = np.arange(1, d + 1)
    return np.sqrt(2 / 3) * (d + 1) / np.sqrt(j * (j + 1))


def embed(features):
    """Features on the plane of d + 1 dimensions whose coordinates sum to zero, where the lattice lies.

        e_i = sum_{k > i} c_k - i c_i        c = feature_scale(d) f, counted from 1; i from 0 to d

    Right angles stay right angles, and all lengths grow by the same factor, sqrt(2/3) (d + 1).

    Args:
        features: (N, d), each dimension divided by its standard deviation.

    Returns:
        (N, d + 1) float64. The vertices are the integer points whose coordinates leave the same remainder modulo d + 1.

    Source: Adams et al. 2010, section 3.1.
    """
    n, d = features.shape
    j, c = np.arange(1, d + 1), features.astype(np.float64) * feature_scale(d)
    embedded = np.zeros((n, d + 1))
    embedded[:, :-1] = np.cumsum(c[:, ::-1], axis=1)[:, ::-1]  # sum of c_k for k > i, k counted from 1
    embedded[:, 1:] -= j * c
    return embedded


def unembed(points):
    """The features (N, d) float64 of points (N, d + 1) on the plane: the inverse of `embed`, to draw vertices with."""
    d = points.shape[1] - 1
    j, p = np.arange(1, d + 1), points.astype(np.float64)
    along = np.cumsum(p[:, :-1], axis=1) - j * p[:, 1:]  # with each axis of the features, a column of the matrix E
    return along * feature_scale(d) / (2 / 3 * (d + 1) ** 2)


def key_digits(low, high):
    """How the keys of vertices are put together: a digit for each coordinate.

    A coordinate is a multiple of d + 1 plus a remainder, which all coordinates of a vertex share; the last follows from
    the others, as the sum is 0. So a key is (quotient - lowest) . strides + remainder. Digits have room for three more
    at either end: rounding, the rank and the step to a neighbour may each move a quotient by one.

    Args:
        low, high: (d,), the smallest and the largest value of each dimension of the features.

    Returns:
        lowest: (d,) quotients, float64; strides: (d + 1,) int64, the last 0; None if keys do not fit into 64 bits.
    """
    d = len(low)
    low, high = (np.asarray(values, np.float64) * feature_scale(d) for values in (low, high))
    # coordinate i of d + 1 is sum_{k > i} c_k - i c_i, k counted from 1
    above, below = (np.append(np.cumsum(c[::-1])[::-1], 0) for c in (high, low))
    i = np.arange(1, d + 1)
    above[1:] -= i * low
    below[1:] -= i * high
    lowest = np.floor(below[:d] / (d + 1)) - 3
    sizes = np.ceil(above[:d] / (d + 1)) + 3 - lowest + 1
    strides, total = [], d + 1
    for size in sizes.astype(np.int64).tolist():
        strides.append(total)
        total *= size
    return lowest, np.array([*strides, 0], np.int64) if total < 1 << 63 else None
