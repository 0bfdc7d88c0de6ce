# %% [markdown]
# # 12 The same on a GPU
#
# **Which part of a convolution changes when thousands of threads compute it, and which part stays as it is?**
#
# You need: [01](01_six_loops.ipynb). You do not need a GPU. You will see: one kernel beside its CPU twin, blocks and
# threads, shared memory step by step, tensor cores, and the GPU's assembly; about 30 minutes.

# %%
import os

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # Numba's simulator: a thread of the CPU plays each thread of the GPU

import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(12)

# %% [markdown]
# **Be warned.** Everything below runs in a *simulator*. It shows what a GPU computes, never how fast. And no GPU has
# run the library's CUDA kernels yet: they are proved in this simulator and by the compiler, as their
# [README](../kernels/cuda/README.md) says.
#
# ## Who computes which pixel?
#
# A GPU has thousands of simple processors. A **kernel** is a function that many **threads** run at the same time.
# Each thread asks who it is, and computes its own output. Threads come in **blocks**. This kernel finds the edges of
# a photograph: one thread for each pixel, 8 x 8 threads in a block. It also notes who was there.

# %%
from numba import cuda


@cuda.jit
def edges(image, result, who):
    row, column = cuda.grid(2)  # block number times block size plus thread number, in both directions
    if row < result.shape[0] and column < result.shape[1]:  # the last blocks hang over the border
        result[row, column] = image[row, column + 2] - image[row, column]
        who[row, column] = cuda.blockIdx.x * cuda.gridDim.y + cuda.blockIdx.y


grey = teach.photograph(56).mean(axis=2).astype(np.float32)
result, who = np.zeros((56, grey.shape[1] - 2), np.float32), np.full((56, grey.shape[1] - 2), -1)
grid = (-(-result.shape[0] // 8), -(-result.shape[1] // 8))  # rounded up
edges[grid, (8, 8)](grey, result, who)
check("every pixel had a thread", who.min() >= 0)
check("blocks", who.max() + 1, 7 * 6)

# %%
colours = np.float32([[213, 94, 0], [0, 114, 178], [0, 158, 115], [230, 159, 0]])
tint = colours[who // grid[1] % 2 * 2 + who % grid[1] % 2]
blocks = (0.65 * grey[:, 1:-1, None] + 0.35 * tint).astype(np.uint8)
block = blocks[16:24, 16:24].repeat(9, 0).repeat(9, 1)
block[::9] = block[:, ::9] = 255  # a line between the threads
teach.show(
    [grey, blocks, block, result],
    ["photograph", "a colour for each block", "one block: 8 x 8 threads", "what the threads wrote"],
    cmap="gray",
)

# %% [markdown]
# ## One kernel beside its twin
#
# Take the definition of the atrous convolution, $y[i] = \sum_k x[i + r\,k]\,w[k]$. On the CPU there is a loop over
# $i$. On the GPU there is no such loop: **the loop over outputs has become the threads**. All else is the same. This
# is the whole idea.


# %%
def conv_on_cpu(x, w, rate, y):
    for i in range(y.size):
        total = w[0] * x[i]
        for k in range(1, 3):
            total += w[k] * x[i + rate * k]
        y[i] = total


def conv_on_gpu(x, w, rate, y):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < y.size:
        total = w[0] * x[i]
        for k in range(1, 3):
            total += w[k] * x[i + rate * k]
        y[i] = total


teach.beside(conv_on_cpu, conv_on_gpu, titles=["CPU: one thread, a loop", "GPU: a thread for each i"])

# %%
from kernels.reference.conv2d import atrous_conv1d

rng = np.random.default_rng(0)
x, w, rate = rng.standard_normal(74, np.float32), np.float32([1, -2, 1]), 2
on_cpu, on_gpu = np.zeros(70, np.float32), np.zeros(70, np.float32)
conv_on_cpu(x, w, rate, on_cpu)
cuda.jit(conv_on_gpu)[5, 16](x, w, rate, on_gpu)  # 5 blocks of 16 threads
check("the twins agree to the bit", np.array_equal(on_cpu, on_gpu))
check("both are the definition", on_gpu, atrous_conv1d(x, w, rate), 1e-6)

# %% [markdown]
# The library's files are twins, too: lay [cpu/depthwise.py](../kernels/cpu/depthwise.py) and
# [cuda/depthwise.py](../kernels/cuda/depthwise.py) side by side. Names, arguments and formulas are the same.
#
# The kernel is started with 5 blocks of 16 threads, because $\lceil 70 / 16 \rceil = 5$. That makes 80 threads for 70
# outputs. So ten threads have nothing to do: the line `if i < y.size` sends them home.

# %%
teach.draw_blocks(70, 16)
check("idle threads", 5 * 16 - 70, 10)

# %% [markdown]
# **Exercise 1.** Blocks that a GPU cannot hold at once must wait. So the library's simple kernels start at most 4096
# blocks, and each thread takes several elements: its own number first, then every `step`-th one. All elements must be
# taken once, and neighbouring threads take neighbouring elements. Fill in the two lines. `block` and `thread` count
# from 0; `threads` is the number of threads of a block, `blocks` the number of blocks.


# %%
def first_and_step(block, thread, blocks, threads):
    """The first element of a thread, and how far its next one is."""
    first = ...
    step = ...
    return first, step


# %%
def elements(count, blocks, threads):
    """Which thread takes each of `count` elements, by your code; how often each is taken."""
    taken, by = np.zeros(count, int), np.full(count, -1)
    for block in range(blocks):
        for thread in range(threads):
            first, step = first_and_step(block, thread, blocks, threads)
            taken[first::step] += 1
            by[first::step] = block
    return taken, by


# %%
def all_are_taken():
    if not can_be_drawn():
        return "first and step must be whole numbers, and step more than 0"
    taken = elements(50, 3, 4)[0]
    if (taken != 1).any():
        i = int(np.argmax(taken != 1))
        return f"50 elements, 3 blocks of 4 threads: element {i} is taken {taken[i]} times"
    return first_and_step(0, 1, 3, 4)[0] == 1 or "neighbouring threads must take neighbouring elements"


def can_be_drawn():
    return all(isinstance(n, int) and n > 0 for n in first_and_step(1, 1, 3, 4))


# %%
attempt(1, first_and_step(0, 0, 3, 4)[0], all_are_taken)

if can_be_drawn():
    axes = teach.panels(1, 1, 1.1)
    axes.imshow(elements(50, 3, 4)[1][None], cmap="viridis", aspect="auto")
    axes.set(yticks=[], xlabel="element", title="by your code: the block (colour) that takes each of 50 elements")

# %% [markdown]
# ## No order, so no sharing of sums
#
# Threads run in any order, and at the same time. What if two of them add to one number? Adding is three steps: read,
# add, write. Here all threads read first; a **barrier** (`syncthreads`: wait until all threads of the block are here)
# makes sure of it. Then all write.


# %%
@cuda.jit
def race(total):
    seen = total[0]
    cuda.syncthreads()
    total[0] = seen + 1


total = np.zeros(1)
race[1, 8](total)
check("eight threads each add 1, and the sum is", total[0], 1.0)

# %% [markdown]
# Seven additions are lost. With many blocks and no barrier nobody knows the order: then additions are lost only
# sometimes, and that is worse. So the library follows one rule: **an output has one thread, and its sum has one
# order.** Where a formula scatters, as in the gradient of a convolution ("each output hands something back to the
# pixels that it read"), the kernel turns it round and gathers ("each pixel asks the outputs that read it"). See
# [gather.py](../kernels/cuda/gather.py). The library's kernels run here, too:

# %%
import kernels
from kernels.geometry import Window

gpu, cpu = kernels.load("cuda"), kernels.load("cpu")
image, filters = rng.standard_normal((1, 6, 7, 3), np.float32), rng.standard_normal((3, 3, 3), np.float32)
win = Window.depthwise(image.shape, filters.shape, rate=2, padding="same")
device = [gpu.from_numpy(a) for a in (image, filters)]  # to the memory of the GPU
y = gpu.depthwise_conv2d(*device, win)
check("a depthwise convolution", gpu.to_numpy(y), cpu.depthwise_conv2d(image, filters, win), 1e-5)
gathered = gpu.to_numpy(gpu.depthwise_conv2d_grad_input(y, device[1], win))
wanted = cpu.depthwise_conv2d_grad_input(gpu.to_numpy(y), filters, win)
check("its gradient, gathered", gathered, wanted, 1e-4)

# %% [markdown]
# ## Neighbours read neighbours
#
# 32 threads form a **warp**: they do the same instruction at the same time. Its threads are called **lanes**. If they
# read memory, the GPU fetches whole pieces of 32 bytes (NVIDIA, CUDA C++ Best Practices Guide). What counts is how
# many pieces the lanes touch together. One says that an access is **coalesced** if neighbouring lanes read
# neighbouring numbers.
#
# Our maps are stored with the channels of a pixel side by side, and lanes are channels. Compare: the lanes read 32
# channels of one pixel; or they read one channel of 32 pixels, in a map of 8 channels.

# %%
lane = np.arange(32)
side_by_side, apart = 4 * lane, 4 * 8 * lane  # bytes; a float32 number has 4
teach.draw_sectors({"lanes = channels": side_by_side, "lanes = pixels": apart}, length=1024)
check("pieces that a warp fetches, lanes = channels", teach.sectors(side_by_side), 4)
check("pieces that a warp fetches, lanes = pixels", teach.sectors(apart), 32)

# %% [markdown]
# Eight times as much is moved for the same 32 numbers. And the rate? Notebook 01 says: it only moves the places where
# reading starts. This holds here, too. The picture shows what a warp reads for the three taps of a filter's row, at
# three rates, in a map of 32 channels.

# %%
pitch = 32 * 4  # bytes from one pixel to the next
taps = {f"rate {r}": np.concatenate([k * r * pitch + 4 * lane for k in range(3)]) for r in (1, 2, 4)}
teach.draw_sectors(taps, length=9 * pitch)
check("pieces at rates 1, 2 and 4", [teach.sectors(a) for a in taps.values()], [12, 12, 12])

# %% [markdown]
# ## A matrix product in tiles
#
# A dense convolution is a matrix product, as notebook 01 shows. If each thread reads all that it needs from the GPU's
# large memory, the same numbers are read again and again. **Shared memory** is small and near: all threads of a block
# can use it. So the block copies a **slab** of both matrices there, waits, and multiplies; then comes the next slab.
#
# $$c[m, n] = \sum_{\text{slabs}} \; \sum_{k \in \text{slab}} a[m, k]\; b[k, n]$$

# %%
from numba import float32

DEPTH = 4  # terms in a slab


@cuda.jit
def product(a, b, c, seen, loads):
    near_a = cuda.shared.array((4, DEPTH), float32)
    near_b = cuda.shared.array((DEPTH, 4), float32)
    row, column = cuda.threadIdx.x, cuda.threadIdx.y
    total = 0.0
    for slab in range(0, a.shape[1], DEPTH):
        near_a[row, column] = a[row, slab + column]  # each thread copies one number of both
        near_b[row, column] = b[slab + row, column]
        loads[row, column] += 2
        cuda.syncthreads()  # the slab is complete
        for k in range(DEPTH):
            total += near_a[row, k] * near_b[k, column]
        cuda.syncthreads()  # nobody reads it any more: it may be overwritten
        seen[slab // DEPTH, row, column] = total  # only for the picture
    c[row, column] = total


# %%
a, b = rng.integers(-3, 4, (4, 12)).astype(np.float32), rng.integers(-3, 4, (12, 4)).astype(np.float32)
c, seen, loads = np.zeros((4, 4), np.float32), np.zeros((3, 4, 4), np.float32), np.zeros((4, 4), int)
product[1, (4, 4)](a, b, c, seen, loads)
check("the tiled product", c, a @ b)
check("reads of the large memory with slabs", loads.sum(), 2 * 4 * 12)
check("without: each of 16 threads reads its row and its column", 16 * 2 * 12, 4 * loads.sum())

# %% [markdown]
# Step by step, as the simulator saw it. Green frames: the slab that lies in shared memory. The sums on the right grow
# with each slab.

# %%
grid = teach.panels(3, 3, 2.5, width_ratios=[3, 1, 1.4])
for step, axes in enumerate(grid):
    teach.draw_slab(a, b, step * DEPTH, DEPTH, seen[step], axes)
    axes[0].set_title(f"slab {step + 1} of a")

# %% [markdown]
# Two barriers in each slab are many. The library's kernel in [tile.py](../kernels/cuda/tile.py) has one: shared
# memory has two halves, and while one half is multiplied, the other one is filled.
#
# ### Registers again
#
# In this small kernel a multiply-add needs two reads of shared memory. Notebook 01 has the cure: a **register tile**.
# In the library a block of 256 threads computes 128 x 128 outputs, and each thread keeps 8 x 8 sums in registers. The
# picture shows which outputs belong to whom. Sums of a thread lie in groups of four side by side, so that four
# numbers are loaded at once.

# %%
from kernels.cuda.tile import Tile, placer

tile = Tile(rows=128, columns=128, depth=8, down=8, across=8)
place, (down, across) = placer(tile), tile.apart
owners = np.full((128, 128), -1)
for thread in range(tile.threads):
    row, column = place(thread)
    for i in range(8):
        for j in range(8):
            owners[row + i // 4 * down + i % 4, column + j // 4 * across + j % 4] = thread
check("every output has a thread", owners.min() >= 0)
check("outputs of each thread", np.bincount(owners.ravel()), np.full(256, 64))
check("multiply-adds for each number read from shared memory", 8 * 8 / (8 + 8), 4.0)

# %%
axes = teach.panels(1, 2, 3.9, width_ratios=[1, 1])
teach.draw_owners(owners, {0: teach.BLUE, 12: teach.RED, 200: teach.GREEN}, "three of 256 threads", axes[0])
axes[1].imshow(owners // 32 % 2, cmap="Blues", vmin=-1, vmax=3)
axes[1].set(title="the 8 warps", xlabel="output channel", ylabel="position")
for strip in range(16):
    axes[1].text(64, 8 * strip + 3.5, f"warp {owners[8 * strip, 0] // 32}", ha="center", va="center", fontsize=8)

# %% [markdown]
# ## Tensor cores: one instruction, 1024 multiply-adds
#
# Newer GPUs have **tensor cores**. One instruction of a whole warp multiplies two small matrices and adds a third
# one. That makes $16 \cdot 8 \cdot 8 = 1024$ multiply-adds.
#
# $$C_{16 \times 8} \leftarrow C_{16 \times 8} + A_{16 \times 8}\, B_{8 \times 8} $$
#
# Its name is `mma.m16n8k8`. No lane has a whole matrix: each lane brings 4 numbers of A, 2 of B and 4 of C. The
# numbers in the picture are the lanes; the colour says which of its registers. Framed: all that lane 5 holds.

# %%
held = teach.fragments()
axes = teach.panels(1, 3, 4.4)
titles = ("A: 16 positions, 8 terms", "B: 8 terms, 8 channels", "C: 16 positions, 8 channels")
for one, name, words in zip(axes, "abc", titles, strict=True):
    teach.draw_fragment(held[name], words, 5, one)
for name, registers in (("a", 4), ("b", 2), ("c", 4)):
    pairs = held[name].reshape(-1, 2)
    check(
        f"{name}: each of 32 lanes holds {registers} elements, each once", len(np.unique(pairs, axis=0)), 32 * registers
    )

# %% [markdown]
# **Exercise 2.** Read the rule for A off the picture. Lane $4 g + i$ holds, in row $g$ and column $i$, its first
# number. Which lane holds the element in a given row (0 to 15) and column (0 to 7)? The picture below is drawn from
# your code.


# %%
def lane_of_a(row, column):
    return ...


# %%
def lanes_are_right():
    right = [lane_of_a(row, column) == held["a"][row, column, 0] for row in range(16) for column in range(8)]
    return all(right) or "some element of A is held by another lane; begin with the upper left 8 x 4 elements"


# %%
attempt(2, lane_of_a(0, 0), lanes_are_right)

if lane_of_a(0, 0) is not ...:
    mine = np.array([[(lane_of_a(i, j), 0) for j in range(8)] for i in range(16)])
    teach.draw_fragment(mine, "A by your code; framed: lane 5", 5)

# %% [markdown]
# ### The price: ten bits
#
# Tensor cores do not multiply float32 numbers. They take **TF32**: the same range, but only 10 bits after the leading
# one instead of 23. The library rounds to the nearest. The products are then added in float32. In NumPy it is one
# line: add half of the last bit that stays, and cut the other bits off.


# %%
from kernels.cuda.llvm import round_to_tf32


def tf32(x):
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.int64)
    return ((bits + 0x1000) & ~0x1FFF).astype(np.uint32).view(np.float32)


numbers = rng.standard_normal(200, np.float32)
check("the library rounds alike", np.array_equal(tf32(numbers), [round_to_tf32(n) for n in numbers]))
relative = abs(tf32(numbers) - numbers) / abs(numbers)
check("no number moves by more than 2^-11 of itself", relative.max() <= 2.0**-11)
check("whole numbers up to 2048 stay as they are", np.array_equal(tf32(np.arange(2049)), np.arange(2049)))

# %% [markdown]
# What becomes of a sum? Take 1000 outputs of a convolution with 9 taps and 64 channels, so 576 products each. The
# errors have both signs, so they mostly cancel: the sum is off by far less than the bound of one number. The error is
# given relative to the lengths of the two vectors, $|a|\,|b|$, because a sum itself can be near 0.

# %%
left, right = rng.standard_normal((1000, 576), np.float32), rng.standard_normal((576, 1), np.float32)
exact = left.astype(float) @ right.astype(float)
rounded = tf32(left).astype(float) @ tf32(right).astype(float)
single = (left @ right).astype(float)
scale = np.linalg.norm(left, axis=1, keepdims=True) * np.linalg.norm(right)
axes = teach.panels(1, 2, 2.7)
axes[0].plot(t := np.linspace(1, 1.01, 2000), tf32(t) - 1, color=teach.RED)
axes[0].plot(t, t - 1, color=teach.GREY, lw=0.8)
axes[0].set(xlabel="float32 number", ylabel="its TF32, minus 1", title="ten bits: a staircase between 1 and 1.01")
for values, colour, name in ((single, teach.BLUE, "float32"), (rounded, teach.RED, "TF32")):
    errors = np.log10(abs(values - exact) / scale + 1e-12)
    axes[1].hist(errors, 40, range=(-10, -2), color=colour, label=name)
axes[1].set(xlabel="log10 of the error of a sum, relative to |a| |b|", ylabel="sums", title="576 products each")
axes[1].legend()
check(
    "typical error of TF32, in units of 2^-11", np.sqrt(np.mean(((rounded - exact) / scale) ** 2)) * 2**11, 0.025, 0.005
)

# %% [markdown]
# ### One warp, one instruction, in the simulator
#
# Now the instruction itself. The library's [llvm.py](../kernels/cuda/llvm.py) has two versions of `mma`: one writes
# the GPU's instruction, the other one, for the simulator, says in Python what it means. Each lane fetches its own
# numbers, as the picture above says.

# %%
from kernels.cuda.llvm import mma


@cuda.jit
def one_instruction(a, b, c):
    lane = cuda.threadIdx.x
    g, i = lane // 4, lane % 4
    of_a = a[g, i], a[g + 8, i], a[g, i + 4], a[g + 8, i + 4]
    sums = mma(*of_a, b[i, g], b[i + 4, g], 0.0, 0.0, 0.0, 0.0)
    c[g, 2 * i], c[g, 2 * i + 1], c[g + 8, 2 * i], c[g + 8, 2 * i + 1] = sums


a, b, c = tf32(rng.standard_normal((16, 8))), tf32(rng.standard_normal((8, 8))), np.zeros((16, 8), np.float32)
one_instruction[1, 32](a, b, c)
check("one instruction is a product of 16 x 8 and 8 x 8", c, a @ b, 1e-5)

# %% [markdown]
# In the library it is one word: `kernels.load("cuda").set_precision("tf32")`, or `--precision tf32`. It is never on
# by itself.
#
# ## PTX, read together
#
# The compiler turns a kernel into **PTX**, the assembly of NVIDIA's GPUs. It can do so without a GPU, if the package
# numba-cuda is installed (`pip install -e ".[cuda13]"`). Then the next cell compiles `conv_on_gpu` here. If not, it
# reads what the compiler said before: the file [conv_on_gpu.ptx](ptx/conv_on_gpu.ptx).

# %%
import inspect
import re
from pathlib import Path

kept = Path("ptx/conv_on_gpu.ptx").read_text()
signature = "float32[::1], float32[::1], int64, float32[::1]"
here = teach.ptx_of(inspect.getsource(conv_on_gpu), "conv_on_gpu", signature)
print("compiled here" if here else "read from the file")
print(here or kept)

# %% [markdown]
# Read it once from top to bottom, with this table beside it. Registers have a type: `%f` holds a float32 number,
# `%rd` a whole number of 64 bits (addresses, mostly), `%p` is yes or no.


# %%
def lines_of(pattern, text=kept):
    return [line for line in text.splitlines() if pattern in line]


meaning = [
    ("%tid.x", "the number of the thread in its block"),
    ("%ctaid.x", "the number of the block (PTX calls a block a cooperative thread array)"),
    ("setp.ge", "is i >= y.size? The answer goes to %p1"),
    ("@%p1 bra", "if so, jump to the end: these are the idle threads"),
    ("ld.global.f32", "read a number of x or w from the large memory"),
    ("fma.rn.f32", "multiply and add in one instruction, rounded once"),
    ("st.global.f32", "write y[i]"),
]
teach.table([[lines_of(key)[0], len(lines_of(key)), words] for key, words in meaning], ["line", "times", "meaning"])

# %%
check("numbers read: three of x, three of w", len(lines_of("ld.global.f32")), 6)
check("multiplications and multiply-adds for three taps", len(lines_of("mul.f32")) + len(lines_of("fma.rn.f32")), 3)
check("numbers written", len(lines_of("st.global.f32")), 1)
rate_register = lines_of("[param 14]")[0].split()[1].rstrip(",")
check("instructions that use the rate", len(lines_of(f", {rate_register};")), 2)

# %% [markdown]
# The loop over taps is gone: the compiler wrote its two rounds one after the other. And look at the last check. The
# rate occurs in two additions of addresses, one for each tap after the first. **This is all that "atrous" costs on a
# GPU, at any rate.**
#
# Three lines come before each read of x: `shr`, `and` and `add`. In Python `x[-1]` means the last element. So these
# lines add the length of x to the index if the index is negative.
#
# The library's convolution with tensor cores is thousands of lines long. Here is its heart: reads of shared memory,
# then the instruction. The braces hold the results, a lane's part of A, its part of B, and the sums so far.

# %%
part = Path("ptx/tensor_cores.ptx").read_text()
print(part)
braces = [len(group.split(",")) for group in re.findall(r"{(.*?)}", part.replace("\n", ""))]
check("a lane's numbers: results, of A, of B, sums so far", braces, [4, 4, 2, 4])

# %% [markdown]
# ## How one trusts kernels that never ran
#
# Three levels of proof, each for every kernel of the library:
#
# | level | what it shows | needs a GPU |
# | --- | --- | --- |
# | the simulator: `NUMBA_ENABLE_CUDASIM=1 python -m pytest -k cuda` | the numbers are those of the reference | no |
# | the compiler: `python tests/compile_cuda.py sm_90` | it compiles; sums stay in registers | no |
# | a GPU: `python -m pytest tests/gpu` | it runs, and how fast | yes; not done yet |
#
# What the simulator cannot show: speed, races that depend on time, shared memory that is too large, registers that
# run out.
#
# ## What to keep
#
# - On a GPU the loop over outputs becomes threads. The rest of the definition stays as it is.
# - An output has one thread, and its sum has one order. Then no thread must wait for another one's sum, and each run
#   gives the same bits.
# - Memory is what costs: neighbouring lanes should read neighbouring numbers, and what is read should be used often.
#   Shared memory and register tiles are for that.
# - Tensor cores multiply small matrices in one instruction, with numbers of ten bits. It is a choice, not a gift.
# - The rate is one addition for a tap. Atrous convolution costs nothing here, either.
#
# The exercises are above, where their pictures are. `hint(1)` and `hint(2)` help.
#
# ## Next
#
# [13](13_crf_as_rnn.ipynb) learns the weights of a CRF. With an NVIDIA GPU, `python -m minideeplab.train --device
# cuda` runs what you have read about.
