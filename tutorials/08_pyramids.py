# %% [markdown]
# # 08 Pyramids
#
# **How does a network see a face, and the person, and the room, in one glance?**
#
# You need: atrous convolution ([02](02_holes.ipynb)) and what output stride means ([03](03_fields_and_costs.ipynb)).
# You will see: pyramids of pooling, of rates and of scales, each drawn and measured; about 25 minutes.

# %%
import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(8)

# %% [markdown]
# Objects come in all sizes. A **pyramid** looks at the same place with several sizes at once. Below is one pyramid on
# a photograph: **ASPP** (atrous spatial pyramid pooling). It is the **head** of DeepLab v2: the last part, which makes
# scores of the backbone's maps. These have output stride 8. Four 3x3 convolutions with the rates 6, 12, 18 and 24 look
# at the same position; each mark is one tap. (Set the environment variable `MINIDEEPLAB_PHOTOGRAPHS` to a photograph,
# or to a folder of them, and yours is taken.)

# %%
photo = teach.photograph(385)
middle, stride = np.array(photo.shape[:2]) // 2, 8
axes = teach.panels(1, 1, 2.9)
axes.imshow(photo, alpha=0.75)
styles = {6: (teach.BLUE, "o"), 12: (teach.RED, "s"), 18: (teach.GREEN, "^"), 24: (teach.BLACK, "D")}
for rate, (colour, mark) in styles.items():
    rows, columns = (np.array([-1, 0, 1]) * rate * stride + m for m in middle)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    label = f"rate {rate}: taps {rate * stride} pixels apart"
    axes.plot(x.ravel(), y.ravel(), mark, color=colour, markeredgecolor="white", markersize=8, label=label)
axes.set(xlim=(-70, photo.shape[1] + 480), ylim=(photo.shape[0] + 8, -8))
axes.legend(loc="center right")
axes.set_axis_off()

# %% [markdown]
# The blue dots look at the face, the red squares from the hat to the shoulders, the black diamonds at the whole scene.
# Taps beside the photograph read zeros: the padding.
#
# ## 1. Spatial pyramid pooling: bins
#
# The first pyramid is older than DeepLab. **SPP-net** (2014) classifies images of any size. But its fully connected
# layers have a fixed number of inputs ([06](06_deeplab_v1.ipynb)), so they need a vector of one length. The network
# divides the last map into $n \times n$ **bins** and keeps the largest value of each, for several $n$:
#
# $$v = \big[\max_{\text{bin } (i, j) \text{ of } n \times n} x \;\big|\; n = 4, 2, 1\big],
# \qquad 16 + 4 + 1 = 21 \text{ bins}$$

# %%
places = teach.panels(1, 3, 2.3)
for axes, n in zip(places, (4, 2, 1), strict=True):
    teach.draw_bins((24, 20), n, image=photo, axes=axes)
    axes.set_title(f"{n} x {n} = {n * n} bins" if n > 1 else "1 bin: the whole image")

# %%
from minideeplab import Tensor, no_grad, ops
from minideeplab.models.sppnet import SpatialPyramidPooling, spp_window

rng, spp = np.random.default_rng(0), SpatialPyramidPooling(bins=(4, 2, 1))
maps = [rng.standard_normal((1, *size, 256)).astype(np.float32) for size in ((13, 13), (10, 17))]
vectors = [spp(Tensor(each)).numpy().ravel() for each in maps]
check("numbers of a map of 13 x 13 x 256", len(vectors[0]), 21 * 256)
check("numbers of a map of 10 x 17 x 256", len(vectors[1]), 21 * 256)
largest = [teach.pooled(maps[0][0], n).ravel() for n in (4, 2, 1)]
check("the layer gives the largest value of each bin", np.array_equal(vectors[0], np.concatenate(largest)))

# %% [markdown]
# > **Check it.** A slide gives the rule: on a map of $a \times a$, level $n$ pools with a window of
# > $\lceil a / n \rceil$ at a stride of $\lfloor a / n \rfloor$, and gets $n \times n$ bins. Try $a = 7$, $n = 4$:
# > the window is 2, the stride is 1.

# %%
places = teach.panels(1, 2, 3.7)
for axes, rule in zip(places, ("window", "adaptive"), strict=True):
    teach.draw_bins(7, 4, rule, axes=axes)
    axes.set_title(f"rule '{rule}': {len(teach.bins_of(7, 4, rule))} bins a side")
check("window and stride for a = 7, n = 4", spp_window(7, 4), (2, 1))
check("bins a side that this rule gives", len(teach.bins_of(7, 4, "window")), 6)
check("bins a side of the adaptive rule", len(teach.bins_of(7, 4, "adaptive")), 4)

# %% [markdown]
# The bars above each map show the bins of a row. Two bars over the same position mean that two bins read it. The
# slide's rule gives 36 bins, not 16, and the fully connected layer behind it would not fit. The **adaptive** rule cuts
# at fractions instead:
#
# $$\text{bin } i = \big[\lfloor i\,a / n \rfloor,\; \lceil (i + 1)\,a / n \rceil\big)$$
#
# How often is the first rule right?

# %%
sizes = np.arange(4, 41)
axes = teach.panels(1, 1, 2.6)
for n, colour, mark in ((4, teach.BLUE, "o"), (3, teach.GREEN, "s"), (2, teach.RED, "^")):
    counts = [len(teach.bins_of(a, n, "window")) for a in sizes]
    axes.plot(sizes, counts, mark, color=colour, markersize=5, label=f"n = {n} wanted")
    axes.axhline(n, color=colour, linewidth=0.8, linestyle=":")
axes.set(xlabel="side a of the map, positions", ylabel="bins a side, rule 'window'", yticks=range(2, 8))
axes.legend()
axes.grid(alpha=0.3)
wrong = [a for a in sizes.tolist() if len(teach.bins_of(a, 4, "window")) != 4]
check("sides from 4 to 40 where n = 4 fails", wrong, [6, 7, 11])

# %% [markdown]
# So the rule holds for most maps, such as the paper's of 13 x 13, and fails silently for a few small ones. Our
# `SpatialPyramidPooling(rule="window")` raises an error there; `adaptive` is the default.
#
# ## 2. PSPNet: the pyramid comes back to every pixel
#
# A vector says what is in the image. Segmentation also asks *where*. **PSPNet** (2016) pools to 1, 2, 3 and 6 bins,
# then enlarges each level to the size of the map and puts it beside the map. Every position then knows its own
# features and the mean of its neighbourhood, its quarter, and the whole image. Below, the "features" are the three
# colours of a photograph; these four pictures are put beside them.


# %%
def enlarged(level, h, w):
    return ops.resize_bilinear(Tensor(level[None].astype(np.float32)), h, w).numpy()[0]


h, w = photo.shape[:2]
levels = [teach.pooled(photo / 255, n, pooling="average") for n in (1, 2, 3, 6)]
images = [enlarged(level, h, w)[::5, ::5] for level in levels]
teach.show(images, ["1 bin", "2 x 2 bins, enlarged", "3 x 3", "6 x 6"])

# %%
means = ops.adaptive_average_pool2d(Tensor((photo[None] / 255).astype(np.float32)), 6, 6).numpy()[0]
check("our bins and the library's pooling: largest difference", np.abs(means - levels[3]).max(), 0, 1e-5)

# %% [markdown]
# The paper compares three choices, each with its own name:
# - **B1** or **B1236**: only the whole image, or all four levels;
# - **MAX** or **AVE**: the largest or the mean value of a bin;
# - **DR** (dimension reduction): a 1x1 convolution reduces each level to a quarter of the channels first.
#
# The largest value follows a single pixel, the mean follows all of them. Here one pixel of a map of 12 x 12, whose
# values lie between 0 and 1, becomes 5:

# %%
calm = np.random.default_rng(1).random((12, 12))
loud = calm.copy()
loud[3, 8] = 5
pictures = [calm, teach.pooled(calm, 3), teach.pooled(calm, 3, pooling="average")]
pictures += [loud, teach.pooled(loud, 3), teach.pooled(loud, 3, pooling="average")]
names = ["map", "MAX, 3 x 3 bins", "AVE, 3 x 3 bins", "one pixel changed", "MAX", "AVE"]
teach.show(pictures, names, columns=6, vmin=0, vmax=1.5, cmap="viridis")
changes = [np.abs(pictures[i + 3] - pictures[i]).max() for i in (1, 2)]
check("the largest value of its bin changes by", changes[0], 4.02, 0.01)
check("the mean of its bin changes by", changes[1], 0.26, 0.005)

# %% [markdown]
# Now cost against accuracy. The cost is counted here, at 473 x 473. The accuracy is **quoted** from table 1 of the
# paper (ADE20K val, ResNet-50; nothing of it was run here).

# %%
from minideeplab import models
from minideeplab.cost import cost_of


def pspnet(bins, reduce):
    cost = cost_of(models.create("pspnet", bins=bins, reduce=reduce, auxiliary=False), 473)
    return cost.macs / 1e9, cost.parameters / 1e6


ALL = (1, 2, 3, 6)
networks = {"no pyramid": ((), False), "B1": ((1,), False), "B1236": (ALL, False), "B1236 + DR": (ALL, True)}
costs = {name: pspnet(*options) for name, options in networks.items()}
forms = {"no pyramid": "baseline", "B1": "B1, {}", "B1236": "B1236, {}", "B1236 + DR": "B1236, {}, DR"}
known = {form: miou for form, miou, _ in teach.paper_tables.PSPNET_POOLING.rows}
quoted = {name: [known[form.format(kind)] for kind in ("MAX", "AVE")] for name, form in forms.items()}
table = [[name, round(costs[name][0], 1), round(costs[name][1], 1), *quoted[name]] for name in networks]
teach.table(table, ["PSPNet", "multiply-adds, 1e9", "parameters, 1e6", "mIoU MAX, quoted", "mIoU AVE, quoted"])

# %%
axes = teach.panels(1, 1, 3)
for name, (macs, _) in costs.items():
    for value, colour, mark in zip(quoted[name], (teach.RED, teach.BLUE), "so", strict=True):
        axes.plot(macs, value, mark, color=colour, markersize=8)
    at_left = name == "B1236 + DR"
    axes.annotate(name, (macs, quoted[name][1]), (-9 if at_left else 9, -3), textcoords="offset points",
                  ha="right" if at_left else "left")  # fmt: skip
axes.plot([], [], "o", color=teach.BLUE, label="AVE (no pyramid: both alike)")
axes.plot([], [], "s", color=teach.RED, label="MAX")
axes.set(xlabel="1e9 multiply-adds (counted)", ylabel="mIoU, % (quoted)", xlim=(110, 300), ylim=(36.5, 42.5))
axes.legend(loc="lower right")
axes.grid(alpha=0.3)
added = {name: macs - costs["no pyramid"][0] for name, (macs, _) in costs.items()}
check("what all levels add without reduction, 1e9", added["B1236"], 135.9, 0.05)
check("what they add with reduction, 1e9", added["B1236 + DR"], 34.03, 0.005)

# %% [markdown]
# Reduction makes the pyramid four times cheaper **and** better. Without it, the pooled levels are four fifths of all
# channels and outvote the features (4 levels of 2048 beside 2048). With it, they are half of them (4 of 512). That is
# as many as B1 has: the same cost, and 1.6 points more. DeepLab v3+ reduces its low-level features for the same reason
# ([10](10_deeplab_v3plus.ipynb)).
#
# ### The auxiliary loss
#
# PSPNet trains with a second, small head on an earlier stage: the gradient has a shorter way to the first layers. Its
# loss is added with a weight $\alpha$; the head is thrown away afterwards:
#
# $$L = L_{\text{main}} + \alpha L_{\text{auxiliary}}$$

# %%
from minideeplab.data import normalise

picture, truth = teach.sample(0)
x, labels = Tensor(normalise(picture[None, :97, :97])), truth[None, :97, :97]
weights, known = zip(*((weight or 0, miou) for weight, miou in teach.paper_tables.PSPNET_AUXILIARY.rows), strict=True)
losses = []
with no_grad():
    for weight in weights:
        net = models.build("pspnet", num_classes=7, width=0.125, auxiliary_weight=weight).eval()
        losses.append(net.loss(x, labels).item())
left, right = teach.panels(1, 2, 2.6)
left.plot(weights, losses, "o-", color=teach.BLUE)
left.set(xlabel="weight of the auxiliary loss", ylabel="loss, untrained (computed)", ylim=(0, 1.1 * losses[-1]))
right.plot(weights, known, "s-", color=teach.RED)
right.set(xlabel="weight of the auxiliary loss", ylabel="mIoU, % (quoted, PSPNet)")
slopes = np.diff(losses) / np.diff(weights)
check("the loss is a line in the weight: its slopes differ by", np.ptp(slopes), 0, 1e-3)
check("the paper's best weight (quoted)", weights[int(np.argmax(known))], 0.4)

# %%
both, main = (cost_of(models.create("pspnet", auxiliary=on), 473) for on in (True, False))
check("parameters of the auxiliary head", both.parameters - main.parameters, 2_365_205)
check("1e9 multiply-adds of it, in training only", (both.macs - main.macs) / 1e9, 8.513, 0.001)

# %% [markdown]
# ## 3. ASPP: skip instead of pool
#
# DeepLab v2 keeps every position: no bins. Each **branch** is an atrous convolution with its own **rate** $r$ and its
# own weights, and the class scores are added:
#
# $$s[i] = \sum_{b} s_b[i]$$
#
# ASPP-L (large) has the rates $6, 12, 18, 24$, ASPP-S (small) has $2, 4, 8, 12$.
#
# A branch sees what its taps see: the field of the network below, plus $2r \cdot 8$ pixels.


# %%
def fields(name):
    layers = cost_of(models.create(name), 513).layers
    below = [l for l in layers if l.name == "backbone" or "backbone" in l.name][-1].receptive_field
    return below, {l.rate: l.receptive_field for l in layers if l.name.endswith("fc6.conv")}


axes = teach.panels(1, 1, 2.9)
for y, (name, colour) in enumerate({"deeplabv2-aspp-s": teach.SKY, "deeplabv2-aspp-l": teach.ORANGE}.items()):
    below, branches = fields(name)
    for k, (rate, field) in enumerate(branches.items()):
        place = y * 5 + k
        axes.barh(place, field, left=-field / 2, color=colour)
        axes.plot([-8 * rate, 0, 8 * rate], [place] * 3, "o", color=teach.BLACK, markersize=4)
        axes.text(325, place, f"rate {rate}: {field} pixels", va="center")
axes.set(yticks=[1.5, 6.5], yticklabels=["ASPP-S", "ASPP-L"], xlim=(-320, 490), xlabel="pixels from the position")
axes.set_title("dots: taps; bar: what the branch sees")
axes.invert_yaxis()
check("field of a position below ASPP, pixels", below, 227)
check("field of the branch of rate 24", branches[24], 227 + 2 * 24 * 8)

# %% [markdown]
# Each dot stands for a column of taps. What a tap reads has itself a field of 227 pixels. So the bar is longer than its
# dots, and it has no gaps.
#
# ### What each branch says
#
# A small ASPP-S (a quarter of the channels) was trained on drawn shapes. Its branches are added, so that we can ask
# each one: what do you add to the score of a class? Purple adds, orange takes away. (The mean over all classes is
# subtracted: what all classes get alike decides nothing.)

# %%
v2 = teach.trained("v2").model


def cut(array):
    "The sides cut to 8 k + 1 pixels: every eighth pixel is the middle of a position."
    height, width = (8 * ((side - 1) // 8) + 1 for side in array.shape[:2])
    return array[:height, :width]


def branches_of(model, image):
    "Scores of each branch (h, w, classes), and the network's own."
    x = Tensor(normalise(image[None]))
    with no_grad():
        features, _ = model.backbone(x)
        return [branch(features).numpy()[0] for branch in model.branches], model.small_logits(x).numpy()[0]


picture, truth = map(cut, teach.sample(18))
parts, logits = branches_of(v2, picture)
check("positions a side at output stride 8", logits.shape[:2], (15, 17))
check("the sum of the branches is the network's score: largest difference", np.abs(sum(parts) - logits).max(), 0, 1e-3)

# %%
paint = np.where(np.arange(256)[:, None] == 255, 224, teach.classes().palette).astype(np.uint8)
columns = [*(f"rate {rate}" for rate in v2.rates), "sum"]
places = teach.panels(2, 6, 1.45)
for line, name, left in zip(places, ("star", "cross"), (picture, paint[truth]), strict=True):
    k = teach.classes().class_names.index(name)
    line[0].imshow(left)
    line[0].set_ylabel(name)
    added = [part[..., k] - part.mean(-1) for part in (*parts, logits)]
    limit = np.quantile(np.abs(added[-1]), 0.9)
    for axes, part, title in zip(line[1:], added, columns, strict=True):
        axes.contourf(part, np.linspace(-limit, limit, 10), cmap="PuOr", extend="both")
        axes.set(title=title if name == "star" else "", aspect="equal", ylim=axes.get_ylim()[::-1])
    for axes in line:
        axes.set(xticks=[], yticks=[])

# %% [markdown]
# The branches share the work. For the star, the small rates say nearly all; for the cross, rate 2 takes away what is
# around it, and the others add. The sum is clearer than each of them.
#
# Is each branch a network of its own? Let each one decide alone, on 20 pictures:

# %%
from minideeplab.evaluation import ConfusionMatrix

alone = {name: ConfusionMatrix(7) for name in [*(f"rate {r} alone" for r in v2.rates), "all added"]}
for number in range(20):
    image, labels = map(cut, teach.sample(number))
    some, whole = branches_of(v2, image)
    for matrix, scores in zip(alone.values(), [*some, whole], strict=True):
        matrix.update(labels, enlarged(scores, *labels.shape).argmax(-1).astype(np.uint8))
scores = {name: 100 * matrix.mean_iou() for name, matrix in alone.items()}
axes = teach.panels(1, 1, 2.3)
axes.barh(list(scores), list(scores.values()), color=[teach.SKY] * 4 + [teach.BLUE])
axes.bar_label(axes.containers[0], fmt=" %.1f")
axes.set(xlabel="mean IoU on 20 pictures, %", xlim=(0, 100))
axes.invert_yaxis()
*single, added = scores.values()
check("mIoU of the sum, percent", added, 72.9, 1.0)
check("mIoU of the best branch alone, percent", max(single), 46.9, 1.0)

# %% [markdown]
# No branch was trained to decide alone: the sum was. Together they know far more than the best of them. Rate 8 alone is
# worse than the answer "all is background" (about 11 %): it corrects the others, and means nothing without them. On VOC
# the paper reports 65.76 for one branch of rate 12 (LargeFOV), 66.98 for ASPP-S and 68.96 for ASPP-L (v2, table 3,
# before the CRF; quoted).
#
# ## 4. A pyramid of the image itself
#
# The oldest pyramid resizes the *image*, runs the same network on each size, and fuses (merges) the scores. It works
# for every network. We take a small DeepLab v3+ ([10](10_deeplab_v3plus.ipynb)). Two ways:
# - DeepLab v2 takes the **largest** score of each class: $s = \max_m s_m$;
# - DeepLab v3 **averages** the probabilities: $p = \frac{1}{M} \sum_m p_m$.

# %%
from minideeplab.evaluation import Predictor

net, SCALES = teach.trained("v3plus").model, (0.5, 0.75, 1)
picture, truth = teach.sample(1)
one = [Predictor(net, (scale,), fusion="max")(picture).scores.numpy()[0] for scale in SCALES]
largest = Predictor(net, SCALES, fusion="max")(picture).scores.numpy()[0]
check("max fusion is the largest of the three scores", np.abs(np.max(one, axis=0) - largest).max(), 0, 1e-4)

winner = np.argmax([scores.max(-1) for scores in one], axis=0)
labels = [paint[scores.argmax(-1)] for scores in one]
mean = paint[Predictor(net, SCALES)(picture).labels.reshape(truth.shape)]
best = np.array([(0, 114, 178), (86, 180, 233), (240, 228, 66)], np.uint8)[winner]
pictures = [picture, *labels, best, paint[largest.argmax(-1)], mean, paint[truth]]
names = ["image", "scale 0.5", "scale 0.75", "scale 1", "whose score wins", "max (v2)", "average (v3)", "truth"]
teach.show(pictures, names, columns=4)

# %% [markdown]
# In "whose score wins", dark blue is scale 0.5, light blue 0.75, yellow 1. The maximum listens to the loudest: one
# size that is sure and wrong decides. Look at the square at the top: scale 1 finds it, and the maximum loses it. In the
# average the others can outvote the loudest.

# %%
NEAR = (0.75, 1, 1.25)
ways = {"scale 1": ((1,), "mean"), "0.5, 0.75, 1: max": (SCALES, "max"), "0.5, 0.75, 1: average": (SCALES, "mean"),
        "0.75, 1, 1.25: max": (NEAR, "max"), "0.75, 1, 1.25: average": (NEAR, "mean")}  # fmt: skip
found = {}
for name, (scales, fusion) in ways.items():
    predictor, matrix = Predictor(net, scales, fusion=fusion), ConfusionMatrix(7)
    for number in range(20):
        image, labels = teach.sample(number)
        matrix.update(labels, predictor.labels(image))
    found[name] = 100 * matrix.mean_iou()
axes = teach.panels(1, 1, 2.3)
for (name, score), mark in zip(found.items(), "osdsd", strict=True):
    axes.plot(score, name, mark, color=teach.RED if "max" in name else teach.BLUE, markersize=8)
    axes.annotate(f"{score:.1f}", (score, name), (10, -4), textcoords="offset points")
axes.set(xlabel="mean IoU on 20 pictures, %", xlim=(69, 75))
axes.grid(alpha=0.3)
axes.invert_yaxis()

# %%
for (name, score), expected in zip(found.items(), (71.9, 70.9, 71.3, 72.5, 72.9), strict=True):
    check(f"mIoU, {name}", score, expected, 0.5)
check("the average is better than the maximum", found["0.75, 1, 1.25: average"] > found["0.75, 1, 1.25: max"])

# %% [markdown]
# Here the maximum of v2's sizes costs a point, and the average of sizes near 1 gains one. The network was trained
# with factors from 0.75 to 1.25; at 0.5 it sees shapes smaller than any before. Average beats maximum for both sets
# of sizes. Quoted: multi-scale max brought v2 on ResNet-101 from 68.72 to 71.27, trained with it (v2, table 4);
# averaging brought v3 from 78.51 to 79.45 (v3, table 6).
#
# ## 5. ASPP of DeepLab v3: joined, not added
#
# DeepLab v3 changes the head: a 1x1, three 3x3 of rates 6, 12, 18 at output stride 16, and the mean of the whole map.
# The five results are **concatenated** (put beside each other, 1280 channels), then a 1x1 convolution mixes them.
#
# Adding is a special case of concatenating: a 1x1 whose weights are identity matrices on top of each other adds.

# %%
some = [rng.standard_normal((33, 33, 7)) for _ in range(4)]
weights = np.concatenate([np.eye(7)] * 4)  # (28, 7): the 1x1 convolution
check("joined, then this 1x1, is the sum: largest difference",
      np.abs(np.concatenate(some, axis=-1) @ weights - sum(some)).max(), 0, 1e-12)  # fmt: skip

# %% [markdown]
# > **Check it.** A slide calls ASPP "SPP with atrous convolutions" and draws *pooled values* in its branches. Does an
# > atrous branch pool? Ask the gradient: which positions of a map of 33 x 33 does the output in the middle read?

# %%
from minideeplab.models.aspp import ASPP
from minideeplab.models.pspnet import PyramidPooling


def reads(layer, channels=8, side=33):
    "(side, side) bool: the positions that the output in the middle depends on."
    x = Tensor(rng.standard_normal((1, side, side, channels)).astype(np.float32), requires_grad=True)
    ops.crop(layer(x), side // 2, side // 2, 1, 1).sum().backward()
    return np.abs(x.grad).max(axis=(0, 3)) > 0


aspp = ASPP(8, (6, 12, 18), width=8).initialise(0).eval()
pyramid = PyramidPooling(8, bins=(6,), reduce=False)
layers = {
    "three atrous branches": lambda x: ops.concat([branch.conv(x) for branch in aspp.branches]),
    "ASPP with the whole image": aspp,
    "pooling to 6 x 6": lambda x: pyramid(x),
    "pooling to 1": PyramidPooling(8, bins=(1,), reduce=False),
}
read = {name: reads(layer) for name, layer in layers.items()}
names = [f"{name}:\n{where.sum():,} of {where.size:,}" for name, where in read.items()]
teach.show(list(read.values()), names, cmap="cividis", vmin=0, vmax=1)

# %%
check("positions that the atrous branches read", int(read["three atrous branches"].sum()), 1 + 2 * 8)
check("positions that a pooling to 1 reads", int(read["pooling to 1"].sum()), 33 * 33)
check("positions that the whole ASPP of v3 reads", int(read["ASPP with the whole image"].sum()), 33 * 33)

# %% [markdown]
# Branches read single values through their holes: no mean, no maximum. Their taps are $1 + 3 \cdot 8 = 25$ positions,
# the middle one shared; but on this map the outer taps of rate 18 lie in the padding, so that 17 are left. What that
# does to large rates is the subject of [09](09_deeplab_v3.ipynb). Only the image-level branch of v3 pools. The name
# "pyramid pooling" stayed from SPP. (The features that are read are not single pixels: each has a field of hundreds
# of pixels, so that nothing of the image is skipped.)
#
# | pyramid | what is in it | how levels meet | what a position gets |
# | --- | --- | --- | --- |
# | SPP-net | bins, largest value | one vector | no positions left |
# | PSPNet | bins, mean | concatenated, then 3x3 | its features and four means |
# | DeepLab v2 | rates | added | scores of four rates |
# | DeepLab v3 | rates and one mean | concatenated, then 1x1 | 256 mixed channels |
# | multi-scale | sizes of the image | maximum or average | scores of all sizes |

# %% [markdown]
# ## What to keep
#
# A pyramid looks at one place with several sizes. Pooling pyramids (SPP, PSPNet) read everything and forget where it
# was; atrous pyramids (ASPP) read a few places and keep every position. Branches that are added can be drawn one by
# one. Reducing channels before joining is cheaper and better. The ceil-and-floor rule of SPP does not always give $n$
# bins.
#
# ## Exercises
#
# **1.** Write the adaptive rule yourself: the first position of each bin, and the position after its last.


# %%
def my_bins(a, n):
    "[(first, after the last)] of n bins on a positions"
    return ...


# %%
def trial_1():
    for a, n in ((12, 4), (7, 4), (13, 6), (5, 5)):
        if [tuple(map(int, span)) for span in my_bins(a, n)] != teach.bins_of(a, n):
            return f"another answer was expected for a = {a}, n = {n}"
    return True


# %%
attempt(1, my_bins, trial_1)
axes = teach.panels(1, 1, 1.7)
found = my_bins(13, 6)
spans = [span for span in found if np.size(span) == 2] if isinstance(found, (list, tuple, np.ndarray)) else []
axes.set(xlim=(0, 13), xticks=range(14), ylim=(-0.6, 1.6), yticks=[], xlabel="13 positions")
axes.set_title("your 6 bins" if spans else "Here your bins will be drawn")
for i, (start, end) in enumerate(spans):
    axes.barh(i % 2, end - start, left=start, color=(teach.BLUE, teach.ORANGE)[i % 2], edgecolor="white")

# %% [markdown]
# **2.** ASPP-L has its taps 48, 96, 144 and 192 pixels apart, at output stride 8. Which rates put the taps at the
# same pixels at another output stride? Fill in the function; the picture draws your taps over those of the first
# picture.


# %%
def rates(output_stride):
    "four rates whose taps lie 48, 96, 144 and 192 pixels apart"
    return ...


# %%
def trial_2():
    for output_stride in (4, 8, 16):
        apart = [rate * output_stride for rate in rates(output_stride)]
        if apart != [48, 96, 144, 192]:
            return f"at output stride {output_stride} your taps lie {', '.join(map(str, apart))} pixels apart"
    return True


# %%
attempt(2, rates, trial_2)
axes = teach.panels(1, 1, 2.6)
axes.set(yticks=range(3), yticklabels=["stride 4", "stride 8", "stride 16"], ylim=(2.5, -0.5), xlim=(-210, 210))
axes.set_xlabel("pixels from the position; dotted: the taps of ASPP-L")
axes.set_title("all your taps should lie on dotted lines")
for wanted in range(-192, 193, 48):
    axes.axvline(wanted, color=teach.GREY, linewidth=0.8, linestyle=":")
for at, (output_stride, mark) in enumerate({4: "o", 8: "s", 16: "^"}.items()):
    found = rates(output_stride)
    own = found if isinstance(found, (list, tuple, np.ndarray)) else []
    taps = [0, *(side * rate * output_stride for rate in own for side in (-1, 1))]
    axes.plot(taps, [at] * len(taps), mark, color=teach.CYCLE[at], markersize=8)

# %% [markdown]
# ## Next
#
# [09](09_deeplab_v3.ipynb): why very large rates stop working, and what the image-level branch repairs.
