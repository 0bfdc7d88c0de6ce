"""The block of bfloat16 products that dense convolution in bfloat16, forward and gradients, is made of; so is that of
some layers in float32, see `blocks_compute`.

    c[c_at + i * c_pitch + j] (+)= sum_{s, p, e} a[a_at + i * a_pitch + 32 s + 2 p + e] * b[b_row + 32 p + j][e]

    with b_row = b_at + b_steps[s]; i, j < BLOCK = 32; over steps s < n_steps, pairs p < PAIRS = 16 and both numbers e
    of a pair

A float32 number of 24 bits is the sum of SLICES = 3 bfloat16 numbers of 8 bits each: x = x0 + x1 + x2, and
|x1| <= 2^-8 |x|, |x2| <= 2^-17 |x|. Of the nine products of two such sums six count; the other three together are at
most 2^-24 |x w|, what float32 rounds off a product, mostly far less. With n_slices = 3 a step still covers 32 numbers
of the sum, but a holds 3 x 32 bfloat16 numbers for it and b 3 x 16 x 32 pairs, slice after slice:

    c[...] (+)= sum_{s, (u, v), p, e} a[a_at + i * a_pitch + 32 (3 s + u) + 2 p + e] * b[b_row + 32 (16 v + p) + j][e]

    with slices (u, v) of (a, b) in the order (2, 0) (1, 0) (1, 1) (0, 1) (0, 2) (0, 0)

Tile registers add up the products of two slices in a step before they meet the sum, so the result is closer to the
exact one than that of a chain of multiply-adds (kernels/cpu/README.md has the errors). The other engines add them one
after the other, and are less exact than that chain. Source: Henry, Tang & Heinecke 2019, arXiv 1904.06376.

a has the bits of bfloat16 numbers (uint16), in the order of the sum. b has pairs of them (uint32, the first in the
lower half): what follows each other in the sum of one column lies side by side, as the instructions of x86 take it. c
is float32, and so is every sum. b_steps says where a step's part of b starts. At each step the first engine below asks
for four cache lines of b for each slice, from `ahead` on; the address need not exist.

Three engines compute it. "amx": Intel's tile registers, 16 x 16 sums each, four of them at a time. "avx512_bf16": dot
products of pairs in vector registers. "plain": Numba, what tests compare with, and what other processors run. They add
in different orders, and the first two take numbers below 2^-126 as zero; one engine always gives the same bits.
"""

import ctypes
import platform
import sys

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..bfloat16 import BFLOAT16
from .bfloat16 import wide
from .jit import jit, jit_inline
from .llvm import array_data, broadcast, held_or_zero, prefetch
from .llvm_bfloat16 import BFLOAT
from .processor import HAS_AMX_BF16, HAS_AVX512_BF16

BLOCK = 32  # rows and columns of a block
STEP = 32  # numbers of a sum that are taken together
PAIRS = STEP // 2
SLICES = 3  # bfloat16 numbers that a float32 number is the sum of
# slices of a and of b in the order of the sum: neighbours share one, which stays in its register
_PRODUCTS = {1: ((0, 0),), SLICES: ((2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0))}
TILE = 16  # rows of a tile register, and pairs or float32 numbers in one of its rows


def _may_use_tile_registers():
    """Linux gives their 8 KiB of state only to a process that asks, once, before its threads start."""
    if not (HAS_AMX_BF16 and sys.platform == "linux" and platform.machine() == "x86_64"):
        return False
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0


ENGINES = {"plain": 0, "avx512_bf16": 1, "amx": 2}
AVAILABLE = ("plain", *["avx512_bf16"] * HAS_AVX512_BF16, *["amx"] * _may_use_tile_registers())
ENGINE = AVAILABLE[-1]  # what drivers run: tests change it
FAST = ENGINE != "plain"  # whether this processor multiplies bfloat16 numbers faster than float32 ones


def slice_count(dtype):
    """In how many slices maps and weights are multiplied: 1 for bfloat16, 3 for float32."""
    return 1 if dtype == BFLOAT16 else SLICES


# multiply-adds: a smaller layer gains a fraction of a millisecond, and a network of such layers alone would have to
# compile two more drivers for it
_LEAST = 1 << 27
_LEAST_CHANNELS = 96  # of both maps: with fewer, cutting numbers into slices costs what the products gain


def blocks_compute(dtype, win):
    """Whether blocks compute a convolution, and not the tile of tile.py: in bfloat16 any; in float32 where the engine
    multiplies more than six times as fast as vectors do ("amx"), and the layer is large enough.

    `conv2d` asks winograd_plan.side_of first: what squares compute does not come here.
    """
    is_fast = ENGINE == "amx" and not numba.config.DISABLE_JIT
    gains = min(win.c_in, win.c_out) >= _LEAST_CHANNELS and win.macs >= _LEAST
    return dtype == BFLOAT16 or (dtype == np.float32 and is_fast and gains)


def _block_plain(n_slices):
    """The equation as loops."""
    products = np.array(_PRODUCTS[n_slices])

    @jit
    def block(a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead):
        for i in range(BLOCK):
            at = c_at + i * c_pitch
            row = c[at : at + BLOCK]
            if not accumulate:
                row[:] = 0
            for s in range(n_steps):
                for of_a, of_b in products:
                    for p in range(PAIRS):
                        at = a_at + i * a_pitch + STEP * (n_slices * s + of_a) + 2 * p
                        first, second = wide(a[at]), wide(a[at + 1])
                        at = b_at + b_steps[s] + BLOCK * (PAIRS * of_b + p)
                        pairs = b[at : at + BLOCK]
                        for j in range(BLOCK):
                            lower, upper = wide(np.uint16(pairs[j] & 0xFFFF)), wide(np.uint16(pairs[j] >> 16))
                            row[j] += first * lower + second * upper

    return block


_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _instruction(builder, name, result, *args):
    """Call an LLVM intrinsic that stands for one instruction."""
    function_type = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.x86.{name}"), args)


def _tile_instruction(builder, name, *args):
    """An instruction for tile registers, which are given by number."""
    args = [ir.Constant(_I8, arg) if isinstance(arg, int) else arg for arg in args]
    _instruction(builder, name, ir.VoidType(), *args)


@intrinsic
def _configure_tiles(typingctx):
    """Make all eight tile registers 16 rows of 64 bytes."""

    def codegen(context, builder, signature, args):
        palette, row_bytes, rows = 1, TILE * [64, 0], TILE * [TILE]
        layout = bytes([palette, *15 * [0], *row_bytes[:16], *16 * [0], *rows[:8], *8 * [0]])
        constant = cgutils.global_constant(builder, "tile_layout", cgutils.make_bytearray(layout))
        _tile_instruction(builder, "ldtilecfg", builder.bitcast(constant, _I8.as_pointer()))
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _release_tiles(typingctx):
    """Give the tile registers back, so that no switch of threads has to save them."""

    def codegen(context, builder, signature, args):
        _tile_instruction(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


def _block_intrinsic(emit, n_slices):
    """The block's equation by `emit`, which gets byte pointers and pitches in bytes."""

    @intrinsic
    def block(typingctx, a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead):
        i = types.intp
        signature = types.void(a, i, i, b, i, b_steps, i, c, i, i, i, i)

        def codegen(context, builder, signature, args):
            data = array_data(context, builder, signature, args)

            def start(array, at):
                return builder.bitcast(builder.gep(data(array), [args[at]]), _I8.as_pointer())

            def in_bytes(pitch, itemsize):
                return builder.mul(pitch, ir.Constant(_I64, itemsize))

            a, b, c = (start(0, 1), in_bytes(args[2], 2)), (start(3, 4), data(5)), (start(7, 8), in_bytes(args[9], 4))
            emit(builder, n_slices, a, b, c, args[6], args[10], start(3, 11))
            return context.get_dummy_value()

        return signature, codegen

    return block


def _offset(builder, pointer, *terms):
    """The pointer so many bytes on; a term is an int or an LLVM value, or a pair of them to multiply."""
    for term in terms:
        factors = [
            ir.Constant(_I64, f) if isinstance(f, int) else f for f in (term if isinstance(term, tuple) else (term,))
        ]
        pointer = builder.gep(pointer, [factors[0] if len(factors) == 1 else builder.mul(*factors)])
    return pointer


def _step_of_b(builder, b, step):
    """Where the step's pairs start."""
    start, steps = b
    return _offset(builder, start, (builder.load(builder.gep(steps, [step])), 4))


def _emit_amx(builder, n_slices, a, b, c, n_steps, accumulate, ahead):
    """Registers 0 to 3 hold the four quarters of c, 4 and 5 two tiles of a, 6 and 7 two of b: 64 cycles a product."""
    (a, a_pitch), (c, c_pitch) = a, c
    quarters = [(2 * i + j, _offset(builder, c, (c_pitch, TILE * i), 64 * j)) for i in range(2) for j in range(2)]
    with builder.if_else(builder.icmp_signed("!=", accumulate, ir.Constant(_I64, 0))) as (on_top, afresh):
        with on_top:
            for register, quarter in quarters:
                _tile_instruction(builder, "tileloadd64", register, quarter, c_pitch)
        with afresh:
            for register, _ in quarters:
                _tile_instruction(builder, "tilezero", register)
    b_pitch, held = ir.Constant(_I64, 4 * BLOCK), {}

    def load(register, content, pointer, pitch):
        if held.get(register) != content:
            held[register] = content
            _tile_instruction(builder, "tileloadd64", register, pointer, pitch)

    with cgutils.for_range(builder, n_steps) as loop:
        a_step, b_step = _offset(builder, a, (loop.index, 2 * STEP * n_slices)), _step_of_b(builder, b, loop.index)
        for line in range(4 * n_slices):
            prefetch(builder, _offset(builder, ahead, (loop.index, 256 * n_slices), 64 * line), to_write=False)
        for of_a, of_b in _PRODUCTS[n_slices]:
            a_slice = _offset(builder, a_step, 2 * STEP * of_a)
            b_slice = _offset(builder, b_step, _SLICE_BYTES * of_b)
            for j in range(2):
                load(6 + j, of_b, _offset(builder, b_slice, 64 * j), b_pitch)
            for i in range(2):
                load(4 + i, of_a, _offset(builder, a_slice, (a_pitch, TILE * i)), a_pitch)
                for j in range(2):
                    _tile_instruction(builder, "tdpbf16ps", 2 * i + j, 4 + i, 6 + j)
    for register, quarter in quarters:
        _tile_instruction(builder, "tilestored64", register, quarter, c_pitch)


_SLICE_BYTES = 4 * PAIRS * BLOCK  # bytes of a slice of b in a step
_DOT_ROWS = 8  # rows at a time: with two vectors of columns 16 sums, more than enough to hide the latency


def _emit_dot(builder, n_slices, a, b, c, n_steps, accumulate, ahead):
    """Eight rows after eight rows: a pair of a in all lanes times 16 pairs of b, twice."""
    (a, a_pitch), (c, c_pitch) = a, c
    vector, pairs = ir.VectorType(ir.FloatType(), 16), ir.VectorType(BFLOAT, 32)
    dwords = ir.VectorType(_I32, 16)
    cells = [(i, j) for i in range(_DOT_ROWS) for j in range(2)]
    sums = [cgutils.alloca_once(builder, vector) for _ in cells]  # LLVM turns them into registers

    def load(pointer, kind, align):
        return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=align)

    with cgutils.for_range(builder, ir.Constant(_I64, BLOCK // _DOT_ROWS)) as part:
        first = builder.mul(part.index, ir.Constant(_I64, _DOT_ROWS))
        a_rows = [_offset(builder, a, (first, a_pitch), (a_pitch, i)) for i in range(_DOT_ROWS)]
        outs = [_offset(builder, c, (first, c_pitch), (c_pitch, i), 64 * j) for i, j in cells]
        outs = [builder.bitcast(out, vector.as_pointer()) for out in outs]
        for held, value in zip(sums, held_or_zero(builder, outs, 4, accumulate), strict=True):
            builder.store(value, held)
        with cgutils.for_range(builder, n_steps) as loop:
            b_step = _step_of_b(builder, b, loop.index)
            for of_a, of_b in _PRODUCTS[n_slices]:
                with cgutils.for_range(builder, ir.Constant(_I64, PAIRS)) as pair:
                    b_pair = _offset(builder, b_step, (pair.index, 4 * BLOCK), _SLICE_BYTES * of_b)
                    columns = [load(_offset(builder, b_pair, 64 * j), pairs, 4) for j in range(2)]
                    a_pair = builder.mul(loop.index, ir.Constant(_I64, 2 * STEP * n_slices))
                    a_pair = builder.add(a_pair, builder.mul(pair.index, ir.Constant(_I64, 4)))
                    for i in range(_DOT_ROWS):
                        value = load(_offset(builder, a_rows[i], a_pair, 2 * STEP * of_a), _I32, 2)
                        value = builder.bitcast(broadcast(builder, value, dwords), pairs)
                        for j in range(2):
                            held = sums[2 * i + j]
                            args = builder.load(held), value, columns[j]
                            builder.store(_instruction(builder, "avx512bf16.dpbf16ps.512", vector, *args), held)
        for held, out in zip(sums, outs, strict=True):
            builder.store(builder.load(held), out, align=4)


def _blocks(emit, available):
    """The block of one slice, and that of three."""
    return [_block_intrinsic(emit, n) if available else _block_plain(n) for n in _PRODUCTS]


_plain, _plain_sliced = _blocks(None, available=False)
_dot, _dot_sliced = _blocks(_emit_dot, HAS_AVX512_BF16)
_amx, _amx_sliced = _blocks(_emit_amx, HAS_AMX_BF16)


@jit_inline
def block(engine, n_slices, a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead):
    """The equations at the head of this file, between `begin` and `end`; engine: a value of ENGINES; n_slices: 1 or 3.

    Arrays are flat: a uint16, b uint32, c float32; b_steps (n_steps,) int64. Offsets and pitches count elements.
    """
    if n_slices == 1:
        if engine == 2:
            _amx(a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead)
        elif engine == 1:
            _dot(a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead)
        else:
            _plain(a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead)
    elif engine == 2:
        _amx_sliced(a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead)
    elif engine == 1:
        _dot_sliced(a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead)
    else:
        _plain_sliced(a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead)


@jit
def begin(engine):
    """Before a thread's first block."""
    if HAS_AMX_BF16 and engine == 2:
        _configure_tiles()


@jit
def end(engine):
    """After a thread's last block."""
    if HAS_AMX_BF16 and engine == 2:
        _release_tiles()
