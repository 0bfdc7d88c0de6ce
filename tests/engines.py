"""The engines that multiply bfloat16 numbers (kernels/cpu/bfloat16_block.py), one after another; and what holds for
each: the same bits on any number of threads.
"""

from contextlib import contextmanager

import pytest

import kernels
from kernels.cpu import arrays, bfloat16_block

every_engine = pytest.mark.parametrize("name", bfloat16_block.AVAILABLE)


@contextmanager
def engine(name):
    """Drivers run this engine. On "plain" float32 convolutions are sums of the register tile on every processor."""
    before, bfloat16_block.ENGINE = bfloat16_block.ENGINE, name
    try:
        yield
    finally:
        bfloat16_block.ENGINE = before


def assert_same_bits_on_any_number_of_threads(compute):
    """compute() gives the same arrays, and every buffer is filled with NaN before the kernels take it again."""
    before = kernels.num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_POOLED_FROM", 0)  # small arrays come from the pool, too
        first = [a.tobytes() for a in compute()]
        try:
            for threads in range(1, before + 1):
                kernels.set_num_threads(threads)
                for buffers in arrays._free.values():
                    for buffer in buffers:
                        buffer.fill(0xFF)
                assert [a.tobytes() for a in compute()] == first
        finally:
            kernels.set_num_threads(before)
            arrays.release_pool()
