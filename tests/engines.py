"""The engines that multiply bfloat16 numbers (kernels/cpu/half_tile.py), one after another."""

from contextlib import contextmanager

import pytest

from kernels.cpu import half_tile

every_engine = pytest.mark.parametrize("name", half_tile.AVAILABLE)


@contextmanager
def engine(name):
    """Drivers run this engine. On "plain" float32 convolutions are sums of the register tile on every processor."""
    before, half_tile.ENGINE = half_tile.ENGINE, name
    try:
        yield
    finally:
        half_tile.ENGINE = before
