"""The engines that multiply bfloat16 numbers (kernels/cpu/bfloat16_block.py), one after another."""

from contextlib import contextmanager

import pytest

from kernels.cpu import bfloat16_block

every_engine = pytest.mark.parametrize("name", bfloat16_block.AVAILABLE)


@contextmanager
def engine(name):
    """Drivers run this engine. On "plain" float32 convolutions are sums of the register tile on every processor."""
    before, bfloat16_block.ENGINE = bfloat16_block.ENGINE, name
    try:
        yield
    finally:
        bfloat16_block.ENGINE = before
