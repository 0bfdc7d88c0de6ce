"""The matrix product inside a block: a slab of both operands in shared memory, sums in registers.

A block computes rows x columns outputs as a sum over slabs of `depth` terms. Its threads copy the next slab from device
memory into registers while they multiply the present one, and put it into the other half of shared memory: one barrier
a slab. A thread owns down x across outputs, in groups of four side by side, so that a warp reads shared memory without
conflicts.
"""

from functools import lru_cache
from typing import NamedTuple

import numba

from .device import SIMULATED, cuda, device_function
from .llvm import load4, store4

PAD = 4  # numbers behind each row of shared memory: a column that threads write side by side spreads over the banks


class Tile(NamedTuple):
    """Outputs of a block, terms of a slab, outputs of a thread."""

    rows: int
    columns: int
    depth: int
    down: int
    across: int

    @property
    def threads(self):
        return (self.rows // self.down) * (self.columns // self.across)


SQUARE, TALL, NARROW, SMALL = (
    (Tile(8, 8, 4, 2, 8),) * 4
    if SIMULATED
    else (Tile(128, 128, 8, 8, 8), Tile(128, 64, 8, 8, 4), Tile(128, 32, 8, 8, 2), Tile(64, 64, 8, 4, 4))
)
_ENOUGH = 264  # blocks keep the multiprocessors of a large GPU busy


def tile_for(n_rows, n_columns):
    """The tile for a matrix of this size: as large as leaves enough blocks. It follows from the sizes alone."""
    if n_columns <= 32:
        return NARROW
    if n_columns <= 64:
        return TALL
    return SQUARE if blocks(SQUARE, n_rows, n_columns) >= _ENOUGH else SMALL


def blocks(tile, n_rows, n_columns):
    """Tiles that cover a matrix."""
    return -(-n_rows // tile.rows) * -(-n_columns // tile.columns)


def vector_width(dtype, *sizes):
    """4 where every size is a multiple of four float32: numbers that a thread loads at once; else 1."""
    return 4 if dtype.itemsize == 4 and all(size % 4 == 0 for size in sizes) else 1


@lru_cache(maxsize=16)
def multiply_slab(tile, dtype):
    """Device function: sums[i, j] += sum_k a[k, row i] b[k, column j] over the slab in half `stage`."""
    rows, columns, depth, down, across = tile
    of_down, of_across = min(4, down), min(4, across)  # numbers side by side
    rows_apart, columns_apart = rows // down * of_down, columns // across * of_across
    number = numba.from_dtype(dtype)
    groups_down, groups_across, a_pitch, b_pitch = down // of_down, across // of_across, rows + PAD, columns + PAD
    load_down, load_across = group_loader(of_down, dtype), group_loader(of_across, dtype)

    @device_function
    def multiply(a, b, stage, row, column, sums):
        of_a, of_b = cuda.local.array(down, number), cuda.local.array(across, number)
        for k in range(depth):
            for i in range(groups_down):
                load_down(a, (stage * depth + k) * a_pitch + i * rows_apart + row * of_down, of_a, i * of_down)
            for j in range(groups_across):
                load_across(
                    b, (stage * depth + k) * b_pitch + j * columns_apart + column * of_across, of_b, j * of_across
                )
            for i in range(down):
                for j in range(across):
                    sums[i * across + j] += of_a[i] * of_b[j]

    return multiply


@lru_cache(maxsize=16)
def group_loader(group, dtype):
    """Device function: into[at + j] = array[i + j] for j < group, from shared memory; four float32 at once."""
    if group == 4 and dtype.itemsize == 4:

        @device_function
        def load(array, i, into, at):
            into[at], into[at + 1], into[at + 2], into[at + 3] = load4(array, i)

    else:

        @device_function
        def load(array, i, into, at):
            for j in range(group):
                into[at + j] = array[i + j]

    return load


@lru_cache(maxsize=16)
def loader(width):
    """Device function: into[at .. at + width) = array[i .. i + width), or zeros unless `valid`."""
    if width == 4:

        @device_function
        def load(array, i, valid, into, at):
            if valid:
                into[at], into[at + 1], into[at + 2], into[at + 3] = load4(array, i)
            else:
                for j in range(4):
                    into[at + j] = 0

    else:

        @device_function
        def load(array, i, valid, into, at):
            into[at] = array[i] if valid else array.dtype.type(0)

    return load


@lru_cache(maxsize=16)
def storer(width, group):
    """Device function: array[i + j] = values[at + j] for j < min(group, count).

    Every index into `values` must be known to the compiler once loops are unrolled, or they leave their registers.
    """
    if width == group == 4:

        @device_function
        def store(array, i, values, at, count):
            store4(array, i, values[at], values[at + 1], values[at + 2], values[at + 3])

    else:

        @device_function
        def store(array, i, values, at, count):
            for j in range(group):
                if j < count:
                    array[i + j] = values[at + j]

    return store
