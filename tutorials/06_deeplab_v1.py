# %% [markdown]
# # 06 DeepLab v1
#
# **How did a network that names photographs become one that labels every pixel, in 2014 and with three ideas?**
#
# You need: convolution and its rate ([02](02_holes.ipynb)), counting ([03](03_fields_and_costs.ipynb)). You will see:
# VGG-16 with holes, its bottleneck fc6 shrinking from 103 to 5 million weights, coarse scores and what sharpens them;
# about 25 minutes.

# %%
import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(6)

# %% [markdown]
# This row is the whole method. A small DeepLab v1, trained on drawn shapes, looks at a picture that it has never
# seen. It gives scores (one number for each class) for every *eighth* pixel only. They are enlarged eight times. A
# **dense CRF** then asks the image for the edges: it moves the labels so that pixels of one colour agree. Notebook
# [07](07_dense_crf.ipynb) takes it apart; here `crf.refine` does it.

# %%
from minideeplab import cost, crf, models
from minideeplab.autograd import Tensor, no_grad, ops
from minideeplab.data import normalise
from minideeplab.evaluation import Predictor

network = teach.trained("v1").model
palette = teach.classes().palette
image, truth = teach.sample(18)
layers = cost.trace(network, Tensor(normalise(image[None])))
coarse = next(layer.values[0] for layer in layers if layer.name == "scores.fc8")  # (16, 18, 7)
scores = Predictor(network)(image).scores.numpy()[0]  # (120, 134, 7): coarse, enlarged
sharp = crf.refine(scores, image, "deeplab-v1", kind="logits")
rough, smooth, refined = (palette[each.argmax(axis=-1)] for each in (coarse, scores, sharp))
teach.show(
    [image, rough, smooth, refined, palette[truth]],
    ["image", f"scores, {rough.shape[0]} x {rough.shape[1]}", "enlarged 8 times", "dense CRF", "truth (light: void)"],
)

# %% [markdown]
# ## 1. Two problems
# **VGG-16** was made for ImageNet, a set of photographs with one name each. It answers one question: what is in the
# picture? It has thirteen 3x3 convolutions in five blocks. Behind each block stands a max pooling of **stride** 2: it
# keeps the largest of 2x2 values. Three *fully connected* layers follow, fc6 to fc8: each output reads all inputs.
# For segmentation VGG-16 has two faults:
#
# | fault | why it was no fault before | v1's answer |
# | --- | --- | --- |
# | **down-sampling**: one position stands for 32 x 32 pixels | one answer needs no positions | the hole algorithm |
# | **invariance**: a pooled feature does not say *where* it was found | a cat is a cat anywhere | a dense CRF |
#
# First the down-sampling. Suppose that a perfect network puts the *true* shares of the classes into a map of stride
# $s$. We enlarge the map and take the best class. How much of the truth comes back?

# %%
from minideeplab.evaluation import ConfusionMatrix


def through_a_map(labels, stride):
    """The labels that remain of the truth in a map of that stride, enlarged bilinearly."""
    h, w = (n // stride * stride for n in labels.shape)
    one_hot = (labels[:h, :w, None] == np.arange(7)).astype(np.float32)
    shares = one_hot.reshape(h // stride, stride, w // stride, stride, 7).mean(axis=(1, 3))  # (H / s, W / s, 7)
    with no_grad():
        large = ops.resize_bilinear(Tensor(shares[None]), h, w, align_corners=False).numpy()[0]
    return labels[:h, :w], large.argmax(axis=-1)


strides, best = (32, 16, 8, 4), []
for stride in strides:
    confusion = ConfusionMatrix(7)
    for number in range(20):
        confusion.update(*through_a_map(teach.sample(number)[1], stride))
    best.append(100 * confusion.mean_iou())
shown = teach.sample(14)[1][:128, :128]
teach.show(
    [palette[through_a_map(shown, s)[1]] for s in strides] + [palette[shown]],
    [f"stride {s}: {b:.0f} %" for s, b in zip(strides, best, strict=True)] + ["truth"],
)
check("best mIoU at stride 32, 16, 8, 4, %", np.array(best), [48, 84, 98, 100], 1)

# %% [markdown]
# Stride 32 loses half of the score before any network has made an error. Stride 8 loses two points: v1 stops there.
#
# Now the invariance. A bar moves to the right, by one pixel and by four. Three max poolings later nobody can tell.


# %%
def pooled(x, times):
    for _ in range(times):
        h, w = (n // 2 * 2 for n in x.shape)
        x = x[:h, :w].reshape(h // 2, 2, w // 2, 2).max(axis=(1, 3))
    return x


bars = [np.zeros((32, 32)) for _ in range(3)]
for shift, bar in zip((0, 1, 4), bars, strict=True):
    bar[8:24, 16 + shift : 20 + shift] = 1
maps = [pooled(bar, 3) for bar in bars]
teach.show(
    [*bars, *maps], ["bar", "1 pixel further", "4 pixels further"] + ["pooled 3 times"] * 3, 6, cmap="Blues", vmax=1.4
)
check("positions that change for a shift of 1 pixel", int((maps[0] != maps[1]).sum()), 0)
check("and for a shift of 4 pixels", int((maps[0] != maps[2]).sum()), 0)

# %% [markdown]
# ## 2. The hole algorithm
# The last two poolings lose their stride. The maps stay large, but the filters that follow were made for maps half as
# large: their neighbours are now two positions away. So the filters get **holes**: taps at a **rate** of 2.
#
# The paper's figure 1 has it in one dimension: kernel 3, input stride 2, output stride 1:
#
# $$y[i] = \sum_k x[i + r k]\, w[k]$$

# %%
axes = teach.panels(1, 2, 2.5)
for a, step, title in zip(axes, (2, 1), ("stride 2, then rate 1", "stride 1, then rate 2"), strict=True):
    inputs, outputs = np.arange(0, 13, step), np.arange(2, 11, step)
    for i in outputs:
        for tap in (-1, 0, 1):
            a.plot([i + 2 * tap, i], [0, 1], color=teach.ORANGE if i % 4 == 2 else teach.SKY, lw=1.6, zorder=1)
    a.plot(inputs, 0 * inputs, "o", color=teach.BLUE, markersize=10)
    a.plot(outputs, 0 * outputs + 1, "s", color=teach.RED, markersize=10)
    a.set(
        yticks=[0, 1],
        yticklabels=["input", "output"],
        xlabel="position, pixels",
        xlim=(-0.8, 12.8),
        ylim=(-0.3, 1.3),
        title=f"{title}: {len(outputs)} outputs",
    )

# %% [markdown]
# Each old output is still there, unchanged: an orange or blue fan on the left stands on the right, too. Between them
# there are new ones. This holds for many layers at once. We take the *trained* VGG layers up to conv5_3 (the third
# convolution of block 5), with VGG's poolings of 2x2. They run once with strides, once with holes, with the same
# weights. The difference is pooling 4: a stride of 2, or a stride of 1 and rate 2 in block 5.

# %%
from minideeplab.models.backbones.vgg import VGGFeatures

state = {k.removeprefix("backbone."): v for k, v in network.state_dict().items() if k.startswith("backbone.")}
strided = VGGFeatures(((2, 2, 0),) * 4 + ((1, 1, 0),), width=0.25)  # (size, stride, padding) of the poolings
holes = VGGFeatures(((2, 2, 0),) * 3 + ((2, 1, 0), (1, 1, 0)), rates=(1, 1, 1, 1, 2), width=0.25)
strided.load_state_dict(state)
holes.load_state_dict(state)
crop = Tensor(normalise(image[None, :112, :112].copy()))
with no_grad():
    sparse, dense = (net.run(crop)[0][-1].numpy()[0] for net in (strided, holes))
channel = int(sparse.std(axis=(0, 1)).argmax())
teach.show(
    [image[:112, :112], sparse[..., channel], dense[::2, ::2, channel], dense[..., channel]],
    [
        "image",
        f"strides: {sparse.shape[0]} x {sparse.shape[1]}",
        "holes, every second",
        f"holes: {dense.shape[0]} x {dense.shape[1]}",
    ],
    cmap="viridis",
)
check(
    "largest difference between the old outputs and every second new one", abs(dense[::2, ::2] - sparse).max(), 0, 1e-5
)
check("the features are not all zero", sparse.max() > 0.01)

# %% [markdown]
# > **Check it.** A slide says that zeros are "put in" between the taps. On paper one may write such a filter. Nobody
# > multiplies by them: a filter of rate 12 has the same nine taps and the same number of multiplications as one of
# > rate 1.

# %%
from kernels.geometry import Window

windows = {rate: Window.conv((1, 41, 41, 512), (3, 3, 512, 1024), rate=rate, padding="same") for rate in (1, 2, 4, 12)}
check("multiply-adds at rate 12 over rate 1", windows[12].macs / windows[1].macs, 1.0)
teach.table(
    [[r, cost.effective_kernel(3, r), 9, w.macs / 1e9] for r, w in windows.items()],
    ["rate", "covers, positions", "taps", "multiply-adds, 1e9"],
)

# %% [markdown]
# ## 3. The bottleneck: fc6
# A fully connected layer on a map of 7x7 is a 7x7 convolution, so VGG-16 can slide over images of any size. But look
# where its weights are.

# %%
vgg = cost.cost_of(models.build("vgg16", dense=True), 224)
convs = [layer for layer in vgg.layers if layer.parameters]
axes = teach.panels(1, 1, 2.6)
axes.bar(
    [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)] + ["fc6", "fc7", "fc8"],
    [layer.parameters / 1e6 for layer in convs],
    color=[teach.BLUE] * 13 + [teach.RED] * 3,
)
axes.tick_params(axis="x", rotation=60)
axes.set(ylabel="weights, million", title=f"VGG-16: {vgg.parameters / 1e6:.0f} million weights, three of four in fc6")
fc6 = next(layer for layer in vgg.layers if "fc6" in layer.name)
check("weights of fc6: 512 x 7 x 7 x 4096 and biases", fc6.parameters, 512 * 7 * 7 * 4096 + 4096)
check("share of fc6 in all weights", fc6.parameters / vgg.parameters, 0.743, 0.001)

# %% [markdown]
# At stride 32 fc6 reads 7x7 neighbours. At stride 8 these lie four positions apart: rate 4. That is 49 taps times
# 4096 outputs at *every* position. The authors took fewer taps and a larger rate, then fewer channels. One line of
# arithmetic says what fc6 sees: a kernel $k$ at rate $r$ spans $k_e = k + (k - 1)(r - 1)$ positions, and the paper's
# field of view is $8\,(k_e + 3)$ pixels. (The paper gives no formula: this one fits all four of its rows.)


# %%
import matplotlib.pyplot as plt


def draw_fc6(axes, kernel, rate, title):
    """The taps of fc6 on the map of an image of 321 pixels, 41 x 41."""
    taps = 20 + (np.arange(kernel) - (kernel - 1) / 2) * rate
    span = cost.effective_kernel(kernel, rate)
    axes.add_patch(plt.Rectangle((20 - span / 2, 20 - span / 2), span, span, color=teach.SKY, alpha=0.3))
    x, y = np.meshgrid(taps, taps)
    axes.plot(x.ravel(), y.ravel(), "s", color=teach.RED, markersize=3.4)
    axes.set(xlim=(-0.5, 40.5), ylim=(40.5, -0.5), aspect="equal", title=title, xlabel="position")


axes = teach.panels(1, 4, 2.6, sharey=True)
for a, (name, (kernel, rate, hidden)) in zip(
    axes,
    (("7x7", (7, 4, 4096)), ("basic", (4, 4, 4096)), ("4x4-r8", (4, 8, 4096)), ("largefov", (3, 12, 1024))),
    strict=True,
):
    draw_fc6(a, kernel, rate, f"{name}: {kernel}x{kernel}, rate {rate}\n{kernel * kernel} taps, {hidden} channels")
weights = {"7x7": 512 * 49 * 4096 + 4096, "largefov": 512 * 9 * 1024 + 1024}
check("weights of fc6 in million: 7x7, and largefov", np.array(list(weights.values())) / 1e6, [102.8, 4.7], 0.05)

# %% [markdown]
# Nine taps reach as far as forty-nine. Now the paper's table 2 (v1; table 1 in v2): what can be computed is computed
# here, and the accuracy is *quoted*, from networks that were trained on PASCAL VOC. (The image
# is 513 pixels wide; networks with poolings of 2x2 take 514, so that all maps have whole positions.)

# %%
variants = {"7x7": (7, 4, 514), "basic": (4, 4, 514), "4x4-r8": (4, 8, 514), "largefov": (3, 12, 513)}
quoted = {"7x7": (64.38, 67.64), "basic": (59.80, 63.74), "4x4-r8": (63.41, 67.14), "largefov": (62.25, 67.64)}
rows = []
for name, (kernel, rate, size) in variants.items():
    c = cost.cost_of(models.build(f"deeplabv1-{name}"), size)
    view = 8 * (cost.effective_kernel(kernel, rate) + 3)
    rows.append([name, f"{kernel}x{kernel}", rate, view, c.parameters / 1e6, c.macs / 1e9, *quoted[name]])
columns = list(zip(*rows, strict=True))
check("field of view, as in the paper", np.array(columns[3]), [224, 128, 224, 224])
check("parameters, million, as in the paper", np.array(columns[4]), [134.3, 65.1, 65.1, 20.5], 0.05)
check("multiply-adds at test size, 1e9", np.array(columns[5]), [611, 318, 318, 129], 0.6)
check("points that the small field costs, quoted", np.subtract(quoted["4x4-r8"], quoted["basic"]), [3.61, 3.40], 1e-9)
heads = ["variant", "fc6", "rate", "field of view, px", "parameters, million", "multiply-adds, 1e9"]
teach.table(rows, [*heads, "mIoU, quoted", "with CRF, quoted"])

# %% [markdown]
# LargeFOV has less than a sixth of the weights of 7x7, about a fifth of the work, and the same score with the CRF.
# The small field of view costs 3 to 4 points: compare basic with 4x4-r8, which has the same weights.
#
# The paper also names the *whole* field, which counts the layers before fc6: 404 pixels, and 308 for the 4x4 kernel
# at rate 4. The recurrence of [notebook 03](03_fields_and_costs.ipynb) gives both.

# %%
blocks = (2, 2, 3, 3, 3)
vgg_chain = []  # (kernel, stride, rate) of each layer
for block, count in enumerate(blocks):
    vgg_chain += [(3, 1, 2 if block == 4 else 1)] * count
    vgg_chain += [(2, 2, 1) if block < 3 else (2, 1, 1) if block == 3 else (3, 1, 1)]  # the poolings
fields = [cost.receptive_field([*vgg_chain, (kernel, 1, 4)]) for kernel in (7, 4)]
check("field of the 7x7 kernel, pixels", fields[0], 404)
check("field of the 4x4 kernel, pixels", fields[1], 308)

# %% [markdown]
# ## 4. Coarse scores, eight times larger
# A stride of 8 sounds poor. But scores are **smooth**: the features next to each other have seen almost the same
# pixels. A smooth map can be kept on few points. We test that: drop every second position, enlarge again, and see
# what is lost. The image itself fails this test.


# %%
def lost(x):
    """Share of the variance that is lost if every second position is dropped and interpolated."""
    with no_grad():
        half = Tensor(np.ascontiguousarray(x[None, ::2, ::2], np.float32))
        back = ops.resize_bilinear(half, *x.shape[:2], align_corners=True).numpy()[0]
    return ((back - x) ** 2).sum() / ((x - x.mean(axis=(0, 1))) ** 2).sum()


part = coarse[:15, :15]
small_image = image[:120, :120].reshape(15, 8, 15, 8, 3).mean(axis=(1, 3))
label = int(np.bincount(truth[(truth > 0) & (truth < 255)]).argmax())
teach.show(
    [small_image.astype(np.uint8), image, coarse[..., label], scores[..., label]],
    ["means of 8 x 8 pixels", "image", f"score of {teach.classes().class_names[label]}", "enlarged 8 times"],
)
check("share that the scores lose", lost(part), 0.034, 0.005)
check("the image at the same size loses more than twice as much", lost(small_image) > 2 * lost(part))

# %% [markdown]
# So bilinear enlargement is enough, and it costs nothing to learn. What it cannot do is sharpen: scores that are
# blurred stay blurred, and the network's scores are. Where the edge runs, only the image knows.
#
# ## 5. Why a fully connected CRF
# Earlier CRFs for images joined each pixel to its direct neighbours: **short range**. Such a model was made for noisy
# scores, and it smooths. Our scores are smooth already. We need the opposite: each pixel asks *all* others, the more
# the nearer they are and the more they look alike. `sxy` is this reach, in pixels. Both models get the same scores
# here; only the reach differs.


# %%
def reach(scores, image, sxy):
    return crf.refine(scores, image, "deeplab-v1", kind="logits", sxy=sxy, smooth_sxy=min(sxy, 3))


known = truth != 255
results = {
    "scores alone": scores,
    "short range, 1 px": reach(scores, image, 1),
    "long range, 80 px": reach(scores, image, 80),
}
right = {name: 100 * (each.argmax(axis=-1) == truth)[known].mean() for name, each in results.items()}
teach.show(
    [image, *(palette[each.argmax(axis=-1)] for each in results.values())],
    ["image", *(f"{name}:\n{share:.1f} % right" for name, share in right.items())],
)
check(
    "short range gains less than half of long range",
    right["short range, 1 px"] - right["scores alone"] < 0.5 * (right["long range, 80 px"] - right["scores alone"]),
)

# %% [markdown]
# It shows best on a thin bar. The scores here are *not* a network's: they are the truth, averaged over 8 x 8 pixels
# and enlarged. So the bar of 2 pixels has almost gone, as in a score map. The bar has the colour of the square, and
# the square is sure of its label.

# %%
shape = np.zeros((64, 96), np.uint8)
shape[12:44, 8:40] = 1
shape[27:29, 40:88] = 1  # the bar
rng = np.random.default_rng(0)
drawn = (np.where(shape, 180, 90)[..., None] + rng.normal(0, 6, (64, 96, 3))).clip(0, 255).astype(np.uint8)
share = shape.reshape(8, 8, 12, 8).mean(axis=(1, 3))  # (8, 12): of stride 8
with no_grad():
    p = ops.resize_bilinear(Tensor(share[None, ..., None].astype(np.float32)), 64, 96, align_corners=False).numpy()[
        0, ..., 0
    ]
p = 0.02 + 0.96 * p
logits = np.stack([np.log(1 - p), np.log(p)], axis=-1)
near, far = (reach(logits, drawn, sxy).argmax(axis=-1) for sxy in (1, 80))
teach.show(
    [drawn, p, palette[(p > 0.5).astype(int)], palette[near], palette[far]],
    ["image", "probability", "best label", "short range, 1 px", "long range, 80 px"],
    cmap="Blues",
    vmin=0,
    vmax=1,
)
bar = np.s_[27:29, 48:80]
check("share of the bar after a short-range CRF", near[bar].mean(), 0, 0.05)
check("share of the bar after a fully connected one", far[bar].mean(), 1, 0.05)

# %% [markdown]
# How the CRF works is [notebook 07](07_dense_crf.ipynb). There also is the bar that a dense CRF *loses*.
#
# On 20 pictures that the small network has never seen:

# %%
predictor = Predictor(network)
tables = {"network": ConfusionMatrix(7), "with CRF": ConfusionMatrix(7)}
for number in range(20):
    picture, true = teach.sample(number)
    probabilities = predictor(picture).probabilities
    tables["network"].update(true, probabilities.argmax(axis=-1))
    tables["with CRF"].update(true, crf.refine(probabilities, picture, "deeplab-v1").argmax(axis=-1))
ours = {name: 100 * each.mean_iou() for name, each in tables.items()}
check("mIoU of our small network, %", ours["network"], 64.4, 0.5)
check("the CRF adds, points", ours["with CRF"] - ours["network"], 6.7, 0.5)

# %% [markdown]
# The paper's CRF added 3.3 to 5.4 points to networks on PASCAL VOC, in the table above.
#
# ## 6. Multi-scale prediction (MSc)
# Early maps know more about places. v1 gives the image and the first four poolings a small **branch** each: 3x3 and
# 1x1 convolutions with 128 channels. Their class scores are added to those of the top. The paper joins the channels
# before one linear layer; the released code adds scores. It is the same function, since a linear layer of joined
# channels is a sum.

# %%
msc = models.build("deeplabv1-largefov-msc", num_classes=7, width=0.25)
msc.load_state_dict(msc.state_dict() | network.state_dict())  # the trained network, and branches with random weights
piece = image[:113, :129].copy()  # sides of 8 k + 1: nothing has to be padded
x = Tensor(normalise(piece[None]))
rows = cost.trace(msc.eval(), x)
values = {}
for layer in rows:  # the last row of a name: an output after bias and ReLU
    values[layer.name] = layer.values
ends = [values[f"branches.{i}.score"] for i in range(5)]
with no_grad():
    total = msc.small_logits(x).numpy()
parts = values["scores.fc8"] + sum(ends)
check("scores of the network = top + five branches", abs(total - parts).max(), 0, 1e-4)
names = ["image", "pool1", "pool2", "pool3", "pool4"]
inputs = {i: next(layer for layer in rows if layer.name == f"branches.{i}.conv1.conv") for i in range(5)}
teach.table(
    [
        [names[i], str(l.input), l.stride, str(l.output), str(ends[i].shape[1:]), l.receptive_field]
        for i, l in inputs.items()
    ],
    ["branch on", "its input (H, W, C)", "stride of its 3x3", "after it", "scores", "field, px"],
)

# %%
with no_grad():
    stages = [stage.numpy()[0] for stage in msc.backbone.stages_of(x)]
maps = [piece, *(s[..., s.std(axis=(0, 1)).argmax()] for s in stages[:4]), values["scores.fc8"][0, ..., label]]
teach.show(
    maps, [f"{n}\n{m.shape[0]} x {m.shape[1]}" for n, m in zip([*names, "top"], maps, strict=True)], 6, cmap="viridis"
)

# %% [markdown]
# One channel of what each branch reads. From left to right the maps know less about *where* and more about *what*.
# The branches here have random weights, so we show what they read and not what they say. In the paper they gave 1.1
# to 2 points. DeepLab v3+ came back to this idea in 2018: its decoder reads one early map
# ([10](10_deeplab_v3plus.ipynb)).
#
# ## 7. The results, quoted
# Nothing was run for this picture: it shows table 1 of the paper (VOC 2012).

# %%
val = """DeepLab 59.80, MSc 61.30, CRF 63.74, MSc-CRF 65.21, LargeFOV 62.25, MSc-LargeFOV 64.21, 7x7 64.38,
CRF-7x7 67.64, CRF-LargeFOV 67.64, MSc-CRF-LargeFOV 68.70"""
test = """MSRA-CFM 61.8, FCN-8s 62.2, TTI-Zoomout-16 64.4, CRF 66.4, MSc-CRF 67.1, CRF-7x7 70.3, CRF-LargeFOV 70.3,
MSc-CRF-LargeFOV 71.6"""
val, test = ({n: float(v) for n, v in (row.split() for row in text.split(","))} for text in (val, test))
axes = teach.panels(1, 2, 3.0, sharex=True)
for a, quoted_rows, title in zip(axes, (val, test), ("validation set", "test set (grey: others)"), strict=True):
    others = ("MSRA-CFM", "FCN-8s", "TTI-Zoomout-16")
    colours = [teach.GREY if n in others else teach.ORANGE if "CRF" in n else teach.BLUE for n in quoted_rows]
    a.barh(list(quoted_rows), list(quoted_rows.values()), color=colours)
    for i, value in enumerate(quoted_rows.values()):
        a.text(value + 0.2, i, f"{value:g}", va="center", fontsize=8)
    a.tick_params(axis="y", labelsize=8)
    a.set(xlim=(55, 74), xlabel="mIoU, %", title=title)
    a.invert_yaxis()
check("what the CRF adds to LargeFOV, by the quoted numbers", val["CRF-LargeFOV"] - val["LargeFOV"], 5.39, 0.005)

# %% [markdown]
# Orange bars have the CRF. Note the axis: it begins at 55.
#
# ## What to keep
# VGG-16 gives dense features without new weights: take strides away, and put holes into what follows; the old outputs
# stay, the same to the last digits. The bottleneck is fc6: nine taps at rate 12 see as far as 49 at rate 4, for a
# fraction of the weights. Scores are smooth, so a stride of 8 and bilinear enlargement do. Edges come from the image,
# by a fully connected CRF; a short-range one would only smooth.
#
# ## Exercises
# **1.** Turn the formula of section 3 round: at which rate has a kernel a given field of view? The picture is then
# drawn with your rates.


# %%
def rate_for(kernel, view):
    return ...  # so that 8 (k_e + 3) = view


# %%
attempt(1, rate_for, lambda: [rate_for(*case) for case in ((7, 224), (4, 128), (4, 224), (3, 224))] == [4, 4, 8, 12]
    or f"224 pixels: 7x7 needs rate 4, 4x4 rate 8; you have {rate_for(7, 224):g} and {rate_for(4, 224):g}")  # fmt: skip
if np.isscalar(rate_for(3, 224)):
    for a, kernel in zip(teach.panels(1, 4, 2.4, sharey=True), (3, 5, 7, 9), strict=True):
        draw_fc6(a, kernel, rate_for(kernel, 224), f"{kernel}x{kernel}, rate {rate_for(kernel, 224):g}")

# %% [markdown]
# **2.** A colleague wants fc6 with 3x3 taps and 512 channels (fc7, too), 21 classes. How many weights and biases do
# fc6, fc7 and fc8 have together? The maps that fc6 reads have 512 channels. fc7 and fc8 are 1x1 convolutions.

# %%
from minideeplab.models.backbones.vgg import Scores  # fc6, fc7 and fc8, for the check

my_count = ...

# %%
attempt(2, my_count, lambda: my_count == sum(p.data.size for p in Scores(512, 21, 3, 12, hidden=512).parameters())
    or ("these are the weights alone: each output channel has a bias, too"
        if my_count == sum(p.data.size for p in Scores(512, 21, 3, 12, hidden=512).parameters() if p.data.ndim > 1)
        else "not that number: count fc6, fc7 and fc8 one by one; fc7 and fc8 have a single tap"))  # fmt: skip

# %% [markdown]
# `hint(1)` and `hint(2)` help, and say where the answers stand.

# %% [markdown]
# ## Next
# [07](07_dense_crf.ipynb) opens the CRF. [08](08_pyramids.ipynb) shows what v2 did with several rates at once.
