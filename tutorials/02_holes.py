# %% [markdown]
# # 02 Holes
#
# **How does a filter see far, without more weights and without a coarser map - and what goes wrong?**
#
# You need: NumPy, and what a convolution is ([01](01_six_loops.ipynb)). You will see: every tap of an atrous
# convolution, the same photograph filtered in two ways, and the grid that stacked holes leave, with its cure; about
# 25 minutes.

# %%
import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(2)

# %% [markdown]
# *Atrous* comes from the French "à trous", with holes. The picture shows one filter at three **rates**. It always has
# nine weights. A **tap** is the place where one weight reads the image. The rate is the distance between two
# neighbouring taps, in pixels. (In code, a `Window` describes where a filter reads. `padding="same"` puts zeros
# around the image, so that the answer is as large as the image.)

# %%
from kernels.geometry import Window

photo = teach.photograph(96).mean(2)  # (H, W), grey
axes = teach.panels(1, 3, 3.2)
for a, rate in zip(axes, (1, 8, 24), strict=True):
    window = Window.conv((1, *photo.shape, 1), (3, 3, 1, 1), rate=rate, padding="same")
    inputs, weights = teach.taps(window, (42, 38))
    a.imshow(photo, cmap="gray")
    a.scatter(inputs[:, 1], inputs[:, 0], s=30, color=teach.YELLOW, edgecolors="black")
    a.set_title(f"rate {rate}: 9 taps, {window.effective_kernel[0]} pixels wide")
    a.set_axis_off()

# %% [markdown]
# ## One tap after another
#
# In one dimension the whole idea is one line (DeepLab v2, equation 1):
#
# $$y[i] = \sum_{k} x[i + r\,k]\; w[k]$$
#
# $x$ is the signal, $w$ are the weights, $r$ is the rate. With $r = 1$ it is an ordinary convolution. With $r = 2$
# each tap jumps over one input. Read the film row by row: the output slides by **one** position, while its taps stay
# two apart.

# %%
from kernels.reference import atrous_conv1d

x = np.array([1, 2, 0, 3, 1, 0, 2, 4])
w = np.array([1, 2, -1])
teach.draw_frames(lambda i, axes: teach.draw_row(x, w, 2, i, axes), range(4), columns=2, height=1.8,
                  titles=[f"y[{i}] = x[{i}]·1 + x[{i + 2}]·2 + x[{i + 4}]·(-1)" for i in range(4)])  # fmt: skip

# %%
y = atrous_conv1d(x, w, rate=2)
by_hand = [sum(x[i + 2 * k] * w[k] for k in range(3)) for i in range(4)]
check("the library's 1-D convolution is the sum over the taps", y, by_hand)
check("y[0] is 1·1 + 0·2 + 1·(-1)", y[0], 0)

# %% [markdown]
# The definition in the library is as short: [conv2d.py](../kernels/reference/conv2d.py), `atrous_conv1d`. In two
# dimensions a tap has a row and a column. `teach.taps` says which input each weight meets. The numbers are the row
# and the column of the weight; the orange square is the output's own position.

# %%
axes = teach.panels(1, 3, 2.9)
for a, rate in zip(axes, (1, 2, 4), strict=True):
    window = Window.conv((1, 11, 11, 1), (3, 3, 1, 1), rate=rate, padding="same")
    teach.draw_taps(window, (5, 5), a, numbers=True)
    side = window.effective_kernel[0]
    a.set_title(f"rate {rate}: 9 taps cover {side} x {side}")

# %%
window = Window.conv((1, 11, 11, 1), (3, 3, 1, 1), rate=2, padding="same")
inputs, weights = teach.taps(window, (5, 5))
check("a 3x3 filter of rate 2 reads nine pixels", len(inputs), 9)
check("they cover 5 rows", np.ptp(inputs[:, 0]) + 1, 5)
check("weight (0, 2) reads two rows above and two columns to the right", str((inputs[2] - (5, 5)).tolist()), "[-2, 2]")

# %% [markdown]
# ## How wide is it?
#
# A filter with $k$ weights has $k - 1$ gaps. Each gap holds $r - 1$ pixels. So its width, the **effective kernel**,
# is
#
# $$k_e = k + (k - 1)(r - 1)$$
#
# We do not believe the formula, we measure it. An **impulse** is an image that is zero everywhere but at one pixel.
# Where the filter's answer is not zero, the filter has seen the impulse. The width of the answer is the width of the
# filter.

# %%
import kernels

library = kernels.load("cpu")


def measured_width(k, rate):
    impulse = np.zeros((1, 1, 101, 1), np.float32)
    impulse[0, 0, 50] = 1
    weight = np.ones((1, k, 1, 1), np.float32)
    answer = library.conv2d(impulse, weight, Window.conv(impulse.shape, weight.shape, rate=(1, rate), padding="same"))
    return int(np.ptp(np.nonzero(answer[0, 0, :, 0])[0])) + 1


cases = [(k, r) for k in (3, 5, 7) for r in (1, 2, 6, 12)]
check(
    "the measured widths are k + (k-1)(r-1)",
    [measured_width(k, r) for k, r in cases],
    [k + (k - 1) * (r - 1) for k, r in cases],
)
teach.table(
    [[k, *(measured_width(k, r) for r in (1, 2, 6, 12))] for k in (3, 5, 7)],
    ["weights k", "rate 1", "rate 2", "rate 6", "rate 12"],
    "width in pixels, measured",
)

# %% [markdown]
# ## Why networks need holes
#
# A network is a chain of convolutions, its **layers**. What one layer hands to the next is a **map**: an image of
# numbers. Networks shrink their maps. They do it by **stride**: they keep every second position. A network that names
# *one* thing in an image profits: it gets cheaper, and each position sees more. A network that labels *every* pixel
# loses: the map is too coarse.
#
# DeepLab v1 removes the stride, and keeps the view (figure 1 of its paper, "hole algorithm"). Both pictures have 3
# weights:
#
# * above: keep every second input (blue), then filter. Few outputs.
# * below: keep all inputs, and let the filter read every second one (input stride 2). It moves by one position
#   (output stride 1). Dense outputs.

# %%
signal = np.array([2, 5, 1, 0, 4, 3, 2, 6, 1, 2, 3])
weights = np.array([1, 0, 2])
axes = teach.panels(2, 1, 2.0)
axes[0].set_title("stride 2, then a dense filter: 4 outputs")
axes[1].set_title("no stride, filter with holes (kernel 3, input stride 2, output stride 1): 7 outputs")
teach.draw_row(signal, weights, 2, stride=2, axes=axes[0])
teach.draw_row(signal, weights, 2, axes=axes[1])

# %%
coarse = atrous_conv1d(signal[::2], weights, rate=1)
dense = atrous_conv1d(signal, weights, rate=2)
check("every second dense output is a coarse output", dense[::2], coarse)
check("outputs without stride", len(dense), 7)

# %% [markdown]
# The weights did not change. So a network that was trained *with* stride can run *without* it: its weights still meet
# the inputs that they know. This is how DeepLab v1 takes over the weights of a classifier.
#
# ## The same on a photograph
#
# (Set the environment variable `MINIDEEPLAB_PHOTOGRAPHS` to a photograph, or to a folder of them, and yours is taken.)
#
# The filter below answers to horizontal edges: above minus below, three weights wide. We apply it in two ways
# (DeepLab v2, figure 3, does it with half the size):
#
# 1. shrink the image to a quarter, filter, enlarge the answer: a **sparse** answer;
# 2. filter the full image at rate 4: a **dense** answer.

# %%
photo = teach.photograph(220).mean(2).astype(np.float32)[:128, 24:152] / 255
edge = (np.outer([-1, 0, 1], [1, 2, 1])[:, :, None, None] / 4).astype(np.float32)


def filtered(image, rate):
    x = np.ascontiguousarray(image[None, :, :, None])
    return library.conv2d(x, edge, Window.conv(x.shape, edge.shape, rate=rate, padding="same"))


coarse = filtered(photo[::4, ::4], 1)
dense = filtered(photo, 4)
sparse = library.resize_bilinear(coarse, *photo.shape, True)
images = [photo * 2 - 1, coarse[0, :, :, 0], sparse[0, :, :, 0], dense[0, :, :, 0]]
titles = ["photograph, 128 x 128", "a quarter, filtered", "... enlarged: blurred", "full size, rate 4: details"]
teach.show(images, titles, cmap="gray", vmin=-1, vmax=1)

# %%
check("every fourth pixel of the dense answer is the coarse answer", dense[:, ::4, ::4], coarse, 1e-6)
steps = [float(np.abs(np.diff(a[0, 8:-8, 8:-8, 0], axis=0)).mean()) for a in (sparse, dense)]
print(f"mean step from row to row: sparse {steps[0]:.3f}, dense {steps[1]:.3f}")
check("the dense answer has the more detail", steps[1] > 1.5 * steps[0])

# %% [markdown]
# Dense answers cost more: sixteen times as many outputs as the coarse map has, each with nine taps. That is the price
# of detail. The *rate* is free, the *size of the map* is not ([03](03_fields_and_costs.ipynb)).
#
# ## Are zeros multiplied?
#
# > **Check it.** A slide says that zeros are "put in" between the weights. One may *think* of it so. Let us see what
# > it would cost.
#
# A filter of rate 2 has the same result as a larger dense filter with zeros between its weights.

# %%
rng = np.random.default_rng(0)
image = rng.normal(size=(1, 16, 16, 1)).astype(np.float32)
nine = rng.normal(size=(3, 3, 1, 1)).astype(np.float32)
stuffed = np.zeros((5, 5, 1, 1), np.float32)
stuffed[::2, ::2] = nine
holes = Window.conv(image.shape, nine.shape, rate=2, padding="same")
zeros = Window.conv(image.shape, stuffed.shape, rate=1, padding="same")
check("both give the same numbers", library.conv2d(image, nine, holes), library.conv2d(image, stuffed, zeros), 1e-5)
check("multiply-adds of one output with holes", holes.macs // 256, 9)
check("... with zeros put in", zeros.macs // 256, 25)
check("share of the products that would be zero, in %", 100 * 16 / 25, 64.0)

# %% [markdown]
# At rate 12 it would be 625 products instead of 9. No program that is in earnest puts zeros in. Ours moves the place
# where a tap starts to read: the rate is one factor in an address ([01](01_six_loops.ipynb)).
#
# ## Holes without holes: phases
#
# At rate 2, outputs at even places read only even inputs, and outputs at odd places only odd ones. The signal falls
# apart into two **phases** that never meet. So one may sort the inputs by phase, run an *ordinary* convolution on
# each, and interlace the results. TensorFlow does it so ("space to batch").


# %%
def by_phases(x, w, rate):
    y = np.empty(len(x) - rate * (len(w) - 1), x.dtype)
    for phase in range(rate):
        y[phase::rate] = atrous_conv1d(x[phase::rate], w, rate=1)  # dense
    return y


axes = teach.panels(1, 3, 1.9, width_ratios=[2, 1, 1])
for a, title in zip(axes, ("rate 2: blue and red lines\nnever end in one output", "phase 0 alone, dense",
                           "phase 1 alone, dense"), strict=True):  # fmt: skip
    a.set_title(title)
teach.draw_row(signal[:10], weights, 2, axes=axes[0], phases=2)
teach.draw_row(signal[:10:2], weights, 1, axes=axes[1])
teach.draw_row(signal[1:10:2], weights, 1, axes=axes[2])

# %%
long = rng.normal(size=200)
for rate in (2, 3, 5):
    check(
        f"{rate} interlaced dense convolutions are one of rate {rate}",
        by_phases(long, w, rate),
        atrous_conv1d(long, w, rate),
        1e-12,
    )

# %% [markdown]
# Keep the phases in mind. They never meet: that is a promise of speed here, and the cause of trouble below.
#
# ## What pooling forgets
#
# Why not leave the stride, and enlarge the map afterwards? Because the position is gone. Max pooling keeps the
# largest of 2 x 2 values and forgets where it was. A thin bar at four different places gives one and the same map
# after two poolings.

# %%
bars = np.zeros((4, 8, 8, 1), np.float32)
for i in range(4):
    bars[i, :, 4 + i] = 1
pooled = bars
for _ in range(2):
    pooled = library.max_pool2d(pooled, Window.pool(pooled.shape, 2))[0]
images = [b[..., 0] for b in (*bars, *pooled)]
titles = [f"bar in column {4 + i}" for i in range(4)] + ["after two: 2 x 2 values"] * 4
teach.show(images, titles, columns=4, cmap="gray_r", vmin=-0.12)

# %%
check("all four maps are equal after pooling", bool((pooled == pooled[0]).all()))
check("rows and columns that are left", str(pooled.shape[1:3]), "(2, 2)")

# %% [markdown]
# A network that only asks "is there a bar?" likes it: this is *invariance*. A network that must colour the bar needs
# the place.
#
# ## Gridding: what goes wrong
#
# Now stack three layers of rate 2. The **field** of an output is the square that holds all inputs it depends on. We
# measure which inputs of the field it really sees: `conv2d_grad_input` goes the way of a convolution backwards, from
# an output to the inputs that it reads. Blue: seen by one output. Orange: seen by its right-hand neighbour. Black:
# seen by both. White: by neither.


# %%
def seen(rates, size=33, shift=0):
    """(size, size) bool: the inputs that one output sees through a stack of 3x3 layers."""
    answer = np.zeros((1, size, size, 1))
    answer[0, size // 2, size // 2 + shift] = 1
    ones = np.ones((3, 3, 1, 1))
    for rate in reversed(rates):
        answer = kernels.reference.conv2d_grad_input(
            answer, ones, Window.conv(answer.shape, ones.shape, rate=rate, padding="same")
        )
    return answer[0, :, :, 0] > 0


axes = teach.panels(1, 4, 2.4)
for a, rates in zip(axes, [(2, 2, 2), (2, 4, 8), (2, 3, 5), (1, 2, 3)], strict=True):
    teach.draw_overlap(seen(rates), seen(rates, shift=1), a)
    a.set_title(f"rates {rates}")


# %%
def share(rates):
    field = 1 + 2 * sum(rates)
    return 100 * seen(rates).sum() / field**2


def overlap(rates):
    return 100 * (seen(rates) & seen(rates, shift=1)).sum() / seen(rates).sum()


stacks = [(2, 2, 2), (2, 4, 8), (2, 3, 5), (1, 2, 3), (1, 2, 4)]
check("share of the field that is seen, in %", [share(r) for r in stacks], [29.0, 26.8, 81.9, 100, 100], 0.05)
check("shared with the neighbouring output, in %", [overlap(r) for r in stacks], [0, 0, 84.2, 92.3, 93.3], 0.05)
teach.table(
    [[str(r), 1 + 2 * sum(r), f"{share(r):.0f} %", f"{overlap(r):.0f} %", int(np.gcd.reduce(r))] for r in stacks],
    ["rates", "field", "share seen", "shared with the neighbour", "common factor"],
)

# %% [markdown]
# Three layers of rate 2 see 29 % of their field. Worse, two neighbouring outputs see **no input in common**. They may
# disagree about everything: the label map gets a grid of wrong pixels. This is **gridding**.
#
# ### Four pictures in one
#
# How separate are they? We weave four drawings into one image: one into each phase. Then we filter with means of 3 x
# 3, and look at phase 0 alone.

# %%
rows, columns = np.mgrid[-1:1:24j, -1:1:24j]
drawings = [
    rows**2 + columns**2 < 0.5,
    abs(rows) + abs(columns) < 0.7,
    (abs(rows) < 0.25) | (abs(columns) < 0.25),
    abs(rows + columns) < 0.35,
]
woven = np.zeros((48, 48), np.float32)
for phase, drawing in enumerate(drawings):
    woven[phase // 2 :: 2, phase % 2 :: 2] = drawing


# %%
def smoothed(image, rates):
    y = np.ascontiguousarray(image[None, :, :, None])
    mean = np.full((3, 3, 1, 1), 1 / 9, np.float32)
    for rate in rates:
        y = library.conv2d(y, mean, Window.conv(y.shape, mean.shape, rate=rate, padding="same"))
    return y[0, :, :, 0]


images = [woven, *(smoothed(woven, rates)[::2, ::2] for rates in [(2, 2), (2, 4), (1, 2)])]
teach.show(
    images,
    [
        "four drawings, woven",
        "phase 0 after (2, 2):\nonly the disc",
        "after (2, 4):\nonly the disc",
        "after (1, 2):\nall four, mixed",
    ],
    cmap="gray_r",
)

# %%
other = woven.copy()
other[1::2] = rng.random((24, 48))  # noise in phases 2 and 3
other[::2, 1::2] = rng.random((24, 24))  # ... and in phase 1
for rates, separate in [((2, 2, 2), True), ((2, 4, 8), True), ((1, 2, 3), False)]:
    same = np.array_equal(smoothed(woven, rates)[::2, ::2], smoothed(other, rates)[::2, ::2])
    says = "leaves phase 0 as it was, bit by bit" if separate else "changes phase 0"
    check(f"{rates}: noise in the other phases {says}", same == separate)

# %% [markdown]
# > **Check it.** *Does multi-grid cure gridding?* A slide says that **multi-grid** restores the local information
# > that holes lose. A **block** is a group of layers, here three. Multi-grid gives them different rates: (1, 2, 4)
# > times the rate of the block. At output stride 16 the block has rate 2, so the rates are (2, 4, 8). You have just
# > seen them: 27 % of the field, nothing in common with the neighbour, phase 0 untouched by the others. Multi-grid
# > alone does **not** cure it.
#
# All three rates have the factor 2. A common factor always leaves phases that never meet. No common factor is
# *necessary*; it is not *sufficient*: (2, 3, 5) still has holes. Multi-grid does raise the paper's scores (DeepLab
# v3, table 3, quoted in [09](09_deeplab_v3.ipynb)): the field is larger, and layers of rate 1 stand before the block,
# whose outputs overlap. But it is not what the slide says.
#
# ## Does the order matter?
#
# DRN, the dilated residual network, puts *small* rates **last**: rates 4, 4, then 2, then 1. But convolutions
# commute. Is (1, 2, 4, 4) not the same?

# %%
bump = np.exp(-(np.arange(-20, 21)[:, None] ** 2 + np.arange(-20, 21)[None] ** 2) / 8).astype(np.float32)
small_first, small_last = (1, 2, 4, 4), (4, 4, 2, 1)
check("without ReLU both orders give the same", smoothed(bump, small_first), smoothed(bump, small_last), 1e-6)


def with_relu(image, rates):
    half = smoothed(image, rates[:2])
    spike = np.maximum(half - 0.99 * half.max(), 0)  # ReLU: what is below the threshold becomes 0
    return spike / spike.sum(), smoothed(spike / spike.sum(), rates[2:])


images = [with_relu(bump, small_first)[1], with_relu(bump, small_last)[1], smoothed(bump, small_last)]
titles = ["(1, 2), ReLU, (4, 4):\na grid", "(4, 4), ReLU, (2, 1):\na spot without gaps", "either order without ReLU"]
teach.show([i[4:-4, 4:-4] for i in images], titles, cmap="magma_r")

# %% [markdown]
# As long as everything is linear, the order means nothing. **ReLU** sets negative numbers to zero, and so it can turn
# a smooth bump into a **spike**: one lonely position. What comes *after* the spike decides. Layers of rate 4 copy it
# to a grid, layers of rate 2 and 1 smear it without gaps. A spike may be born behind every layer. So what *remains*
# must have no holes, wherever we begin:

# %%
for rates in (small_first, small_last):
    remain = [share(rates[i:]) for i in range(4)]
    print(f"{rates}: share seen by", ", ".join(f"{rates[i:]} {s:.0f} %" for i, s in enumerate(remain)))
check("small rates last: no remainder has holes", [share(small_last[i:]) for i in range(4)], [100] * 4, 1e-9)
check("small rates first: the last layer alone sees, in %", share((4,)), 100 * 9 / 81, 1e-9)
spike, grid = with_relu(bump, small_first)
check("positions of the spike", int((spike > 0).sum()), 1)
check("positions that it is copied to by (4, 4)", int((grid > 0).sum()), 25)

# %% [markdown]
# ## DRN's three steps
#
# The authors of DRN (Yu and others, 2017) cured gridding in three steps:
#
# * **A** is a ResNet, a widely used network of four groups of layers (*stages*). The last two have holes. It grids.
#   Its max pooling makes things worse, the authors say: it produces spikes.
# * **B** replaces max pooling by convolutions, and adds layers of rate 2 and 1 at the end.
# * **C** also removes the *shortcuts* around the added layers. A shortcut adds a layer's input to its output, and so
#   it carries the grid past the layer that should smooth it.
#
# One spike through the last layers of each shows it:


# %%
def remainder(rates, shortcuts=()):
    y = np.zeros((41, 41), np.float32)
    y[20, 20] = 1
    for i, rate in enumerate(rates):
        y = smoothed(y, [rate]) + (y if i in shortcuts else 0)
    return y / y.sum()


def roughness(y):
    """Steps to the right-hand neighbour over the sum: 2 where all neighbours of filled positions are empty."""
    return float(np.abs(np.diff(y, axis=1)).sum() / y.sum())


steps = {
    "A: rates 4, 4": remainder((4, 4)),
    "B: 4, 4, 2, 1 with shortcuts": remainder((4, 4, 2, 1), (2, 3)),
    "C: 4, 4, 2, 1 without": remainder((4, 4, 2, 1)),
}
titles = [f"{name}\nroughness {roughness(y):.2f}" for name, y in steps.items()]
teach.show([y[6:-6, 6:-6] / y.max() for y in steps.values()], titles, cmap="magma_r")
check("roughness of A, B and C", [roughness(y) for y in steps.values()], [2.0, 1.117, 0.667], 0.005)

# %% [markdown]
# ## In trained networks
#
# Arguments are good, networks are better. Two small networks were trained alike on drawn shapes
# ([train_networks.py](train_networks.py)): DRN-A and DRN-C, at a quarter of the paper's width. Nobody drew a grid
# into their weights. We show them a grey image, then the same with a small red square in the middle. The picture
# shows how much each position of a map has changed.

# %%
from minideeplab.autograd import Tensor, no_grad
from minideeplab.data import normalise

grey = np.full((257, 257, 3), 128, np.uint8)
spot = grey.copy()
spot[126:131, 126:131] = (255, 0, 0)


def changes(name):
    """How much the square changes each position of each stage's map, largest 1: a list of (H, W)."""
    backbone = teach.trained(name).model.backbone
    with no_grad():
        before, after = (backbone.stages_of(Tensor(normalise(image[None]))) for image in (grey, spot))
    maps = [np.abs(b.numpy()[0] - a.numpy()[0]).sum(2) for a, b in zip(before, after, strict=True)]
    return [m / m.max() for m in maps]


a, c = changes("drn-a"), changes("drn-c")  # c[5]: DRN-C's last map of rate 4, before it is smoothed
titles = [
    "DRN-A, last map:\na grid",
    "DRN-C after its holes\n(rate 4): a grid",
    "DRN-C, last map, after\nrates 2 and 1: smooth",
]
teach.show([m[4:29, 4:29] for m in (a[-1], c[5], c[-1])], titles, cmap="magma_r")


# %%
def unevenness(change):
    """Mean step to the next position over the mean step over two positions: above 1 for a grid of period 2."""
    one, two = (np.abs(change[:, d:] - change[:, :-d]).mean() for d in (1, 2))
    return float(one / two)


for name, change in (("DRN-A, last map", a[-1]), ("DRN-C after its holes", c[5]), ("DRN-C, last map", c[-1])):
    print(f"{name}: {unevenness(change):.2f}")
check("DRN-A grids: above 1", unevenness(a[-1]) > 1)
check("DRN-C smooths what its holes leave", unevenness(c[-1]) < 0.8 * unevenness(c[5]))
check("the last map of DRN-C does not grid", unevenness(c[-1]) < 0.8)

# %% [markdown]
# A single spot is the hardest case. It shows the grid in the maps; the label maps of both networks may still be good.
#
# ## What to keep
#
# * An atrous convolution reads its inputs $r$ positions apart. It has the same weights and the same multiply-adds at
#   every rate.
# * Its width is $k + (k-1)(r-1)$. Where a stride is removed, the rate takes its place, and the weights still fit.
# * Nobody multiplies zeros: the rate only moves addresses.
# * Stacked rates with a common factor leave phases that never meet. This grids, and multi-grid (2, 4, 8) does not
#   cure it.
# * The cure is to end with small rates and without shortcuts, so that what comes behind a spike has no holes.
#
# ## Exercises
#
# **1.** `atrous_conv1d` has two loops. Write it with one loop over the taps: each tap adds a *shifted piece* of the
# signal, times its weight. (This is how the fast kernels think.)


# %%
def by_taps(x, w, rate):
    length = len(x) - rate * (len(w) - 1)
    y = np.zeros(length)
    for k in range(len(w)):
        y += ... * w[k]  # instead of ...: the piece of x that tap k reads
    return y


# %%
attempt(1, by_taps, lambda: (
    f"yours has {np.size(by_taps(long, np.ones(3), 2))} values, {len(long) - 4} are wanted"
    if np.size(by_taps(long, np.ones(3), 2)) != len(long) - 4
    else all(
        np.allclose(by_taps(long, taps, rate), atrous_conv1d(long, taps, rate))
        for rate in (1, 2, 5) for taps in (np.array([1.0, -2, 3]), np.array([0.5, 4]))
    ) or "some outputs differ from those of atrous_conv1d"
))  # fmt: skip

# %% [markdown]
# **2.** Choose three rates for three 3x3 layers. Every pixel of the field must be seen, and the field must be as
# large as possible. (1, 2, 3) gives 13 pixels; you can double that.

# %%
my_rates = ...  # for example (1, 2, 3)


# %%
attempt(2, my_rates, lambda: (
    "three rates are asked for, such as (1, 2, 3)" if np.shape(my_rates) != (3,)
    else teach.draw_overlap(seen(my_rates, 65), seen(my_rates, 65, shift=1))
    or (share(my_rates) == 100 and sum(my_rates) >= 13)
    or (f"of the field, only {share(my_rates):.0f} % is seen: see the picture" if share(my_rates) < 100
        else f"the field is {1 + 2 * sum(my_rates)} pixels wide; a larger one is possible")
))  # fmt: skip

# %% [markdown]
# `hint(1)` and `hint(2)` help.

# %% [markdown]
# ## Next
#
# [03](03_fields_and_costs.ipynb): what an output sees, and what it costs, in whole networks. Rates side by side
# instead of one after another: [08](08_pyramids.ipynb) and [09](09_deeplab_v3.ipynb).
