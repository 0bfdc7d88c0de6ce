"""Which 3x3 convolutions take fewer multiplications, by which matrices, and where their squares of outputs lie."""

from fractions import Fraction
from functools import lru_cache

import numpy as np

SIDES = (2, 4)  # of a square of outputs that is computed at once
TAPS = 3
# a point enters A by its powers up to 3 and B by those of all others: 3/4 and 3/2 leave half the error of 1 and 2
_POINTS = {2: (0, 1, -1), 4: (0, Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))}


@lru_cache
def matrices(side):
    """(A, G, B) of y = A^T [(G w G^T) * (B^T x B)] A: 3x3 weights w, x of side + 2, y of `side` pixels each way.

    The products are those of polynomials at the points of _POINTS and at infinity, (side + 2)^2 in place of 9 side^2.
    Source: Lavin & Gray 2016, arXiv 1509.09308, section 4; Toom 1963, Cook 1966.

    Returns:
        float64 arrays (side + 2, side), (side + 2, 3), (side + 2, side + 2); A and B with a row for each point.
    """
    points = _POINTS[side]
    a = [[p**i for i in range(side)] for p in points] + [[0] * (side - 1) + [1]]
    b, g = [], []
    for p in points:
        others = [q for q in points if q != p]
        b.append([*_product_of(others), 0])
        norm = np.prod([p - q for q in others])
        g.append([Fraction(p**i) / norm for i in range(TAPS)])
    b.append(_product_of(points))
    g.append([0] * (TAPS - 1) + [1])
    return tuple(np.array([[float(v) for v in row] for row in m]) for m in (a, g, b))


def _product_of(points):
    """Coefficients of prod (x - p), the lowest power first."""
    coefficients = [Fraction(1)]
    for p in points:
        shifted, scaled = [0, *coefficients], [*(-p * c for c in coefficients), 0]
        coefficients = [s + t for s, t in zip(shifted, scaled, strict=True)]
    return coefficients


@lru_cache(maxsize=512)
def origins(size, rate, side):
    """First positions of the runs of `side` positions, `rate` apart, that cover 0 .. size - 1: phase after phase."""
    phases = [range(phase, size, rate * side) for phase in range(min(rate, size))]
    return np.array([first for phase in phases for first in phase], np.int64)
