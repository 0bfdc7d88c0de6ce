# %% [markdown]
# # 01 From six loops to faster than PyTorch
#
# **Why is one convolution slow in one program and thousands of times faster in another, although both compute the
# same numbers?**
#
# You need: NumPy. You will see: one formula, written six times; what the processor does each time; why the rate costs
# nothing; about 30 minutes.

# %%
import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[library + "_NUM_THREADS"] = "1"  # first everything runs on one core: so the programs can be compared

import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(1, threads=1)

# %% [markdown]
# ## A picture, four filters
#
# A **convolution** looks at a small window around each pixel. It multiplies each number in the window with a
# **weight**, and adds all products. The weights are the same for all pixels: they are called a **filter**. Four
# filters give four new pictures. The next cell does it with six plain Python loops.

# %%
import time


def conv_loops(padded, w, rate, height, width):
    """y[p, q, k] = sum of padded[p + kh r, q + kw r, c] w[kh, kw, c, k] over kh, kw, c."""
    k_h, k_w, channels, filters = w.shape
    y = np.zeros((height, width, filters), padded.dtype)
    for p in range(height):
        for q in range(width):
            for k in range(filters):
                total = y.dtype.type(0)
                for kh in range(k_h):
                    for kw in range(k_w):
                        for c in range(channels):
                            total += padded[p + kh * rate, q + kw * rate, c] * w[kh, kw, c, k]
                y[p, q, k] = total
    return y


photo = teach.photograph(96).astype(np.float32) / 255
grey = np.full(3, 1 / 3, np.float32)  # each filter looks at the mean of red, green and blue
rows = np.float32([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
spot = np.float32([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
filters = np.stack([rows, rows.T, spot, np.ones((3, 3), np.float32) / 9], axis=-1)
w_photo = filters[:, :, None, :] * grey[:, None]  # (KH, KW, C, K) = (3, 3, 3, 4)

# %%
began = time.perf_counter()
padded_photo = np.pad(photo, ((1, 1), (1, 1), (0, 0)))
y_photo = conv_loops(padded_photo, w_photo, 1, *photo.shape[:2])
seconds = time.perf_counter() - began
names = ["horizontal edges", "vertical edges", "spots", "mean of nine"]
scaled = [np.clip(y_photo[..., k] * (1 if k == 3 else 0.35) + (0 if k == 3 else 0.5), 0, 1) for k in range(4)]
teach.show([photo] + scaled, ["the photograph"] + names, cmap="gray", vmin=0, vmax=1)
print(f"here: {seconds:.2f} s for a picture of {photo.shape[1]} x {photo.shape[0]} pixels")

# %% [markdown]
# ## How much work is that?
#
# One step `total += a * b` is a **multiply-add**. It is the unit in which the papers count. For each of H x W
# positions and each of K filters there is one multiply-add for each **tap** (one weight position of the filter; here
# nine) and each of C **channels** (here three: red, green and blue):
#
# $$\text{multiply-adds} = H\,W \cdot K \cdot K_H K_W \cdot C$$
#
# The library counts it in a `Window`: an object that knows all sizes of a convolution.

# %%
from kernels.geometry import Window

size = photo.shape[:2]
win = Window.conv((1, *photo.shape), w_photo.shape, padding="same")
check("multiply-adds of the four filters, by the formula", win.macs, size[0] * size[1] * 4 * 9 * 3)

# %% [markdown]
# Is the formula right? Let us count. `Counted` is a number that notices when it is multiplied. We hand such numbers
# to the same six loops, for a corner of the photograph.


# %%
class Counted(float):
    products = 0

    def __mul__(self, other):
        Counted.products += 1
        return float(self) * float(other)


corner = np.vectorize(Counted, otypes=[object])(padded_photo[:8, :7])
conv_loops(corner, w_photo, 1, 6, 5)
small = Window.conv((1, 6, 5, 3), w_photo.shape, padding="same")
check("multiplications that were counted, and the formula", Counted.products, small.macs)

# %%
paper = 54.17e9  # DeepLabv3+ with Xception-65, output stride 16, 513 x 513 pixels (Chen et al. 2018, table 5)
hours = paper / win.macs * seconds / 3600
print(f"here: DeepLabv3+ has {paper / win.macs:,.0f} times as many multiply-adds: {hours:.0f} hours for one picture")

# %% [markdown]
# Hours for one picture. People use DeepLab on video. So this notebook climbs a ladder: the same formula, six programs.
# On each step we check that the numbers are the same. Then we look at what has changed in the machine.
#
# ## The definition in one dimension
#
# DeepLab v2 (equation 1) defines the **atrous convolution** so. The letter $r$ is the **rate**, the distance between
# two taps:
#
# $$y[i] = \sum_{k} x[i + r\,k]\; w[k]$$
#
# The library has this line, word for word, in [conv2d.py](../kernels/reference/conv2d.py). At rate 1 it is what NumPy
# calls `correlate`.

# %%
from kernels.reference.conv2d import atrous_conv1d

rng = np.random.default_rng(0)
x1, w1 = rng.standard_normal(20), rng.standard_normal(3)
check("rate 1 is np.correlate", atrous_conv1d(x1, w1), np.correlate(x1, w1, "valid"), 1e-12)
check(
    "an output at rate 4, by hand", atrous_conv1d(x1, w1, 4)[5], x1[5] * w1[0] + x1[9] * w1[1] + x1[13] * w1[2], 1e-12
)

# %% [markdown]
# ## The layer that we make fast
#
# A network is a chain of convolutions; each of them is a **layer**. What goes from one layer to the next is called a
# **map**: an array like a picture, but with many channels. We take one layer, as DeepLab has many: a map of 65 x 65
# positions, 64 channels in, 64 channels out, a 3x3 filter, rate 2. `padding="same"` puts zeros around the map, so that
# the result is 65 x 65 too.
#
# The library has the same functions several times: as slow, plain formulas (`reference`), for the processor (`cpu`)
# and for the GPU (`cuda`). Here `reference` says what is right.

# %%
import kernels

reference = kernels.load("reference")
x = rng.standard_normal((1, 65, 65, 64), np.float32)
w = rng.standard_normal((3, 3, 64, 64), np.float32) / np.float32(24)  # so that y is as large as x
rate = 2
win = Window.conv(x.shape, w.shape, rate=rate, padding="same")
truth = reference.conv2d(x, w, win)[0]
padded = np.pad(x[0], ((rate, rate), (rate, rate), (0, 0)))
check("multiply-adds of the layer", win.macs, 155_750_400)

# %% [markdown]
# ## Step 1: six loops in Python
#
# A program's speed is its number of operations over its time. A multiply-add counts as two operations, a
# multiplication and an addition. The unit is GFLOP/s, $10^9$ operations a second. Times differ from machine to
# machine. So no time is checked here: the outputs say "here", and mean the machine that made this page.

# %%
ladder = {}  # step -> GFLOP/s


def climb(step, function, macs=win.macs, repeats=5):
    """Runs a program, keeps its speed, returns its result."""
    result, times = function(), []  # the first run compiles
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - began)
    ladder[step] = 2 * macs / min(times) / 1e9  # the fastest: other programs make a run slower, never faster
    print(f"here: {step}: {ladder[step]:.3g} GFLOP/s")
    return result


part = 5  # the loops in Python are too slow for the layer: 5 x 5 positions, 8 filters
work = part * part * 8 * 9 * 64
small = climb("six loops in Python", lambda: conv_loops(padded, w[..., :8], rate, part, part), work, repeats=1)
check("six loops in Python: the numbers of the reference", small, truth[:part, :part, :8], 1e-4)

# %% [markdown]
# ## Step 2: NumPy, nine shifted products
#
# Now exchange the loops. The two loops over taps go outside. For one tap, all positions read the same picture, only
# **shifted**. And all channels of one position meet all filters: this is a matrix product.
#
# $$y = \sum_{k_h, k_w} \text{shift}_{k_h, k_w}(x)\; W_{k_h, k_w} \qquad (H W \times C) \cdot (C \times K)$$
#
# This sentence carries the whole library: **an atrous convolution is a sum of shifted matrix products.** The strip
# below shows the sum of the vertical-edge filter growing, tap by tap.

# %%
sums, frames = np.zeros(size, np.float32), []
for tap in range(9):
    kh, kw = divmod(tap, 3)
    shifted = padded_photo[kh : kh + size[0], kw : kw + size[1]]
    sums = sums + (shifted @ w_photo[kh, kw])[..., 1]
    frames.append(np.clip(sums * 0.35 + 0.5, 0, 1))
titles = [f"tap {tap + 1}\nweight {rows.T.flat[tap]:+.0f}" for tap in range(9)]
teach.show(frames, titles, columns=9, cmap="gray", vmin=0, vmax=1)
check("after nine taps: the picture of six loops", sums, y_photo[..., 1], 1e-4)


# %%
def conv_taps(padded, w, rate, height, width):
    y = np.zeros((height, width, w.shape[-1]), padded.dtype)
    for kh in range(w.shape[0]):
        for kw in range(w.shape[1]):
            top, left = kh * rate, kw * rate
            y += padded[top : top + height, left : left + width] @ w[kh, kw]
    return y


y = climb("NumPy, nine products", lambda: conv_taps(padded, w, rate, 65, 65))
check("nine products: the numbers of the reference", y, truth, 1e-4)

# %% [markdown]
# ## Step 3: one large product (im2col)
#
# Another way, used by Caffe and by DeepLab v1: first copy what each output reads into one row of a large matrix, then
# multiply once. The name is **im2col**, image to columns. One product instead of nine, but the copy is nine times as
# large as the map.


# %%
def conv_im2col(padded, w, rate, height, width):
    k_h, k_w, _, filters = w.shape
    taps = [(kh * rate, kw * rate) for kh in range(k_h) for kw in range(k_w)]
    copies = [padded[top : top + height, left : left + width] for top, left in taps]
    matrix = np.concatenate(copies, axis=-1).reshape(height * width, -1)  # (H W, 9 C)
    return (matrix @ w.reshape(-1, filters)).reshape(height, width, filters), matrix


y, matrix = climb("NumPy, im2col", lambda: conv_im2col(padded, w, rate, 65, 65))
check("im2col: the numbers of the reference", y, truth, 1e-4)
check("the copy is so many times as large as the map", matrix.size / x.size, 9.0)

# %% [markdown]
# The matrix of a small example shows why the copy is a waste. An inner number of the map, such as 6, appears nine
# times. A number at the border appears less often: some taps read zeros of the padding instead (white).

# %%
numbers = np.arange(1, 17, dtype=np.float32).reshape(4, 4, 1)
_, columns = conv_im2col(np.pad(numbers, ((1, 1), (1, 1), (0, 0))), np.ones((3, 3, 1, 1), np.float32), 1, 4, 4)
axes = teach.panels(1, 2, 3.4, width_ratios=[1, 1.6])
titles = ("a map of 4 x 4", "im2col: a row for each output, a column for each tap")
for one, values, title in zip(axes, (numbers[..., 0], columns), titles, strict=True):
    one.imshow(np.where(values > 0, values, np.nan), cmap="viridis")
    for (i, j), value in np.ndenumerate(values):
        ink = "white" if 0 < value < 11 else "black"
        one.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color=ink)
    one.set_title(title)
axes[0].set(xlabel="column", ylabel="row", xticks=range(4), yticks=range(4))
axes[1].set(xlabel="tap", ylabel="output", xticks=range(9), yticks=range(0, 16, 3), aspect="auto")
check("the number 6 appears so often", int((columns == 6).sum()), 9)
check("and the number 1, in the corner", int((columns == 1).sum()), 4)

# %% [markdown]
# ## Step 4: the six loops, compiled
#
# NumPy is fast because its loops are compiled. **Numba** compiles Python's loops: it reads a function and makes
# machine code of it when it is first called. We take the very same function as in step 1, not one letter is changed.
# `fastmath={"contract"}` allows to join a multiplication and an addition into one instruction, and nothing else.

# %%
from numba import njit

compiled = njit(fastmath={"contract"}, error_model="numpy")
loops = compiled(conv_loops)
y = climb("six loops, compiled", lambda: loops(padded, w, rate, 65, 65), repeats=2)
check("six compiled loops: the numbers of the reference", y, truth, 1e-4)

# %% [markdown]
# Hundreds of times faster than Python. But NumPy is still far ahead. Why? Look at the innermost line: `total += ...`.
# Each multiply-add needs the `total` of the one before. A multiply-add takes about four cycles, and the next one must
# wait. The picture shows time from left to right: one chain of multiply-adds, or eight chains, which need not wait
# for each other.

# %%
axes = teach.panels(1, 2, 2.0, sharey=True)
axes[0].set_ylabel("sum")
titles = ("one sum: each waits for the one before", "eight sums: two can start in each cycle")
for one, chains, title in zip(axes, (1, 8), titles, strict=True):
    for chain in range(chains):
        for step in range(4):
            start = step * 4 + chain // 2
            one.barh(chain, 3.85, 0.8, left=start, color=teach.CYCLE[chain % 5])
            one.text(start + 1.9, chain, f"{step}", ha="center", va="center", fontsize=8, color="white")
    one.set(
        title=title,
        xlabel="cycle of the processor",
        xlim=(0, 20),
        ylim=(7.6, -0.6),
        xticks=range(0, 21, 4),
        yticks=range(8),
    )

# %% [markdown]
# ## Step 5: vectors
#
# A processor has **vector registers**: places for 4, 8 or 16 numbers side by side. One instruction multiplies and
# adds all of them. The compiler uses it only if the innermost loop writes numbers that are independent and side by
# side in memory. In our layout (N, H, W, C) these are the output channels. So the loop over filters must be the
# innermost one: we exchange two loops.


# %%
@compiled
def conv_vectors(padded, w, rate, height, width):
    k_h, k_w, channels, filters = w.shape
    y = np.zeros((height, width, filters), padded.dtype)
    for p in range(height):
        for q in range(width):
            sums = y[p, q]
            for kh in range(k_h):
                for kw in range(k_w):
                    for c in range(channels):
                        value, weights = padded[p + kh * rate, q + kw * rate, c], w[kh, kw, c]
                        for k in range(sums.size):  # independent, and side by side in memory
                            sums[k] += value * weights[k]
    return y


y = climb("vectors of channels", lambda: conv_vectors(padded, w, rate, 65, 65))
check("vectors: the numbers of the reference", y, truth, 1e-4)

# %% [markdown]
# Do not believe it, look: Numba shows the **assembly**, the instructions of the machine. On processors of Intel and
# AMD a multiply-add is called `vfmadd`; `ss` at its end means one number, `ps` means a whole vector. `xmm`, `ymm` and
# `zmm` are registers of 16, 32 and 64 bytes. On Arm it is called `fmadd` (one number) and `fmla` (a vector).

# %%
for name, function in (("six loops", loops), ("vectors", conv_vectors)):
    (assembly,) = function.inspect_asm().values()
    lines = teach.multiply_adds(assembly)
    print(f"here: {name}: {len(lines)} lines with a multiply-add")
    print("".join(f"    {line}\n" for line in lines[:4]))

# %% [markdown]
# ## Step 6: sums that stay in registers
#
# In step 5 each sum lies in memory: it is loaded, one product is added, it is stored again. Three accesses to memory
# for one multiply-add! The cure is a **register tile**. It computes a block of outputs together, and all sums of the
# block stay in registers until they are finished. The next picture shows one step: some numbers of x (one for each
# position), some vectors of weights, and all products of the two.

# %%
from kernels.cpu.tile import ROWS, VECTOR_BYTES, VECTORS

teach.draw_tile(ROWS, VECTORS, VECTOR_BYTES // 4)
print(f"here: {ROWS} positions x {VECTORS} vectors of {VECTOR_BYTES // 4} numbers")

# %% [markdown]
# In NumPy one step is an **outer product**: column times row. A matrix product is nothing else than a sum of outer
# products.

# %%
a, b = rng.standard_normal((14, 64)), rng.standard_normal((64, 32))
sums = np.zeros((14, 32))
for k in range(64):
    sums += a[:, k, None] * b[k]  # 14 + 32 numbers are read, 14 * 32 multiply-adds are done
check("a sum of 64 outer products is the matrix product", sums, a @ b, 1e-12)
check("multiply-adds for each number read", 14 * 32 / (14 + 32), 9.739, 0.001)

# %% [markdown]
# ### How large may a tile be?
#
# A processor has 16 or 32 vector registers. A tile of R rows and V vectors needs R V registers for the sums, V for
# the weights, and one for the number of x. In each step it loads R numbers and V vectors, and does R V multiply-adds.
#
# **Exercise 1.** Fill in the two functions. The picture below is drawn from your code: what fits 32 registers is
# coloured by the multiply-adds for each load.


# %%
def registers(rows, vectors):
    """Registers that a tile needs."""
    return ...


def per_load(rows, vectors):
    """Vector multiply-adds for each load, in one step."""
    return ...


# %%
def tile_fits():
    if (registers(14, 2), registers(14, 1), registers(13, 2)) != (31, 16, 29):
        return "registers: the sums, the weights, and one number of x; how many are they for a tile of 14 x 2?"
    right = abs(per_load(14, 2) - 1.75) < 1e-9 and abs(per_load(6, 3) - 2) < 1e-9
    return right or "per_load: a tile of 14 x 2 does 28 multiply-adds in one step; how many loads?"


# %%
attempt(1, registers(2, 2), tile_fits)

if registers(2, 2) is not ... and per_load(2, 2) is not ...:
    grid = [[per_load(r, v) if registers(r, v) <= 32 else np.nan for v in range(1, 7)] for r in range(1, 17)]
    axes = teach.panels(1, 1, 3.6)
    bar = axes.figure.colorbar(axes.imshow(grid, extent=(0.5, 6.5, 16.5, 0.5), aspect="auto", cmap="viridis"))
    bar.set_label("multiply-adds for each load")
    axes.plot(2, 14, "w*", markersize=14)
    axes.set(
        xlabel="vectors", ylabel="rows", title="tiles that fit 32 registers; the star is the library's with AVX-512"
    )

# %% [markdown]
# Once it is filled in, you see tiles with more multiply-adds for each load than the library's 14 x 2. More is not
# needed: the processor can do two loads beside two multiply-adds in each cycle, so a ratio above 1 is enough. But
# with two vectors a block has 32 channels. Most numbers of channels in a network are multiples of 32, so nothing is
# computed in vain.
#
# ### The library's kernel
#
# Numba keeps no array in registers, so the library writes these few instructions by hand, in
# [llvm.py](../kernels/cpu/llvm.py). The same loop in plain Numba stands beside it: `tile_plain` in
# [tile.py](../kernels/cpu/tile.py), and tests compare both. All else (which tap is inside, how weights are packed,
# which thread does what) is explained in [its README](../kernels/cpu/README.md).

# %%
cpu = kernels.load("cpu")
y = climb("register tile (this library)", lambda: cpu.conv2d(x, w, win), repeats=60)
check("register tile: the numbers of the reference", y[0], truth, 1e-4)

# %% [markdown]
# ## The ladder
#
# How fast could it be at best? We measure this too: the same tile, again and again on a few numbers that lie in the
# nearest cache. This is the **peak** of the machine. PyTorch's bar appears if PyTorch is installed; nothing here
# needs it.

# %%
from kernels.cpu.peak import run_tiles
from minideeplab.bench.timing import timings

tile_name = "register tile (this library)"
rivals = {"peak": lambda: run_tiles(2000), tile_name: lambda: cpu.conv2d(x, w, win)}
work = {"peak": run_tiles(2000), tile_name: 2 * win.macs, "PyTorch": 2 * win.macs}
try:
    import torch
except ImportError:
    print("here: PyTorch is not installed")
else:
    torch.set_num_threads(1)
    tx, tw = torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(w).permute(3, 2, 0, 1)
    tw = tw.contiguous(memory_format=torch.channels_last)  # the layout of x: channels side by side
    rivals["PyTorch"] = lambda: torch.nn.functional.conv2d(tx, tw, padding=rate, dilation=rate)
    assert abs(rivals["PyTorch"]()[0].permute(1, 2, 0).numpy() - truth).max() < 1e-4

# %%
for step, times in zip(rivals, timings(list(rivals.values()), 60), strict=True):
    ladder[step] = work[step] / min(times) / 1e9  # measured in turn: each meets the same machine
peak = ladder.pop("peak")
print(f"here: the library reaches {ladder[tile_name] / peak:.0%} of the peak")

# %%
axes = teach.panels(1, 1, 0.42 * len(ladder) + 0.8)
colours = [teach.ORANGE if step == "PyTorch" else teach.BLUE for step in ladder]
axes.barh(list(ladder), list(ladder.values()), color=colours)
for i, speed in enumerate(ladder.values()):
    label = f"{speed:.2g}" if speed < 100 else f"{speed:.0f}"
    axes.text(speed / 1.15, i, label, va="center", ha="right", color="white")
axes.axvline(peak, color=teach.RED, lw=2)
axes.text(peak, -0.75, f"peak {peak:.0f} ", color=teach.RED, ha="right", va="bottom")
axes.set(xscale="log", xlim=(1e-3, peak * 4), xlabel="GFLOP/s on one core; each line of the grid is ten times as fast")
axes.grid(axis="x", color="#dddddd")
axes.set_axisbelow(True)
axes.invert_yaxis()

# %% [markdown]
# The axis is logarithmic: from the first bar to the last it is a factor of ten thousand or more, with the same
# numbers each time.
#
# > **Check it.** Is it faster than PyTorch, as the title says? On one layer like this the two are close, because both
# > are close to the peak; PyTorch is sometimes ahead. On whole networks the library is ahead:
# > [its measurements](../minideeplab/bench/README.md) with PyTorch 2.13 on two cores give 1.04 to 1.27 times the speed
# > in inference. `python -m minideeplab.bench --against torch` measures it on your machine.
#
# If a bar passes the peak, there is no magic: we counted all taps, but the library does not multiply with the zeros
# of the padding. We come to this now.
#
# ## Why the rate costs nothing
#
# > **Check it.** A talk about DeepLab says that at rate 2 zeros are "put in" between the weights, and that the 3x3
# > filter then has the size 5x5. If zeros were multiplied, rate 2 would cost 25/9 times as much. What does the
# > program do?
#
# In memory the map is one long line of numbers: pixel after pixel, row after row, and the channels of a pixel side by
# side. So a tap is only a place where reading starts. How far is the start of tap $(k_h, k_w)$ from the start of tap
# $(0, 0)$? The answer is the **offset** of the tap. Two examples, for a padded map that is 10 pixels wide and has one
# channel: at rate 1 tap (0, 1) has offset 1, and tap (1, 0) has offset 10.
#
# **Exercise 2.** Find the formula for any rate and any number of channels, and fill in the function. The picture is
# then drawn from your code.


# %%
def offset(kh, kw, rate, pitch, channels):
    """Numbers between the start of the first tap and that of tap (kh, kw); the map is `pitch` pixels wide."""
    return ...


# %%
def place(row, column, channel):
    """Where a number lies in a map of 20 x 16 pixels with 5 channels."""
    return int(np.ravel_multi_index((row, column, channel), (20, 16, 5)))


def offsets_fit():
    steps = [(kh, kw, r) for kh in range(3) for kw in range(3) for r in (1, 2, 6)]
    for kh, kw, r in steps:
        found, wanted = offset(kh, kw, r, 16, 5), place(2 + kh * r, 1 + kw * r, 3) - place(2, 1, 3)
        if found != wanted:
            return f"tap ({kh}, {kw}) at rate {r}, 16 pixels wide, 5 channels: {found}, but it starts at {wanted}"
    return True


# %%
attempt(2, offset(1, 1, 1, 10, 1), offsets_fit)

padded_rows = np.arange(24 * 24).reshape(24, 24)  # each pixel of a map, one channel, holds its place in memory
starts = {f"rate {r}": padded_rows[: 3 * r : r, : 3 * r : r].ravel() for r in (1, 2, 4)}
if isinstance(offset(1, 1, 1, 24, 1), int):  # filled in: from now on by your code
    starts = {f"rate {r}": [offset(kh, kw, r, 24, 1) for kh in range(3) for kw in range(3)] for r in (1, 2, 4)}
teach.draw_offsets(starts, pitch=24, length=216)

# %% [markdown]
# Nine starts at rate 1, nine starts at rate 4. The rate only moves them. From each start a tile reads C numbers side
# by side, at every rate. No zero is stored between the weights, and none is multiplied. The window's count of
# multiply-adds agrees.
#
# It also knows how many taps lie in the padding. In each column of 65 positions, the first row of the filter reads
# padding `rate` times, and the last row does, too. So $3 \cdot 65 - 2r$ reads of $3 \cdot 65$ are left. The same holds
# for the other direction.

# %%
rates = [1, 2, 4, 6, 8, 12, 16, 20, 24]
windows = {r: Window.conv(x.shape, w.shape, rate=r, padding="same") for r in rates}
check("multiply-adds at rate 24 over those at rate 1", windows[24].macs / windows[1].macs, 1.0)


def executed(win):
    """Multiply-adds without the taps that lie in the padding: the library leaves them out."""
    taps = sum((g.p1 - g.p0) * (g.q1 - g.q0) * (g.kh1 - g.kh0) * (g.kw1 - g.kw0) for g in win.regions())
    return taps * win.c_in * win.c_out


check("executed share at rate 1", executed(windows[1]) / win.macs, ((3 * 65 - 2 * 1) / (3 * 65)) ** 2, 1e-9)
check("executed share at rate 24", executed(windows[24]) / win.macs, ((3 * 65 - 2 * 24) / (3 * 65)) ** 2, 1e-9)

# %% [markdown]
# Now measured. The left curve is the time of the layer: it does not grow with the rate. It even falls, because at a
# large rate more taps lie in the padding. The right curve counts only multiply-adds that are executed: the speed is
# nearly the same at all rates.

# %%
seconds = [min(runs) for runs in timings([lambda win=win: cpu.conv2d(x, w, win) for win in windows.values()], 15)]
left, right = teach.panels(1, 2, 2.7)
left.plot(rates, np.array(seconds) * 1e3, "o-")
left.set(ylabel="time of the layer, ms", ylim=(0, 1.2e3 * max(seconds)), title="time")
speeds = [2 * executed(win) / s / 1e9 for win, s in zip(windows.values(), seconds, strict=True)]
right.plot(rates, speeds, "o-", color=teach.GREEN)
right.axhline(peak, color=teach.RED)
right.text(24, peak, "peak", color=teach.RED, ha="right", va="bottom")
right.set(ylabel="GFLOP/s", ylim=(0, peak * 1.3), title="speed, executed operations only")
for one in (left, right):
    one.set(xlabel="rate", xticks=range(0, 25, 4))

# %% [markdown]
# ## More cores, the same bits
#
# A last step: share the positions among the cores. Many libraries then give slightly different numbers with each
# number of threads, because floating-point sums depend on their order. Here each output belongs to one thread, and
# its sum has one order.

# %%
import numba

one_thread = cpu.conv2d(x, w, win)
most = numba.config.NUMBA_NUM_THREADS
speeds, alike = [], []
for threads in range(1, most + 1):
    kernels.set_num_threads(threads)
    alike.append(np.array_equal(cpu.conv2d(x, w, win), one_thread))
    speeds.append(2 * win.macs / min(timings([lambda: cpu.conv2d(x, w, win)], 15)[0]) / 1e9)
kernels.set_num_threads(1)
check("the same bits on any number of threads", all(alike))
print("here:", ", ".join(f"{n} thread{'s' * (n > 1)} {speed:.0f} GFLOP/s" for n, speed in enumerate(speeds, 1)))

# %% [markdown]
# ## The whole ladder in one table

# %%
why = {
    "six loops in Python": ("1", "an object for each number"),
    "NumPy, nine products": ("a vector", "compiled products; y is read and written nine times"),
    "NumPy, im2col": ("a vector", "one product; a copy nine times as large as the map"),
    "six loops, compiled": ("1", "one chain: each multiply-add waits for the last"),
    "vectors of channels": ("a vector", "sums go to memory and back"),
    "register tile (this library)": ("a vector", "many sums in registers, until they are finished"),
}
teach.table(
    [[step, *reason, f"{100 * ladder[step] / peak:.2g} %"] for step, reason in why.items()],
    ["program", "multiply-adds of an instruction", "what it does", "of the peak, here"],
)

# %% [markdown]
# ## What to keep
#
# - An atrous convolution is a sum of shifted matrix products. All programs above compute this, with the same numbers.
# - Speed is not a matter of fewer operations: all steps do the same multiply-adds. It is a matter of how many go on
#   at a time, and of how seldom memory is asked.
# - A register tile keeps its sums in registers. Then a few loads feed many multiply-adds.
# - The rate only moves the places where reading starts. It costs nothing: no zeros are stored, none are multiplied.
#
# The two exercises are above, where their pictures are. `hint(1)` and `hint(2)` help.
#
# ## Next
#
# [02](02_holes.ipynb) looks at what these holes are good for. [12](12_gpu.ipynb) takes the same convolution to a GPU.
