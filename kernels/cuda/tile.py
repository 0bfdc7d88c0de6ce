"""The matrix product inside a block: a slab of both operands in shared memory, sums in registers.

A block computes rows x columns outputs as a sum over slabs of `depth` terms. Its threads copy the next slab from device
memory into registers while they multiply the present one, and put it into the other half of shared memory: one barrier
a slab. A thread owns down x across outputs. Without tensor cores they lie in groups of four side by side, so that a
warp reads shared memory without conflicts; with them a warp owns 64 x 32 outputs, its threads what `mma` says.
"""

from functools import lru_cache
from typing import NamedTuple

import numba

from .device import SIMULATED, cuda, device_function, has_tensor_cores
from .llvm import load4, mma, round_to_tf32, store4


class Tile(NamedTuple):
    """Outputs of a block, terms of a slab, outputs of a thread; whether tensor cores multiply, in TF32."""

    rows: int
    columns: int
    depth: int
    down: int
    across: int
    tensor_cores: bool = False

    @property
    def threads(self):
        return (self.rows // self.down) * (self.columns // self.across)

    @property
    def side_by_side(self):
        """(down, across): outputs of a thread that are neighbours."""
        return (1, 2) if self.tensor_cores else (min(4, self.down), min(4, self.across))

    @property
    def apart(self):
        """(down, across): how far its next group of neighbours is."""
        if self.tensor_cores:
            return 8, 8
        of_down, of_across = self.side_by_side
        return self.rows // self.down * of_down, self.columns // self.across * of_across

    @property
    def pitches(self):
        """Numbers from one term of a slab to the next, of both operands: what a warp reads lies in different banks."""
        pad = 8 if self.tensor_cores else 4
        return self.rows + pad, self.columns + pad


SQUARE, TALL, NARROW, SMALL = (
    (Tile(8, 8, 4, 2, 8),) * 4
    if SIMULATED
    else (Tile(128, 128, 8, 8, 8), Tile(128, 64, 8, 8, 4), Tile(128, 32, 8, 8, 2), Tile(64, 64, 8, 4, 4))
)
TENSOR, SMALL_TENSOR = (
    (Tile(64, 32, 8, 8, 8, True),) * 2 if SIMULATED else (Tile(128, 128, 16, 8, 8, True), Tile(64, 64, 16, 8, 8, True))
)
# every tile's shared arrays are multiples of 16 bytes long: Numba aligns them to 4 only, and loads of four need 16
_ENOUGH = 264  # blocks keep the multiprocessors of a large GPU busy
_precision = "float32"


def set_precision(name):
    """How float32 convolutions multiply from now on.

    float32   in float32
    tf32      operands rounded to 10 bits of mantissa, on tensor cores (compute capability 8.0); sums in float32

    Raises:
        ValueError: another name. RuntimeError: tf32 on a GPU without it.
    """
    global _precision
    if name not in ("float32", "tf32"):
        raise ValueError(f"precision must be float32 or tf32, got {name!r}")
    if name == "tf32" and not has_tensor_cores():
        raise RuntimeError("tf32 needs a GPU of compute capability 8.0 or later; use float32")
    _precision = name


def tile_for(dtype, n_rows, n_columns, widths):
    """The tile for a matrix of this size: as large as leaves enough blocks. It follows from sizes and precision.

    Tensor cores need many numbers quickly: they are for operands that are loaded by fours (`widths` of both).
    """
    by_fours = SIMULATED or (widths == (4, 4) and n_columns > 32)
    if _precision == "tf32" and dtype.itemsize == 4 and by_fours:
        return TENSOR if blocks(TENSOR, n_rows, n_columns) >= _ENOUGH else SMALL_TENSOR
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
def placer(tile):
    """Device function: the block's row and column of the first output of thread t."""
    columns, across = tile.columns, tile.across
    of_down, of_across = tile.side_by_side

    if tile.tensor_cores:

        @device_function
        def place(t):
            warp, lane = t // 32, t % 32
            return warp // (columns // 32) * 64 + lane // 4, warp % (columns // 32) * 32 + lane % 4 * 2

    else:

        @device_function
        def place(t):
            return t // (columns // across) * of_down, t % (columns // across) * of_across

    return place


@lru_cache(maxsize=16)
def preparer(tile):
    """Device function: a number as it goes to shared memory."""
    if tile.tensor_cores:
        return round_to_tf32

    @device_function
    def prepare(x):
        return x

    return prepare


@lru_cache(maxsize=16)
def multiplier(tile, dtype):
    """Device function: sums[i, j] += sum_k a[k, row i] b[k, column j] of thread t over the slab in half `stage`."""
    depth, down, across = tile.depth, tile.down, tile.across
    (of_down, of_across), (rows_apart, columns_apart) = tile.side_by_side, tile.apart
    a_pitch, b_pitch = tile.pitches
    groups_down, groups_across = down // of_down, across // of_across
    load_down, load_across = group_loader(of_down, dtype), group_loader(of_across, dtype)
    number, place = numba.from_dtype(dtype), placer(tile)

    if tile.tensor_cores:

        @device_function
        def multiply(a, b, stage, t, sums):
            """Fragments of mma.m16n8k8: lane = 4 g + i holds a[g | g + 8][i | i + 4] and b[i | i + 4][g]."""
            of_b = cuda.local.array(8, number)
            g, i = t % 32 // 4, t % 4
            row, column = place(t)
            column += g - 2 * i
            for k in range(stage * depth + i, stage * depth + depth + i, 8):
                for n in range(4):
                    of_b[2 * n] = b[k * b_pitch + column + 8 * n]
                    of_b[2 * n + 1] = b[(k + 4) * b_pitch + column + 8 * n]
                for m in range(4):
                    at = k * a_pitch + row + 16 * m
                    a0, a1, a2, a3 = a[at], a[at + 8], a[at + 4 * a_pitch], a[at + 4 * a_pitch + 8]
                    for n in range(4):
                        c = 16 * m + 2 * n
                        sums[c], sums[c + 1], sums[c + 8], sums[c + 9] = mma(
                            a0, a1, a2, a3, of_b[2 * n], of_b[2 * n + 1], sums[c], sums[c + 1], sums[c + 8], sums[c + 9]
                        )

    else:

        @device_function
        def multiply(a, b, stage, t, sums):
            of_a, of_b = cuda.local.array(down, number), cuda.local.array(across, number)
            row, column = place(t)
            for k in range(stage * depth, stage * depth + depth):
                for i in range(groups_down):
                    load_down(a, k * a_pitch + i * rows_apart + row, of_a, i * of_down)
                for j in range(groups_across):
                    load_across(b, k * b_pitch + j * columns_apart + column, of_b, j * of_across)
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
