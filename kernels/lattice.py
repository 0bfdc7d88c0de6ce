"""A permutohedral lattice as arrays: the Gaussian filter K = slice blur splat, each factor a sparse matrix.

    splat   u[m] = sum over the pixels i around vertex m of splat_weight x[i]
    blur    along each axis in turn: u[m] <- u[m] + (u[one step forward] + u[one step back]) / 2
    slice   y[i] = sum over the vertices m around pixel i of slice_weight u[m]

All that depends on the features alone is computed once; a filter then only runs through these arrays. Several lattices
of one image are joined into one: their vertices follow each other, a pixel has the vertices of all.

Source: Adams, Baek, Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice".
"""

from typing import Any, NamedTuple


class Lattice(NamedTuple):
    """What a backend's `build_lattice` makes; its arrays lie on that backend's device.

    Attributes:
        vertex: (N, E) int32, the vertices around each pixel; E = d + 1, the corners of a simplex in d dimensions.
        slice_weight: (N, E), the pixel's barycentric weights times alpha = 1 / (1 + 2^-d), which makes up for a blur
            that goes around: (1, ... 1) is no step at all.
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
