"""Clouds of features for tests of the lattice, and how two lattices are compared."""

import numpy as np
from hypothesis import strategies as st
from strategies import SIMULATED, assert_close, normal, seeds

LABELS = (1, 2, 3) if SIMULATED else (1, 2, 3, 5, 7, 8, 9, 21, 33, 40)  # below, at and above a vector
KINDS = ("normal", "gridded", "equal", "repeated", "dense", "wide")
MOST_PIXELS = 8 if SIMULATED else 40  # the simulator is slow


def cloud(kind, seed, n, d):
    """Features (N, d); gridded ones lie on faces between simplices, so that residuals tie."""
    f = normal(seed, (n, d))
    return {
        "normal": f,
        "gridded": np.round(3 * f) / 3,
        "equal": np.repeat(f[:1], n, axis=0),
        "repeated": f[np.abs(f[:, 0] * n).astype(int) % n],
        "dense": f / 8,
        "wide": 50 * f,
    }[kind]


def clouds(most_dimensions=19, most_pixels=MOST_PIXELS):
    d, n = st.integers(1, most_dimensions), st.integers(1, most_pixels)
    return st.builds(cloud, st.sampled_from(KINDS), seeds, n, d)


few = clouds(4, MOST_PIXELS // 2)


some = clouds(6)  # to be filtered often: a blur is a pass for each dimension


def apply(k, lattice, x, reverse=False):
    """K x; in reverse the adjoint of a lattice whose splat and slice weights are each other's multiples."""
    return k.slice_lattice(lattice, k.blur(lattice, k.splat(lattice, x), reverse))


def normalised(k, lattice, kind):
    """The filter divided by n = K 1, after it or half before and half after."""
    n = apply(k, lattice, np.ones((lattice.n_pixels, 1), lattice.slice_weight.dtype))[:, 0]
    return k.join_lattices([lattice], *{"after": ([1], [1 / n]), "symmetric": ([n**-0.5], [n**-0.5])}[kind]), n


def embedding(d):
    """(d + 1, d): an orthonormal basis of the plane of coordinate sum zero, times the length of one feature unit."""
    basis = np.zeros((d + 1, d))
    for j in range(1, d + 1):
        basis[:j, j - 1], basis[j, j - 1] = 1, -j
    return basis / np.linalg.norm(basis, axis=0) * (d + 1) * np.sqrt(2 / 3)


def assert_the_same(actual, expected):
    """Integers of two lattices are equal, weights equal but for rounding."""
    pairs = [*zip(actual[:5], expected[:5], strict=True), *zip(actual.neighbours, expected.neighbours, strict=True)]
    for a, e in pairs:
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        if e.dtype.kind == "i":
            np.testing.assert_array_equal(a, e)
        else:
            assert_close(a, e, 1.0, terms=4)
