"""Dense convolution in bfloat16 against the definition in float64 of the same rounded numbers, on every engine."""

import numba
import numpy as np
import pytest
from engines import assert_same_bits_on_any_number_of_threads, engine, every_engine
from hypothesis import given
from hypothesis import strategies as st
from strategies import ACTIVATIONS, SIZE, activations, normal, seeds, windows

import kernels
from kernels import reference
from kernels.bfloat16 import BFLOAT16, narrow, rounded, widen
from kernels.cpu import bfloat16_block, llvm_short_rows
from kernels.cpu.blocks_over_channels import pack_pairs, whole_steps
from kernels.cpu.jit import jit
from kernels.geometry import Window

cpu = kernels.load("cpu")
both_slices = pytest.mark.parametrize("slices", [1, bfloat16_block.SLICES])
EPS = float(np.finfo(np.float32).eps)


def assert_rounded(actual, expected, magnitude, terms):
    """A float32 sum of products that are exact, then one rounding to bfloat16 if it is a map.

    The sum is within terms eps magnitude of the exact one in any order (pairs are added before they meet the sum); of
    that, bfloat16 with its 8 bits keeps all but 2^-8.
    """
    bound = terms * EPS * magnitude + 1e-36
    if actual.dtype == BFLOAT16:
        bound, actual = bound + 2.0**-8 * (abs(expected) + bound), widen(actual)
    assert actual.shape == expected.shape
    assert actual.dtype == np.float32
    worst = (abs(actual - expected) / bound).max()
    assert worst <= 1, f"{worst:.3g} times the bound"


def problem(win, seed):
    """x, w, grad: maps in bfloat16, weights in float32; and the same numbers as the kernels see them, in float64."""
    x, w, grad = normal(seed, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
    return (narrow(x), w, narrow(grad)), [rounded(a).astype(np.float64) for a in (x, w, grad)]


def compute(k, x, w, grad, win):
    return k.conv2d(x, w, win), k.conv2d_grad_input(grad, w, win), k.conv2d_grad_weight(x, grad, win)


def assert_equals_definition(name, win, seed):
    given_arrays, wide = problem(win, seed)
    terms = max(win.k_h * win.k_w * max(win.c_in, win.c_out), win.n * win.out_h * win.out_w) + 4
    with engine(name):
        results = compute(cpu, *given_arrays, win)
    magnitudes = compute(reference, *map(np.abs, wide), win)
    for a, e, m in zip(results, compute(reference, *wide, win), magnitudes, strict=True):
        assert_rounded(a, e, m, terms)
    assert [a.dtype for a in results] == [BFLOAT16, BFLOAT16, np.float32]


@every_engine
@pytest.mark.parametrize("op", ["conv2d", "pointwise"])
@given(data=st.data(), seed=seeds)
def test_every_geometry(name, op, data, seed):
    assert_equals_definition(name, data.draw(windows(op)), seed)


# Sizes at which the kernels change their way: x, weight, options.
TURNS = {
    "the stem": ((2, 33, 31, 3), (7, 7, 3, 64), {"stride": 2, "padding": 3}),
    "the stem, asymmetric": ((1, 9, 8, 3), (3, 4, 3, 9), {"stride": (2, 1), "padding": ((0, 2), (3, 1))}),
    "several panels, one of them short": ((1, 5, 6, 200), (3, 3, 200, 70), {"padding": "same"}),
    "a tap of several panels": ((1, 5, 6, 800), (1, 1, 800, 40), {"stride": 2}),
    "pixels read where they lie, the last ones copied": ((1, 9, 9, 64), (1, 1, 64, 40), {}),
    "pixels 2 KiB apart": ((1, 6, 7, 1024), (1, 1, 1024, 33), {}),
    "taps as far apart as their channels with zeros": ((1, 9, 9, 16), (3, 3, 16, 16), {"rate": 2, "padding": "same"}),
    "several groups of positions": ((2, 30, 31, 40), (1, 1, 40, 600), {}),
    "several chunks and ranges of pixels": ((2, 40, 45, 40), (3, 3, 40, 33), {"rate": 2, "padding": "same"}),
    "weight gradient in parts": ((1, 12, 12, 300), (3, 3, 300, 560), {"padding": "same"}),
    "stride beyond the kernel": ((1, 17, 19, 20), (2, 2, 20, 6), {"stride": (5, 4)}),
    "nothing but padding": ((1, 1, 1, 2), (1, 1, 2, 3), {"stride": 2, "padding": ((3, 2), (1, 4))}),
}


def turn(key):
    x_shape, w_shape, options = TURNS[key]
    return Window.conv(x_shape, w_shape, **options)


@every_engine
@pytest.mark.parametrize("key", TURNS)
def test_where_the_kernel_turns(name, key):
    assert_equals_definition(name, turn(key), seed=1)


@every_engine
@given(data=st.data(), seed=seeds, activation=activations, with_residual=st.booleans())
def test_the_last_step_comes_before_the_rounding(name, data, seed, activation, with_residual):
    win = data.draw(windows("conv2d"))
    (x, w, _), (wide_x, wide_w, more) = problem(win, seed)
    scale, shift = normal(seed, (win.c_out,), (win.c_out,), dtype=np.float32)
    if not with_residual:
        more = 0 * more
    plain = scale * reference.conv2d(wide_x, wide_w, win)
    magnitude = abs(scale) * reference.conv2d(abs(wide_x), abs(wide_w), win) + abs(shift) + abs(more)
    magnitude = magnitude + SIZE.get(activation, 0)
    with engine(name):
        residual = narrow(more.astype(np.float32)) if with_residual else None
        y = cpu.conv2d(x, w, win, scale, shift, activation, residual)
    terms = win.k_h * win.k_w * win.c_in + 12
    steepest = 1.5 if activation == "hardswish" else 1.0  # of the activation: an error before it grows by so much
    assert_rounded(y, ACTIVATIONS[activation](plain + shift + more), steepest * magnitude, terms)


@every_engine
@pytest.mark.parametrize("key", ["several groups of positions", "several chunks and ranges of pixels", "the stem"])
def test_the_same_bits_on_any_number_of_threads_and_from_any_memory(name, key):
    win = turn(key)
    given_arrays, _ = problem(win, 3)
    with engine(name):
        assert_same_bits_on_any_number_of_threads(lambda: compute(cpu, *given_arrays, win))


@every_engine
def test_nan_and_infinity_are_seen_and_spread_to_their_own_sums_alone(name):
    win = Window.conv((1, 5, 5, 40), (1, 1, 40, 35))
    (x, w, grad), _ = problem(win, 5)
    x, grad = widen(x), widen(grad)
    x[0, 1, 2, 3], x[0, 4, 4, 39], grad[0, 3, 3, 34] = np.nan, np.inf, np.nan
    with engine(name):
        y, grad_x, grad_w = compute(cpu, narrow(x), w, narrow(grad), win)
    bad = np.zeros((5, 5), bool)
    bad[1, 2] = bad[4, 4] = True
    np.testing.assert_array_equal(~np.isfinite(widen(y))[0].all(-1), bad)
    assert np.isnan(widen(y)[0, 1, 2]).all()
    np.testing.assert_array_equal(np.argwhere(np.isnan(widen(grad_x)).all(-1)), [[0, 3, 3]])
    assert np.isnan(widen(grad_x)).sum() == 40
    finite = np.isfinite(grad_w[0, 0])
    assert not finite[3].any()
    assert not finite[39].any()
    assert not finite[:, 34].any()
    assert finite[:3, :34].all()


def cut(numbers):
    """The three slices of float32 numbers, along a new first axis: the nearest, then the nearest to what is left."""
    slices = []
    with np.errstate(invalid="ignore"):  # of infinity NaN is left
        for _ in range(bfloat16_block.SLICES):
            slices.append(rounded(numbers))
            numbers = numbers - slices[-1]
    return np.array(slices)


def as_slices(numbers, slices):
    """What a kernel makes of float32 numbers: themselves in bfloat16, or the three slices."""
    return rounded(numbers)[None] if slices == 1 else cut(numbers)


@both_slices
@given(taps=st.integers(1, 3), c=st.integers(1, 70), k=st.integers(1, 70), transposed=st.booleans(), seed=seeds)
def test_packed_weights_are_the_weights(slices, taps, c, k, transposed, seed):
    """Rounded, or in slices: pairs of rows side by side, rows of a tap filled up to a step and columns to a block with
    zeros."""
    w = normal(seed, (1, taps, c, k), dtype=np.float32)
    packed = pack_pairs(w, slices, transposed)
    expected = as_slices(w[0].swapaxes(1, 2) if transposed else w[0], slices)
    n_rows, n_columns = expected.shape[2:]
    halves = widen(packed.view(np.uint16).view(BFLOAT16))
    halves = halves.reshape(len(packed), taps, -1, slices, bfloat16_block.PAIRS, bfloat16_block.BLOCK, 2)
    unpacked = halves.transpose(3, 1, 2, 4, 6, 0, 5).reshape(slices, taps, halves.shape[2] * bfloat16_block.STEP, -1)
    np.testing.assert_array_equal(unpacked[:, :, :n_rows, :n_columns], expected)
    assert not unpacked[:, :, n_rows:].any()
    assert not unpacked[..., n_columns:].any()
    assert unpacked.shape[2] - n_rows < bfloat16_block.STEP and unpacked.shape[3] - n_columns < bfloat16_block.BLOCK


@jit
def run_block(engine, slices, a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead):
    bfloat16_block.begin(engine)
    bfloat16_block.block(
        engine, slices, a, a_at, a_pitch, b, b_at, b_steps, n_steps, c, c_at, c_pitch, accumulate, ahead
    )
    bfloat16_block.end(engine)


PRODUCTS = {1: [(0, 0)], 3: [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]}  # slices of a and of b


@every_engine
@both_slices
@given(steps=st.lists(st.integers(0, 4), max_size=5), accumulate=st.booleans(), seed=seeds, odd=st.integers(0, 9))
def test_a_block_is_its_equation(name, slices, steps, accumulate, seed, odd):
    """Steps of b in any order, memory not aligned, and nothing beside the block changes."""
    block, n_steps, pairs = bfloat16_block.BLOCK, len(steps), 16 * slices
    a_pitch, c_pitch, length = 32 * n_steps * slices + 3, block + odd, 32 * n_steps * slices
    a, b, c = normal(seed, 5 + block * a_pitch, (7 + 5 * pairs, block, 2), 9 + block * c_pitch, dtype=np.float32)
    packed = narrow(b).view(np.uint16).view(np.uint32).reshape(-1)
    starts, before = np.array([*steps, 0]) * pairs * block, c.copy()
    engine_number, ahead = bfloat16_block.ENGINES[name], 10**9 * odd
    a_bits, b_at = narrow(a).view(np.uint16), 7 * block
    run_block(
        engine_number, slices, a_bits, 5, a_pitch, packed, b_at, starts, n_steps, c, 9, c_pitch, accumulate, ahead
    )  # fmt: skip
    rows = rounded(a[5:]).reshape(block, a_pitch)[:, :length].reshape(block, n_steps, slices, 32).astype(np.float64)
    columns = rounded(b)[7:].reshape(5, slices, 16, block, 2).swapaxes(3, 4).reshape(5, slices, 32, block)[steps]

    def sums_of(rows, columns):
        return sum(np.einsum("isn,snj->ij", rows[:, :, i], columns[:, j]) for i, j in PRODUCTS[slices])

    held = before[9:].reshape(block, c_pitch)[:, :block] * accumulate
    sums, terms = c[9:].reshape(block, c_pitch), 32 * n_steps * len(PRODUCTS[slices]) + 4
    assert_rounded(sums[:, :block], sums_of(rows, columns) + held, sums_of(abs(rows), abs(columns)) + abs(held), terms)
    np.testing.assert_array_equal(sums[:, block:], before[9:].reshape(block, c_pitch)[:, block:])
    np.testing.assert_array_equal(c[:9], before[:9])


@jit
def run_rows(numbers, halves, floats, others, scale, shift, target, wide, pairs, n, pitch):
    low, high = np.float32(-1), np.float32(2)
    llvm_short_rows.copy_numbers(halves, 3, target[0], 5, n)
    llvm_short_rows.zero_numbers(target[1], 5, n)
    llvm_short_rows.put_numbers(floats, 3, target[2], 5, n)
    llvm_short_rows.scale_numbers(floats, 3, scale, 1, shift, 1, low, high, target[3], 5, n)
    llvm_short_rows.scale_and_add_numbers(floats, 3, scale, 1, shift, 1, halves, 4, low, high, target[4], 5, n)
    llvm_short_rows.put_numbers(floats, 3, wide[0], 5, n)
    llvm_short_rows.scale_numbers(floats, 3, scale, 1, shift, 1, low, high, wide[1], 5, n)
    llvm_short_rows.scale_and_add_numbers(floats, 3, scale, 1, shift, 1, others, 4, low, high, wide[2], 5, n)
    llvm_short_rows.pair_numbers(halves, 3, numbers, 9, pairs[0], 5, pitch, n)
    llvm_short_rows.pair_narrowed(floats, 3, others, 9, pairs[1], 5, n)
    llvm_short_rows.pair_numbers(floats, 3, others, 9, pairs[2], 5, pitch, n)


@given(n=st.integers(0, 70), gap=st.integers(0, 3), seed=seeds)
def test_rows_of_any_length(n, gap, seed):
    floats, others, scale, shift = normal(seed, *4 * [90], dtype=np.float32)
    floats[5] = np.nan
    more, pitch = rounded(normal(seed + 1, 90, dtype=np.float32)), n + gap
    halves, numbers = narrow(more).view(np.uint16), narrow(others).view(np.uint16)
    target, wide = np.full((5, 90), 7, np.uint16), np.full((3, 90), 7, np.float32)
    pairs = np.full((3, 250), 7, np.uint32)
    run_rows(numbers, halves, floats, others, scale, shift, target, wide, pairs, n, pitch)
    taken = floats[3 : 3 + n]
    scaled = (floats[3:].astype(np.float64) * scale[1:88] + shift[1:88]).astype(np.float32)[:n]
    limited, added = np.clip(scaled, -1, 2), np.clip(scaled + more[4 : 4 + n], -1, 2)
    bits = [narrow(v).view(np.uint16) for v in (taken, limited, added)]
    np.testing.assert_array_equal(target[:, 5 : 5 + n], [halves[3 : 3 + n], np.zeros(n), *bits])
    np.testing.assert_array_equal(wide[:, 5 : 5 + n], [taken, limited, np.clip(scaled + others[4 : 4 + n], -1, 2)])

    def paired(lower, upper):
        return lower | upper.astype(np.uint32) << 16

    of_floats = paired(*(narrow(cut(row)).view(np.uint16) for row in (taken, others[9 : 9 + n])))
    np.testing.assert_array_equal(pairs[0, 5 : 5 + n], paired(halves[3 : 3 + n], numbers[9 : 9 + n]))
    np.testing.assert_array_equal(pairs[1, 5 : 5 + n], of_floats[0])
    places = 5 + pitch * np.arange(3)[:, None] + np.arange(n)
    np.testing.assert_array_equal(pairs[2][places], of_floats)
    assert (np.delete(pairs[2], places) == 7).all()
    for array in (target, wide, pairs[:2]):
        assert (array[:, :5] == 7).all()
        assert (array[:, 5 + n :] == 7).all()


@jit
def run_lay_out(source, target, n):
    llvm_short_rows.lay_out(source, 3, target, 5, n)


def laid_out(numbers, n=None):
    """(slices, whole steps) of what `lay_out` makes of n numbers: widened, and nothing beside them may change."""
    n, slices = len(numbers) if n is None else n, 1 if numbers.dtype == np.uint16 else 3
    source = np.concatenate([np.ones(3), widen(numbers) if slices == 1 else numbers, np.ones(40)]).astype(np.float32)
    source = narrow(source).view(np.uint16) if slices == 1 else source
    length = whole_steps(n) * slices
    target = np.full(5 + length + 40, 7, np.uint16)
    run_lay_out(source, target, n)
    assert (target[:5] == 7).all()
    assert (target[5 + length :] == 7).all()
    numbers = widen(target[5 : 5 + length].view(BFLOAT16)).reshape(-1, slices, bfloat16_block.STEP)
    return numbers.swapaxes(0, 1).reshape(slices, -1)


@both_slices
@given(n=st.integers(0, 130), seed=seeds)
def test_steps_are_laid_out_slice_after_slice_with_zeros_after_the_last(slices, n, seed):
    floats = normal(seed, 140, dtype=np.float32)
    found = laid_out(narrow(floats).view(np.uint16) if slices == 1 else floats, n)
    np.testing.assert_array_equal(found[:, :n], as_slices(floats[:n], slices))
    assert found.shape[1] - n < bfloat16_block.STEP
    assert not found[:, n:].any()


signs = st.sampled_from([-1.0, 1.0])
ordinary = st.builds(
    lambda sign, x: sign * x, signs, st.floats(2.0**-103, np.float32(3e38).item(), width=32) | st.just(0.0)
)


@given(st.lists(st.tuples(ordinary, ordinary), min_size=1, max_size=70))
def test_three_slices_are_the_number_and_six_products_nearly_the_product(pairs):
    """The other three products are at most 2^-24 of it: |x1| <= 2^-8 |x|, and x2 half a unit of an x1 whose first bit
    stands 9 behind that of x, or more, so that |x2| <= 2^-17 |x|."""
    x, w = np.array(pairs, np.float32).T.copy()
    (x0, x1, x2), (w0, w1, w2) = (laid_out(a)[:, : len(x)].astype(np.float64) for a in (x, w))
    x, w = x.astype(np.float64), w.astype(np.float64)
    np.testing.assert_array_equal(x0 + x1 + x2, x)
    np.testing.assert_array_equal(w0 + w1 + w2, w)
    assert (abs(x1) <= 2.0**-8 * abs(x)).all()
    assert (abs(x2) <= 2.0**-17 * abs(x)).all()
    six = x2 * w0 + x1 * w0 + x1 * w1 + x0 * w1 + x0 * w2 + x0 * w0  # exact but for float64's last place
    assert (abs(six - x * w) <= 2.0**-24 * abs(x * w)).all()


@given(
    st.lists(
        st.builds(lambda sign, x: sign * x, signs, st.floats(float(np.uint32(0x7F7F8000).view(np.float32)), width=32))
        | st.just(np.nan),
        min_size=1,
        max_size=70,
    )
)
def test_what_bfloat16_does_not_reach_is_not_finite(numbers):
    """Infinity, NaN, and what rounds to infinity: from half a unit beyond the largest number, 3.396e38, on."""
    numbers = np.array(numbers, np.float32)
    with np.errstate(invalid="ignore"):
        assert np.isnan(laid_out(numbers)[:, : len(numbers)].sum(axis=0)).all()


@given(st.lists(st.integers(0, (127 - 100) << 23), min_size=1, max_size=70))
def test_of_small_numbers_only_what_is_below_2_to_the_minus_126_is_lost(bits):
    numbers = np.array(bits, np.uint32).view(np.float32)
    missing = laid_out(numbers)[:, : len(numbers)].astype(np.float64).sum(axis=0) - numbers
    assert (abs(missing) < 2.0**-126).all()


@pytest.mark.parametrize(
    ("name", "instruction", "count"), [("avx512_bf16", "vdpbf16ps", 7 * 16), ("amx", "tdpbf16ps\t%tmm", 7 * 4)]
)
def test_the_machine_code_has_the_instructions(name, instruction, count):
    """Without them a block would be right, and slow. For the product of whole numbers, and for six of slices."""
    if name not in bfloat16_block.AVAILABLE:
        pytest.skip(f"this processor has no {name}")
    function = numba.njit(run_block.py_func)  # one read from the cache has no code to look at
    (a, b, c), i = (np.zeros(2000, dtype) for dtype in (np.uint16, np.uint32, np.float32)), np.zeros(1, np.int64)
    function(bfloat16_block.ENGINES["plain"], 1, a, 0, 32, b, 0, i, 0, c, 0, 32, False, 0)
    (code,) = function.inspect_asm().values()
    assert code.count(instruction) >= count
