"""Small filters of each kind and normalisation, costs of labels, and what a filter is by its definition."""

import numpy as np
import pytest
from strategies import normal

from minideeplab.crf import ExactFilter, LatticeFilter, SeparableFilter

NORMALISATIONS = ("none", "before", "after", "symmetric")
HEIGHT, WIDTH, LABELS = 5, 6, 3
SIZE = HEIGHT * WIDTH
each_normalisation = pytest.mark.parametrize("normalisation", NORMALISATIONS)


def exact(normalisation="symmetric", seed=0, n=SIZE, d=2):
    return ExactFilter(normal(seed, (n, d)), normalisation)


def lattice(normalisation="symmetric", seed=0, n=SIZE, d=2, dtype=np.float64):
    return LatticeFilter(normal(seed, (n, d), dtype=dtype), normalisation)


def separable(normalisation="symmetric", dtype=np.float64):
    return SeparableFilter(HEIGHT, WIDTH, (0.8, 1.7), normalisation, dtype)


MAKERS = (exact, lattice, separable)
each_filter = pytest.mark.parametrize("make", MAKERS)


def costs(seed=1, n=SIZE, k=LABELS, dtype=np.float64):
    return normal(seed, (n, k), dtype=dtype)


def dense(gaussian):
    """Its matrix, column by column."""
    return gaussian.apply(np.eye(gaussian.n_pixels, dtype=gaussian.dtype))


def matrix_of(features, normalisation):
    """A by its definition."""
    kernel = np.exp(-0.5 * ((features[:, None] - features) ** 2).sum(axis=-1))
    n = kernel.sum(axis=1)
    return {
        "none": kernel,
        "before": kernel / n,
        "after": kernel / n[:, None],
        "symmetric": kernel / np.sqrt(n * n[:, None]),
    }[normalisation]
