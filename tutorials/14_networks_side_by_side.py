# %% [markdown]
# # 14 Networks side by side
#
# **How do other networks than DeepLab join fine places with wide context, and what do they pay?**
#
# You need: notebooks [03](03_fields_and_costs.ipynb) and [10](10_deeplab_v3plus.ipynb). You will see: seventeen
# networks in one picture, who reads whom in ResNet and DenseNet, and what U-Net, SegNet, FCN and DeepLabv3+ carry
# across resolutions; about 25 minutes.

# %%
import numpy as np

from minideeplab import Tensor, models, ops, teach
from minideeplab.cost import cost_of
from minideeplab.teach import attempt, check, hint, paper_tables

teach.begin(14)

# %% [markdown]
# ## Seventeen networks in one picture
#
# Each network is counted for one image of 513 x 513 and 21 classes, with logits for every pixel. A classifier
# (ResNet, DRN, DenseNet) is here a segmenter without decoder: its scores are enlarged.

# %%
DENSE = {"dense": True}  # a classifier that scores positions, not images
NETWORKS = {
    "v3+ Xception-65": ("deeplabv3plus", {"backbone": "xception65"}),
    "v3+ ResNet-101": ("deeplabv3plus", {"backbone": "resnet101"}),
    "v3 ResNet-101": ("deeplabv3", {"backbone": "resnet101"}),
    "v2 ASPP-L": ("deeplabv2-aspp-l", {}),
    "v1 LargeFOV": ("deeplabv1-largefov", {}),
    "PSPNet": ("pspnet", {}),
    "FCN-8s": ("fcn-8s", {}),
    "SegNet": ("segnet", {}),
    "U-Net": ("unet", {}),
    "ResNet-18": ("resnet18", DENSE),
    "ResNet-50": ("resnet50", DENSE),
    "ResNet-101": ("resnet101", DENSE),
    "DRN-A-50": ("drn-a-50", DENSE),
    "DRN-C-26": ("drn-c-26", DENSE),
    "DRN-D-22": ("drn-d-22", DENSE),
    "DenseNet-121": ("densenet121", DENSE),
    "DenseNet-161": ("densenet161", DENSE),
}


# %%
def made(label):
    name, options = NETWORKS[label]
    return models.create(name, num_classes=21, **options)


costs = {label: cost_of(made(label), 513) for label in NETWORKS}
places = {"U-Net": (-4, 10), "SegNet": (-6, -8), "v2 ASPP-L": (0, -12), "DRN-C-26": (-6, 0), "DRN-D-22": (-6, 0),
          "v3+ Xception-65": (-13, 0), "DenseNet-161": (-14, 0), "v1 LargeFOV": (-6, 0)}  # fmt: skip
teach.draw_landscape(costs, places)

# %% [markdown]
# Three things are easy to see. (U-Net and SegNet are older segmenters; we shall open them below.)
#
# - Parameters say little about cost. FCN-8s and SegNet cost almost the same, but FCN-8s has more than four times the
#   parameters.
# - Fine maps cost. U-Net and SegNet work at full resolution. DRN-A-50 is ResNet-50 at output stride 8: the same
#   parameters, 4.6 times the multiply-adds.
# - A wide field need not cost much: DenseNet-161 is deep and narrow, its field is the widest of all.

# %%
check("FCN-8s over SegNet, parameters", costs["FCN-8s"].parameters / costs["SegNet"].parameters, 4.57, 0.01)
check("FCN-8s over SegNet, multiply-adds", costs["FCN-8s"].macs / costs["SegNet"].macs, 1.04, 0.01)
same = costs["DRN-A-50"].parameters == costs["ResNet-50"].parameters
check("DRN-A-50 and ResNet-50 have the same number of parameters", same)
check("their multiply-adds, ratio", costs["DRN-A-50"].macs / costs["ResNet-50"].macs, 4.55, 0.02)
widest = sorted(costs, key=lambda label: -costs[label].receptive_field)[:3]
check("the three widest fields", ", ".join(widest), "DenseNet-161, v3+ Xception-65, DenseNet-121")

teach.table([{"network": label, "parameters, 1e6": f"{c.parameters / 1e6:.1f}",
              "multiply-adds, 1e9": f"{c.macs / 1e9:.1f}", "field, pixels": c.receptive_field,
              "activations, MB": f"{c.activation_bytes / 1e6:,.0f}"} for label, c in costs.items()])  # fmt: skip

# %% [markdown]
# > **Check it.** A field is not yet a look. Notebook [03](03_fields_and_costs.ipynb) measures that a trained network
# > looks at a small part of its field. And a field of 3031 pixels on an image of 513 is mostly outside of it.
#
# ## Who reads whom
#
# A network is a **graph**: its nodes are operations, its edges say whose output goes where. The graph that the
# forward pass leaves for backpropagation tells it all (`Function.parents`). We walk it: for each convolution, which
# convolutions does it read, with no other in between? The row reads, the column is read. Black: it gets this one
# alone. Orange: added to others. Blue: beside others, concatenated.

# %%
graphs = {label: teach.connections(models.create(name, dense=True)) for label, name in {
    "VGG-16: a chain": "vgg16", "ResNet-34: sums": "resnet34", "DRN-C-26: sums, then a chain": "drn-c-26",
    "DenseNet-121: all before": "densenet121"}.items()}  # fmt: skip
dense = graphs["DenseNet-121: all before"]
for axes, (title, found) in zip(teach.panels(2, 2, 3.3).ravel(), graphs.items(), strict=True):
    part = found._replace(reads=found.reads[:39, :39])  # of DenseNet the stem and two blocks
    teach.draw_connections(part, axes, legend=found is dense)
    axes.set_title(title)

# %% [markdown]
# VGG-16 is a chain: each convolution reads the one before. A **residual unit**, $y = \mathrm{relu}(x + f(x))$,
# carries $x$ past $f$. So the first convolution of a unit reads the *sum* of all units before it in the stage. DRN-C
# ends in a chain again: its last two levels have no shortcut, because a shortcut would carry the grid of large rates
# to the end (notebook [02](02_holes.ipynb)).

# %%
chain = graphs["VGG-16: a chain"].reads
check("VGG-16: each convolution reads one", int(chain.sum(axis=1).max()), 1)
tail = graphs["DRN-C-26: sums, then a chain"].reads[-4:]
check("DRN-C-26: the last four convolutions read one each", str((tail > 0).sum(axis=1).tolist()), "[1, 1, 1, 1]")
check("DenseNet-121: the first layer of block 3 reads", int((dense.reads[39] > 0).sum()), 1)
check("the transition after its 24 layers reads them and what came in", int((dense.reads[87] > 0).sum()), 25)

# %% [markdown]
# ## DenseNet: feature reuse
#
# A **dense layer** puts its $k$ new channels *beside* all that came before: $x_l = [x_{l-1}, f(x_{l-1})]$. $k$ is the
# **growth rate**. Nothing is added up, so every later layer can read every earlier one unchanged. That is feature
# reuse. Layer $l$ of a block that starts with $c_0$ channels reads
#
# $$c_l = c_0 + l\,k$$
#
# channels. Two letters keep it cheap. **B**: a 1 x 1 convolution (bottleneck) first makes $4k$ channels of them.
# **C**: the transition between blocks halves the channels (compression, $\theta = 0.5$).

# %%
reading = [layer.input[2] for layer in dense.layers if "bottleneck" in layer.name]
resnet = [
    layer.input[2] for layer in graphs["ResNet-34: sums"].layers if "conv1" in layer.name or "conv2" in layer.name
]
check("block 1 of DenseNet-121 reads", str(reading[:6]), str([64 + 32 * layer for layer in range(6)]))
axes = teach.panels(1, 2, 2.5, sharey=True)
axes[0].bar(range(len(reading)), reading, color=teach.BLUE, width=1)
axes[0].set(title="DenseNet-121: 58 dense layers", xlabel="dense layer", ylabel="channels that it reads")
axes[1].bar(range(len(resnet)), resnet, color=teach.ORANGE, width=1)
axes[1].set(title="ResNet-34: 32 convolutions in units", xlabel="convolution")
copied = sum(reading[18:42]) - 24 * 256
check("block 3, 24 layers: channels read beyond those that came in", copied, 24 * 23 * 32 // 2)

# %% [markdown]
# The sawtooth is the dense block; the drop is the compression. Now the parameters of the lecture's table: 1.0, 7.0
# and 27.2 million of plain DenseNets, 0.8, 15.3 and 25.6 million with B and C. They are classifiers for CIFAR-10:
# images of 32 x 32 pixels, ten classes. The library has the BC forms. One function counts both, weights and batch
# norms:


# %%
def densenet_parameters(depth, k, bc, classes=10):
    """Stem, three dense blocks with transitions, the last batch norm, a linear layer."""
    layers = (depth - 4) // (6 if bc else 3)
    c = 2 * k if bc else 16
    total = 3 * 9 * c
    for block in range(3):
        for _ in range(layers):
            total += 2 * c  # batch norm before the first convolution: a scale and a shift for each channel
            total += c * 4 * k + 2 * 4 * k + 4 * k * 9 * k if bc else c * 9 * k
            c += k
        if block < 2:
            out = c // 2 if bc else c
            total += 2 * c + c * out
            c = out
    return total + 2 * c + (c + 1) * classes


# %%
for depth, k in ((100, 12), (250, 24), (190, 40)):
    counted = cost_of(models.create(f"densenet-bc-{depth}-{k}", num_classes=10), 32).parameters
    check(f"BC, depth {depth}, k = {k}: the function and the network", densenet_parameters(depth, k, True), counted)
quoted = paper_tables.DENSENET_CIFAR.records()
ours = [densenet_parameters(row["depth"], row["growth rate"], row["form"] == "BC") for row in quoted]
millions = " ".join(f"{p / 1e6:.1f}" for p in ours)
check("all six, 1e6", millions, "1.0 7.0 27.2 0.8 15.3 25.6")
paper_tables.DENSENET_CIFAR

# %%
axes = teach.panels(1, 1, 2.7)
axes.set(xscale="log", xlim=(0.6, 70), xlabel="parameters, 1e6 (counted)", ylabel="error on CIFAR-10, % (quoted)")
axes.set_ylim(3, 5.6)
axes.set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
for row, parameters in zip(quoted, ours, strict=True):
    colour, marker = (teach.BLUE, "o") if row["form"] == "BC" else (teach.ORANGE, "s")
    axes.plot(parameters / 1e6, row["error, %"], marker, color=colour, markersize=9)
    is_left = row["depth"] == 250
    axes.annotate(
        f"{row['form']} {row['depth']}, k = {row['growth rate']}",
        (parameters / 1e6, row["error, %"]),
        xytext=(-8 if is_left else 8, -3),
        textcoords="offset points",
        ha="right" if is_left else "left",
    )

# %% [markdown]
# With B and C a ninth of the parameters (0.8 against 7.0) comes close to the same error. The errors are those of the
# paper; nothing was trained here.
#
# The price is memory. Concatenation copies. A block of $L$ layers reads $L (L - 1) k / 2$ channels beyond those that
# came in, and copies as many: their number grows with the square of the depth.
#
# ## What is carried across resolutions
#
# A segmenter goes down to coarse maps, because context needs a wide field. Then it must come back to fine places.
# What does it remember of the way down? Each dot is a layer, its area the channels; grey ones have no weights. Down
# is coarser. An orange arrow is a connection that leaps over the coarse layers, with the channels that it carries. We
# find them in the same graph.

# %%
names = {"U-Net": "unet", "SegNet": "segnet", "FCN-8s": "fcn-8s", "DeepLabv3+, ResNet-18": "deeplabv3plus"}
ladders = {title: teach.connections(models.create(name), 512) for title, name in names.items()}
for axes, (title, found) in zip(teach.panels(4, 1, 1.9), ladders.items(), strict=True):
    teach.draw_ladder(found, axes)
    axes.set_title(title, loc="left")
    if found is not ladders["DeepLabv3+, ResNet-18"]:
        axes.set_xlabel("")

# %% [markdown]
# Four answers to one question.
#
# - **U-Net** carries *features*: all channels of every resolution, concatenated.
# - **SegNet** carries *places*: which pixel of each 2 x 2 window was the maximum (green, dotted). No value crosses,
#   so our walk along derivatives finds no bridge.
# - **FCN** carries *scores*: 1 x 1 convolutions make 21 classes of two early maps, and these are added.
# - **DeepLabv3+** carries *a few features* once: 48 channels at stride 4. All else keeps output stride 16 by atrous
#   convolution.

# %%
for title, number in (("U-Net", 4), ("SegNet", 0), ("FCN-8s", 2), ("DeepLabv3+, ResNet-18", 1)):
    check(f"{title}: bridges", len(teach.bridges(ladders[title])), number)

# %% [markdown]
# How much is that, for one image of 512 x 512? A feature takes 4 bytes. An index among four pixels needs 2 bits.

# %%
carried = {}
for title, found in ladders.items():
    numbers = 0
    for source, reader in teach.bridges(found):
        smaller = min((found.layers[source].output, found.layers[reader].output), key=np.prod)
        numbers += np.prod(smaller)
    carried[title] = 4 * numbers / 1e6
pooled = sum(np.prod(layer.output) for layer in ladders["SegNet"].layers if layer.kind.startswith("max pool"))
carried["SegNet"] = pooled * 2 / 8 / 1e6
axes = teach.panels(1, 1, 1.9)
teach.draw_bars(list(carried), list(carried.values()), "carried across resolutions, MB (logarithmic)", axes)
axes.set(xscale="log", xlim=(0.1, 500))
check("U-Net carries, MB", carried["U-Net"], 125.8, 0.05)
check("SegNet's indices, MB", carried["SegNet"], 2.0, 0.05)
check("DeepLabv3+ carries, MB", carried["DeepLabv3+, ResNet-18"], 3.2, 0.05)

# %% [markdown]
# U-Net was made for pictures from microscopes. Their cells have thin borders, and it keeps everything. DeepLabv3+
# bets that one fine map is enough.
#
# ## SegNet's unpooling, seen closely
#
# `max_pool2d_with_indices` gives the maxima and their places. `max_unpool2d` puts values back there, and zeros
# elsewhere.

# %%
x = np.array([[1, 5, 2, 0], [3, 2, 1, 8], [0, 1, 4, 4], [7, 6, 9, 3]], np.float32)[None, ..., None]
pooled, indices = ops.max_pool2d_with_indices(Tensor(x), 2)
back = ops.max_unpool2d(pooled, indices).numpy()
steps = [x[0, ..., 0], pooled.numpy()[0, ..., 0], back[0, ..., 0]]
titles = ["before", "maxima of 2 x 2", "put back at their indices"]
for axes, values, title in zip(teach.panels(1, 3, 2.5), steps, titles, strict=True):
    axes.imshow(values, cmap="Blues", vmin=0, vmax=12)
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=13)
    axes.set_title(title)
    axes.set_xticks(np.arange(0.5, len(values) - 1), [])
    axes.set_yticks(np.arange(0.5, len(values) - 1), [])
    axes.grid(color="white", lw=2)
    axes.tick_params(length=0)

# %%
check("pooling again gives the same maxima", bool((ops.max_pool2d(Tensor(back), 2).numpy() == pooled.numpy()).all()))
check("share of zeros", float((back == 0).mean()), 0.75)
check("indices are numbers of pixels, row by row", str(indices[0].ravel().tolist()), "[1, 7, 12, 14]")

# %% [markdown]
# On the photograph: three poolings, then three ways back to the full size. Unpooling returns each maximum to its
# exact pixel, and leaves holes, which the decoder's convolutions fill. Resizing leaves no holes, and no exact place.

# %%
photograph = teach.photograph(256)
grey = photograph[:, : photograph.shape[1] // 8 * 8].mean(axis=-1, keepdims=True).astype(np.float32)[None]
y, stack = Tensor(grey), []
for _ in range(3):
    y, indices = ops.max_pool2d_with_indices(y, 2)
    stack.append(indices)
unpooled = y
while stack:
    unpooled = ops.max_unpool2d(unpooled, stack.pop())
size = grey.shape[1:3]
ways = {"original": Tensor(grey), "unpooled: 1 pixel of 64": unpooled, "nearest": ops.resize_nearest(y, *size),
        "bilinear": ops.resize_bilinear(y, *size)}  # fmt: skip
check("pixels that unpooling fills, of 64", float((unpooled.numpy() > 0).mean()) * 64, 1.0, 0.01)
teach.show([way.numpy()[0, 64:192, 32:160, 0] for way in ways.values()], list(ways), cmap="gray", vmin=0, vmax=255)

# %% [markdown]
# ## Is the network the one that others mean?
#
# A wrong layer shows in the number of parameters. So we count the networks that run, and compare with the counts that
# others give for the same form:

# %%
for label, published in (("FCN-8s", 134_489_759), ("U-Net", 31_033_045), ("SegNet", 29_455_125)):
    check(f"{label}, 21 classes: parameters", costs[label].parameters, published)
for name, published in (("densenet121", 7_978_856), ("densenet161", 28_681_000), ("resnet50", 25_557_032)):
    check(f"{name}, 1000 classes: parameters", cost_of(models.create(name), 224).parameters, published)

# %% [markdown]
# ## What one pixel costs
#
# One more view of the same numbers: what a network pays for each pixel of the image. On the left, less is faster; on
# the right, less fits into a smaller memory.

# %%
order = sorted(costs, key=lambda label: costs[label].macs)
axes = teach.panels(1, 2, 4.2)
thousands = [costs[label].macs / 513**2 / 1e3 for label in order]
teach.draw_bars(order, thousands, "multiply-adds a pixel, 1e3", axes[0])
floats = [costs[label].activation_bytes / 513**2 / 1e3 for label in order]
teach.draw_bars([""] * len(order), floats, "activations a pixel, kB", axes[1], teach.ORANGE)

# %% [markdown]
# The memory of SegNet stands out. It works at full resolution. Its batch norms count as layers of their own, too.
# (The count merges a batch norm with its convolution where that has no bias. SegNet's convolutions have one.)
#
# ## What to keep
#
# - Chains read one, residual networks read a sum, dense networks read everything side by side.
# - Networks differ in what they carry past the coarse maps: features (U-Net), places (SegNet), scores (FCN), 48
#   channels (DeepLabv3+).
# - Parameters, multiply-adds, memory and field are four different things. A table with one of them tells a quarter.
# - A published number is worth a count of your own.
#
# ## Exercise 1: unpooling by hand
#
# Write `unpool` in NumPy: `values` is (h, w), `indices` says for each value the number of its pixel, row by row, in
# the map of (height, width). The map need not be a square.


# %%
def unpool(values, indices, height, width):
    """(height, width): each value at its pixel, zeros elsewhere."""
    return ...


places = np.array([[1, 7], [12, 14]])  # of the four maxima above


# %%
attempt(1, unpool, lambda: (
    ... if unpool(np.ones((1, 1)), np.zeros((1, 1), int), 2, 2) is ...
    else teach.show([steps[2], unpool(steps[1], places, 4, 4)], ["the library", "yours"], cmap="Blues")
    or ("compare the two pictures" if not np.array_equal(unpool(steps[1], places, 4, 4), steps[2])
        else np.array_equal(unpool(np.ones((1, 2)), np.array([[1, 5]]), 2, 4), [[0, 1, 0, 0], [0, 1, 0, 0]])
        or "right for a square; but what about a map of 2 x 4?")))  # fmt: skip

# %% [markdown]
# ## Exercise 2: how many convolutions read you?
#
# A dense block has $L$ layers, each with a 1 x 1 and a 3 x 3. How many convolutions read the 3 x 3 of layer `i`
# (counted from 0)? The transition after the block reads, too.


# %%
block = [int((dense.reads[:, 2 + 2 * i] > 0).sum()) for i in range(6)]  # the 3 x 3 of the six layers of block 1


def readers(i, layers):
    return ...


# %%
attempt(2, readers, lambda: (
    ... if readers(0, 6) is ... else [readers(i, 6) for i in range(6)] == block
    or f"the graph of DenseNet-121 says {block[-1]} for the last layer of a block"))  # fmt: skip

# %%
# hint(1); hint(2)

# %% [markdown]
# ## Next
#
# You have seen the family and its neighbours. Train one of them on your own pictures: notebook
# [11](11_train_fail_repair.ipynb), or `python -m minideeplab.train --model unet --data YOUR_FOLDER`.
