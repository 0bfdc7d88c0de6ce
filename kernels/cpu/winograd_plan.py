"""Which 3x3 convolutions take fewer multiplications, by which matrices, and where their squares of outputs lie."""

from fractions import Fraction
from functools import lru_cache

import numpy as np

from .plan import forward_plan
from .tile import ROWS, VECTOR_BYTES, VECTORISED

TAPS = 3
# of a square of outputs: the finite points. Each enters A by its powers up to side - 1, and B by products of the
# others: 3/4 and 3/2 leave half the error of 1 and 2
_POINTS = {2: (0, 1, -1), 4: (0, Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))}
SIDES = tuple(_POINTS)


@lru_cache
def matrices(side):
    """(A, G, B) of y = A^T [(G w G^T) * (B^T x B)] A: 3x3 weights w, x of side + 2, y of `side` pixels each way.

    What is multiplied are the values of polynomials at side + 1 points and at infinity: (side + 2)^2 products a square
    of outputs, where its taps are 9 side^2.

    Returns:
        float64 arrays (side + 2, side), (side + 2, 3), (side + 2, side + 2): a row of A and of G, a column of B for
        each point.

    Source:
        Lavin & Gray 2016, arXiv 1509.09308, sections 4.1 and 4.3; Toom 1963 and Cook 1966 for the construction.
    """
    points = _POINTS[side]
    a, g, b = [], [], []
    for p in points:
        others = [Fraction(q) for q in points if q != p]
        scale = np.prod([p - q for q in others])
        a.append([p**i for i in range(side)])
        g.append([p**i / scale for i in range(TAPS)])
        b.append([*_product_of(others), 0])
    infinity = [0, 0, 0, 1]
    a, g, b = [*a, infinity[-side:]], [*g, infinity[-TAPS:]], [*b, _product_of(points)]
    a, g, b = (np.array([[float(v) for v in row] for row in m]) for m in (a, g, b))
    return a, g, b.T


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
    phases = (range(phase, size, rate * side) for phase in range(min(rate, size)))
    return np.array([first for phase in phases for first in phase], np.int64)


# What besides the products costs time, as multiply-adds: a number that is taken to a point or back, a weight at a point
# (its memory, mostly); and what share of the tile's speed the direct sum reaches. From times on two cores of an AVX-512
# processor, 64 to 2048 channels on 17x17 to 129x129.
_COSTS = {"conv2d": (40, 80, 0.95), "conv2d_grad_input": (40, 80, 0.95), "conv2d_grad_weight": (70, 50, 0.85)}
_GAIN = 1.25  # that is worth the rounding, and more than what this estimate is wrong by
_LEAST = 1 << 28  # multiply-adds: a smaller layer gains less than a millisecond, for which nobody need compile this


@lru_cache(maxsize=1024)
def side_of(win, op, dtype):
    """Side of the squares by which a convolution is computed fastest: 2 or 4; 0 for the direct sum.

    squares (side + 2)^2 (C K + a (C + K)) + b (side + 2)^2 C K     against     taps inside the input * C K / share

    A function of the shapes and of the processor's vectors. ASPP, where most taps lie in the padding, and layers of few
    pixels or channels stay direct.

    Args:
        op: "conv2d", "conv2d_grad_input" or "conv2d_grad_weight"; dtype: of all arrays, float32 or float64.
    """
    size, stride, lanes = (win.k_h, win.k_w), (win.stride_h, win.stride_w), VECTOR_BYTES // dtype.itemsize
    whole = win.c_in % lanes == win.c_out % lanes == 0
    if not VECTORISED or size != (TAPS, TAPS) or stride != (1, 1) or not whole or dtype.kind != "f":
        return 0
    number, weight, share = _COSTS[op]
    c, k, plan = win.c_in, win.c_out, forward_plan(win)
    h, w = (win.in_h, win.in_w) if op == "conv2d_grad_input" else (win.out_h, win.out_w)

    def cost(side):
        squares = win.n * len(origins(h, win.rate_h, side)) * len(origins(w, win.rate_w, side))
        squares = -(-squares // ROWS) * ROWS
        return (side + 2) ** 2 * (squares * (c * k + number * (c + k)) + weight * c * k)

    direct = win.n * int((plan.down * plan.across * plan.length).sum()) * k / share
    # side 2 made the weight gradient slower than the direct sum in half the layers
    sides = (4,) if op == "conv2d_grad_weight" else SIDES
    side = min(sides, key=cost)
    return side if max(_LEAST, _GAIN * cost(side)) < direct else 0
