"""Sums of all that come before, and the stable order, against NumPy's."""

import numpy as np
import pytest
from strategies import SIMULATED

if not SIMULATED:
    pytest.skip("in the simulator, or by way of the lattice on a GPU", allow_module_level=True)

from kernels.cuda import from_numpy, sort, to_numpy


def integers(n, below):
    return np.random.default_rng(n).integers(0, below, n, dtype=np.int32)


@pytest.mark.parametrize("n", [1, 2, sort._TILE - 1, sort._TILE, sort._TILE + 1, 5 * sort._TILE + 3])
def test_each_sum_is_of_all_before(n):
    x = integers(n, 100)
    y, total = map(to_numpy, sort.exclusive_sum(from_numpy(x)))
    np.testing.assert_array_equal(y, np.cumsum(x) - x)
    np.testing.assert_array_equal(total, [x.sum()])


def test_more_tiles_than_a_tile_holds(monkeypatch):
    """So that the tiles' sums are summed in tiles again."""
    monkeypatch.setattr(sort, "_RUN", 1)
    monkeypatch.setattr(sort, "_TILE", sort.THREADS)
    x = integers(3 * sort.THREADS**2 + 1, 100)
    y, total = map(to_numpy, sort.exclusive_sum(from_numpy(x)))
    np.testing.assert_array_equal(y, np.cumsum(x) - x)
    np.testing.assert_array_equal(total, [x.sum()])


@pytest.mark.parametrize("below", [1, 2, 16, 17, 300])
@pytest.mark.parametrize("n", [1, sort._SHARE, sort._SHARE + 1, 90])
def test_equal_keys_keep_their_order(n, below):
    keys = integers(n, below)
    by_key, order = map(to_numpy, sort.stable_order(from_numpy(keys), below))
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    np.testing.assert_array_equal(by_key, np.sort(keys))
