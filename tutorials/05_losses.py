# %% [markdown]
# # 05 Losing sensibly
#
# **What does training minimise, which number should you see at the first step, and which choices make the number
# fall?**
#
# You need: notebook [00](00_label_maps.ipynb), what a derivative is ([04](04_backpropagation.ipynb)). You will see:
# the loss of each pixel as a heat map, what class weights do and do not do, learning rates, one picture twelve times,
# and why batches of one fail; about 35 minutes.

# %%
import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(5)

# %%
from minideeplab.evaluation import Predictor

network = teach.trained("v3plus").model  # small, trained on 2,000 pictures that code drew
image, labels = teach.sample(0)
probabilities = Predictor(network).probabilities(image)  # (H, W, 7), they sum to 1 at each pixel
void, rows, columns = labels == 255, *np.indices(labels.shape)
losses = -np.log(probabilities[rows, columns, np.where(void, 0, labels)].clip(1e-12))
grid = teach.panels(1, 4, 2.4)
grid[0].imshow(image)
grid[0].set_title("image")
grid[0].set_axis_off()
teach.draw_labels(labels, grid[1], "truth")
teach.draw_labels(probabilities.argmax(2).astype(np.uint8), grid[2], "what the network says")
teach.draw_losses(losses, void, grid[3], "loss; void is blue")

# %% [markdown]
# The right picture is the subject of this notebook. Bright pixels cost much: the network is sure there, and wrong.
# Black pixels cost nothing. Training makes the mean of this picture small, over many images. (The network is a small
# DeepLab v3+. How it is built is told in notebook [10](10_deeplab_v3plus.ipynb); here it is a box that gives seven
# numbers for each pixel. A `Predictor` runs it on images of any size.)
#
# ## 1. The loss of one pixel: cross-entropy
#
# A network gives $C$ numbers to each pixel, one for each of the $C$ classes: the **logits** $z_c$. The *softmax*
# turns them into probabilities $p_c$. The loss is the negative logarithm of the probability of the true class $y$.
# (Its unit is the *nat*, since the logarithm is the natural one.)
#
# $$p_c = \frac{e^{z_c}}{\sum_k e^{z_k}}, \qquad \ell = -\ln p_y.$$

# %%
names = teach.classes().class_names
logits = np.array([2.0, 0.5, -1.0, 0.0, 1.0, -0.5, -2.0])
p = np.exp(logits) / np.exp(logits).sum()
grid = teach.panels(1, 3, 2.6)
grid[0].barh(names, logits, color=teach.SKY)
grid[0].set(title="logits z of one pixel", xlabel="z")
grid[1].barh(names, p, color=teach.BLUE)
grid[1].set(title="probabilities p: they sum to 1", xlabel="p", yticks=[])
for axes in grid[:2]:
    axes.invert_yaxis()
x = np.linspace(0.005, 1, 200)
grid[2].plot(x, -np.log(x))
grid[2].plot([p[0], p[4]], -np.log([p[0], p[4]]), "o", color=teach.RED)
grid[2].annotate("truth is background", (p[0] + 0.02, 0.85))
grid[2].annotate("truth is ring", (p[4] + 0.05, 1.8))
grid[2].set(title="loss: -ln p of the true class", xlabel="p of the true class", ylabel="loss, nat")
check("sum of the probabilities", p.sum(), 1, 1e-12)
check("loss if the truth is background", -np.log(p[0]), 0.629, 0.001)
check("loss if the truth is ring", -np.log(p[4]), 1.629, 0.001)

# %% [markdown]
# The derivative is as simple as it can be. It is "what the network said minus what is true":
#
# $$\frac{\partial \ell}{\partial z_c} = p_c - [c = y].$$
#
# So a pixel that is right and sure ($p_y \approx 1$) teaches nothing, and a pixel that is sure and wrong pulls with a
# strength of 1, never more. The library computes loss and derivative in one pass; we compare. (A `Tensor` is an array
# that remembers how it was computed. `backward` fills `.grad`, the derivative.)

# %%
from minideeplab.autograd import Tensor
from minideeplab.nn import cross_entropy

z = Tensor(logits.reshape(1, 1, 1, 7), requires_grad=True)  # one image of one pixel
loss = cross_entropy(z, np.array([[[4]]], np.uint8))
loss.backward()
check("the library's loss of this pixel", loss.item(), -np.log(p[4]), 1e-12)
check("its derivative is p minus one at the truth", z.grad.ravel(), p - np.eye(7)[4], 1e-12)

# %% [markdown]
# ## 2. The loss of an image: the mean over pixels that are not void
#
# $$L = \frac{\sum_i [y_i \ne \text{void}]\; \ell_i}{\sum_i [y_i \ne \text{void}]}$$
#
# Void pixels are in neither sum. They get a derivative of exactly zero, whatever the network says there. We check it
# on the picture above. The library wants logits: $\ln p$ will do, since its softmax is $p$ again.

# %%
z = Tensor(np.log(probabilities.clip(1e-12))[None].astype(np.float64), requires_grad=True)
loss = cross_entropy(z, labels[None], ignore_index=255)
loss.backward()
check("mean of the heat map over labelled pixels = the library's loss", losses[~void].mean() - loss.item(), 0, 1e-6)
check("largest derivative at void pixels", float(np.abs(z.grad[0][void]).max()), 0.0)
check("the loss knows its number of pixels", int(loss.weight), int((~void).sum()))

# %% [markdown]
# ## 3. The first number: ln C
#
# A fresh network knows nothing. Its logits are small random numbers, so each of $C$ classes gets about $1/C$, and
#
# $$L \approx -\ln \frac{1}{C} = \ln C.$$
#
# This is the best test that costs nothing: look at the loss of the **first** step. If it is far from $\ln C$, then
# labels, classes or the *normalisation* are wrong. (`normalise` subtracts a mean colour from each pixel, and divides by
# a standard deviation.) We build four fresh networks and measure.

# %%
from minideeplab import models
from minideeplab.autograd import no_grad
from minideeplab.data import normalise

small = {"width": 0.25, "head_width": 64, "separable": True}  # a quarter of the channels
pairs = [teach.sample(i) for i in range(4)]
batch = normalise(np.stack([picture[:97, :97] for picture, _ in pairs]))
truth = np.stack([mask[:97, :97] for _, mask in pairs])
counts = (2, 7, 21, 150)
fresh, first = {}, []
for count in counts:
    fresh[count] = models.build("deeplabv3plus", num_classes=count, **small)
    with no_grad():
        fitting = np.where((truth > 0) & (truth != 255) & (count == 2), 1, truth)  # two classes: object or not
        first.append(fresh[count].loss(Tensor(batch), fitting).item())

# %%
axes = teach.panels(1, 1, 2.6)
x = np.linspace(2, 160, 200)
axes.plot(x, np.log(x), color=teach.GREY, label="ln C")
axes.plot(counts, first, "o", color=teach.RED, label="measured: a network that was never trained")
for count, value in zip(counts, first, strict=True):
    words = f"C = {count}: {value:.2f}, ln C = {np.log(count):.2f}"
    axes.annotate(words, (count, value), (8, -10), textcoords="offset points")
axes.set(xlabel="number of classes C", ylabel="loss, nat", xlim=(0, 195), ylim=(0, 5.6))
axes.legend(loc="lower right")
check("measured minus ln C", np.array(first), np.log(counts), 0.15)

# %% [markdown]
# A second landmark is worth knowing. A network that ignores the image but knows how frequent each class is, $f_c$,
# loses the *entropy* of the classes. A run that stays at this number has learnt the class balance, and nothing else.
#
# $$H(f) = -\sum_c f_c \ln f_c$$

# %%
from minideeplab.data import LabelCounts, median_frequency_weights

seen = LabelCounts(names, ignore_index=255)
for number in range(100):
    seen.add(teach.sample(number)[1])
frequency = seen.pixels[:7] / seen.labelled
entropy = float(-(frequency * np.log(frequency)).sum())
always, total, weight = np.log(frequency).astype(np.float32), 0.0, 0.0  # logits of the constant answer
for number in range(100):
    mask = teach.sample(number)[1]
    loss = cross_entropy(Tensor(np.full((1, *mask.shape, 7), always)), mask[None])
    total, weight = total + loss.item() * loss.weight, weight + loss.weight
check("the library's loss of this answer minus the entropy", total / weight - entropy, 0, 1e-5)
check("entropy of our class balance, nat", entropy, 0.936, 0.001)
check("ln 7, for comparison", np.log(7), 1.946, 0.001)

# %% [markdown]
# ## 4. The loss as a heat map, before and after training
#
# All maps have the same scale: black is 0, the brightest yellow is 4 nat and more. The fresh network pays $\ln 7 =
# 1.9$ everywhere: the map is flat. The trained network pays at few places, and much there: mostly for whole objects
# that it takes for another class.


# %%
def loss_map(model, picture, mask):
    """(H, W) loss of each pixel; 0 where it is void."""
    p = Predictor(model).probabilities(picture)
    r, c = np.indices(mask.shape)
    return np.where(mask == 255, 0, -np.log(p[r, c, np.where(mask == 255, 0, mask)].clip(1e-12)))


grid = teach.panels(2, 3, 2.2)
for k, number in enumerate((0, 1, 10)):
    picture, mask = teach.sample(number)
    for axes, model, word in ((grid[0, k], fresh[7], "fresh"), (grid[1, k], network, "trained")):
        found = loss_map(model, picture, mask)
        teach.draw_losses(found, mask == 255, axes, f"{word}: mean {found[mask != 255].mean():.2f}")

# %% [markdown]
# How uneven is it? Sort the pixels of ten images, the most expensive first, and add up. In the fresh network, a tenth
# of the pixels has about a tenth of the loss. In the trained one, it has nearly all of it.

# %%
axes, share = teach.panels(1, 1, 2.8), {}
for model, word, colour in ((fresh[7], "fresh", teach.GREY), (network, "trained", teach.BLUE)):
    values = [loss_map(model, *teach.sample(k))[teach.sample(k)[1] != 255] for k in range(10)]
    values = np.sort(np.concatenate(values))[::-1]
    total = np.cumsum(values) / values.sum()
    share[word] = total[len(total) // 10]
    axes.plot(
        np.linspace(0, 100, 200), 100 * total[np.linspace(0, len(total) - 1, 200).astype(int)], color=colour, label=word
    )
axes.axvline(10, color=teach.RED, lw=1, ls=":")
axes.set(xlabel="share of the pixels, the most expensive first, percent", ylabel="share of the loss, percent")
axes.legend(loc="lower right")
check("fresh: the hardest tenth has less than a quarter of the loss", bool(share["fresh"] < 0.25))
check("trained: the hardest tenth has over 80 % of the loss", bool(share["trained"] > 0.8))

# %% [markdown]
# ## 5. Hard pixels: only the expensive ones teach
#
# So why compute the mean over all pixels? *Hard-pixel mining* (also: bootstrapped cross-entropy) keeps the expensive
# share of each image, and makes void of the rest (light in the pictures). `--hard-pixels 0.1` does it in training. Wu
# et al. 2016 introduced it; DeepLab's TensorFlow code has it as `top_k_percent_pixels`.

# %%
from minideeplab.nn import hard_pixels

z = Tensor(np.log(probabilities.clip(1e-12))[None])
grid = teach.panels(1, 4, 2.3)
teach.draw_labels(labels, grid[0], "all labelled pixels")
for axes, part in zip(grid[1:], (0.5, 0.1, 0.02), strict=True):
    kept = hard_pixels(z, labels[None], part)[0]
    teach.draw_labels(kept, axes, f"the hardest {100 * part:.0f} %", names=False)
    check(f"pixels kept of {int((~void).sum())} at {part}", int((kept != 255).sum()), round(part * int((~void).sum())))

# %% [markdown]
# ## 6. Class weights: what they do, and what they do not
#
# Background has 77 % of the pixels, so it has most of the sum. *Class weights* multiply the loss of each pixel by a
# number of its class:
#
# $$L = \frac{\sum_i w_{y_i}\, \ell_i}{\sum_i w_{y_i}}, \qquad w_c = \frac{\mathrm{median}(f)}{f_c}$$
#
# This choice is *median-frequency balancing* (Eigen and Fergus 2015; SegNet used it). Here $f_c$ is the share of
# class $c$ in the images that have it. (In the code, a small object with counts stands for a data set.)

# %%
from types import SimpleNamespace

weights = median_frequency_weights(SimpleNamespace(counts=seen, num_classes=7))
weighted = weights * seen.pixels[:7] / (weights * seen.pixels[:7]).sum()
left, right = teach.panels(1, 2, 2.8, sharey=True)
left.bar_label(left.barh(names, weights, color=teach.ORANGE), fmt="%.2f", padding=3)
left.set(title="weight of each class", xlabel="w", xlim=(0, 3.2))
for shift, values, colour, word in (
    (-0.2, frequency, teach.GREY, "all pixels alike"),
    (0.2, weighted, teach.BLUE, "weighted"),
):
    bars = right.barh(np.arange(7) + shift, 100 * values, 0.4, color=colour, label=word)
right.set(title="share of each class in the sum of weights", xlabel="percent", yticks=range(7), yticklabels=names)
right.invert_yaxis()
right.legend()
f = seen.pixels[:7] / seen.pixels_around[:7]
check("the formula gives the library's weights", np.median(f) / f, weights, 1e-5)
check(
    "share of background without and with weights, percent",
    np.array([100 * frequency[0], 100 * weighted[0]]),
    [77.1, 28.5],
    0.1,
)

# %% [markdown]
# What does this do to the answers? A case that can be computed exactly: one number $x$ is known of each pixel.
# Background (95 %) has $x \sim N(0, 1)$, an object (5 %) has $x \sim N(2, 1)$. The best classifier says *object*
# beyond a threshold $t$:
#
# $$w_1 f_1\, \varphi(t - 2) = w_0 f_0\, \varphi(t) \quad\Rightarrow\quad t = 1 + \tfrac12 \ln\frac{w_0 f_0}{w_1 f_1}.$$
#
# $\varphi$ is the bell curve. We also *train* a tiny network (a 1x1 convolution with two classes) and see whether it
# finds the same threshold.

# %%
from minideeplab.nn import SGD, Conv2d

rng = np.random.default_rng(0)
truth_1d = (rng.random((1, 1, 40_000)) < 0.05).astype(np.uint8)
x_1d = Tensor((rng.standard_normal(truth_1d.shape) + 2 * truth_1d)[..., None].astype(np.float32))


def trained_threshold(class_weights):
    """Where a 1x1 convolution, trained with these weights, changes its mind."""
    layer = Conv2d(1, 2, 1, bias=True)
    layer.initialise(0)
    optimiser = SGD(layer, lr=1.0, weight_decay=0)
    for _ in range(150):
        optimiser.zero_grad()
        cross_entropy(layer(x_1d), truth_1d, class_weights=class_weights).backward()
        optimiser.step()
    slope, offset = (np.diff(a.numpy().ravel())[0] for a in (layer.weight, layer.bias))
    return float(-offset / slope)


# %%
from math import erf

kinds = {"none": (1, 1), "root": (0.05**0.5, 0.95**0.5), "median": (0.05, 0.95)}  # up to a common factor
grid, x, results = teach.panels(1, 3, 2.5, sharey=True), np.linspace(-3, 5, 300), []
for axes, (word, (w0, w1)) in zip(grid, kinds.items(), strict=True):
    t = 1 + 0.5 * np.log(w0 * 0.95 / (w1 * 0.05))
    found = trained_threshold((w0, w1))
    for centre, f, colour in ((0, 0.95, teach.GREY), (2, 0.05, teach.RED)):
        axes.plot(x, f * np.exp(-((x - centre) ** 2) / 2) / np.sqrt(2 * np.pi), color=colour)
    axes.axvline(t, color=teach.BLUE)
    axes.set(title=f"weights: {word}\nthreshold {t:.2f}, trained {found:.2f}", xlabel="x")
    above = [0.5 * (1 - erf((t - centre) / 2**0.5)) for centre in (0, 2)]  # share beyond t: background, object
    hits = 0.05 * above[1]
    results.append([word, 100 * above[1], 100 * hits / (hits + 0.95 * above[0]), 100 * hits / (0.05 + 0.95 * above[0])])
    check(f"{word}: trained threshold minus the formula's", found - t, 0, 0.1)
grid[0].set_ylabel("share of the pixels")
grid[0].legend(["background", "object", "threshold"], fontsize=8)
teach.table(results, ["weights", "found (recall), %", "of these right (precision), %", "IoU of the object, %"])

# %% [markdown]
# > **Check it.** "Class weights help rare classes." They help to *find* them: recall rises from 32 to 84 %. But false
# > alarms rise faster, and the IoU **falls**, from 28 to 21 %. In between lies a better point. So the library has
# > `--class-weights root` (the square root of the weights), and you should compare the mean IoU, not the recall.

# %%
check("recall without weights and with median weights", np.array([results[0][1], results[2][1]]), [31.8, 84.1], 0.1)
check("IoU without weights and with median weights", np.array([results[0][3], results[2][3]]), [28.2, 20.9], 0.1)
check("the root is better than both in IoU", results[1][3] > max(results[0][3], results[2][3]))

# %% [markdown]
# ## 7. The learning rate: poly against step
#
# The loss falls along its derivative; the **learning rate** says how far each step goes. It should fall during a run.
# DeepLab v1 took a tenth of it after every 2,000 steps (*step* policy). DeepLab v2 and all later ones take the *poly*
# policy:
#
# $$\eta(s) = (\eta_0 - \eta_{\text{end}}) \left(1 - \frac{s}{S}\right)^{0.9} + \eta_{\text{end}}$$
#
# $s$ is the number of the step, $S$ the number of all steps. $\eta_0$ is the first rate, $\eta_{\text{end}}$ the
# last one, here 0. With a *warm-up* the rate grows during the first steps.

# %%
from minideeplab.train.schedule import Schedule

poly = Schedule(steps=6000, epoch_steps=500, lr=0.001)
step = Schedule(steps=6000, epoch_steps=500, lr=0.001, every=2000)
warm = Schedule(steps=6000, epoch_steps=500, lr=0.001, warmup=600)
left, right = teach.panels(1, 2, 2.7)
s = np.arange(6000)
for schedule, word, style in (
    (poly, "poly, power 0.9", "-"),
    (step, "step, a tenth every 2,000", "--"),
    (warm, "poly with warm-up", ":"),
):
    left.plot(s, [1000 * schedule.rate(k) for k in s.tolist()], style, label=word)
left.set(title="v1's 6,000 steps", xlabel="step", ylabel="learning rate, 1/1000")
left.legend(fontsize=8)
quoted = {"step, batch 30, 6K": 62.25, "poly, batch 30, 6K": 63.42, "poly, batch 30, 10K": 64.90}
quoted |= {"poly, batch 10, 10K": 64.71, "poly, batch 10, 20K": 65.88}
bars = right.barh(list(quoted), quoted.values(), color=[teach.RED] + [teach.BLUE] * 4)
right.bar_label(bars, fmt="%.2f", padding=3)
right.set(title="quoted: v2 paper, table 2 (VOC val)", xlabel="mean IoU, percent (from 60)", xlim=(60, 67))
right.invert_yaxis()
check("poly better than step, points (quoted)", quoted["poly, batch 30, 6K"] - quoted["step, batch 30, 6K"], 1.17, 1e-9)
check("poly at half of the run, as a share of the start", poly.rate(3000) / 0.001, 0.5**0.9, 1e-9)
check("step after 4,000 steps, as a share of the start", step.rate(4000) / 0.001, 0.01, 1e-9)

# %% [markdown]
# The right picture is quoted, not run (10K: 10,000 steps). At equal steps and batch size poly is 1.17 points better
# than step; and a small batch with more steps is better than a large batch. Why? After 4,000 steps the step policy
# moves at 1 % of its first rate. It learns almost nothing in the last third of the run.
#
# ## 8. Augmentation: one picture twelve times
#
# A network sees each picture dozens of times. It should see another **view** each time: `TrainTransform` draws a
# scale, a crop, a mirror image, and if asked a blur and other colours. The labels move along, with nearest neighbour.
# What lies beyond the picture is void: it has no loss.

# %%
import matplotlib.pyplot as plt

from minideeplab.data import IMAGE_MEAN, IMAGE_STD, TrainTransform

transform = TrainTransform(crop_size=97, scale_range=(0.5, 2.0), blur=1.5, jitter=0.3)
picture, mask = teach.sample(1)
views = [transform(picture, mask, np.random.default_rng(seed)) for seed in range(12)]
grid = plt.subplots(4, 6, figsize=(5.4, 4.2))[1]  # rows of images and of their labels
for k, (view, view_labels) in enumerate(views):
    above, below = grid[2 * (k // 6) : 2 * (k // 6) + 2, k % 6]
    above.imshow((255 * (view * IMAGE_STD + IMAGE_MEAN)).clip(0, 255).astype(np.uint8))
    below.imshow(teach.coloured(view_labels))
    above.set_title(f"view {k + 1}", size=9)
for axes in grid.ravel():
    axes.set_axis_off()
check("no view has a label that the picture has not", all(set(np.unique(v)) <= {0, 2, 5, 6, 255} for _, v in views))
check("the twelve views are all different", len({v.tobytes() for v, _ in views}), 12)

# %% [markdown]
# ## 9. Batch normalisation: one layer, two behaviours
#
# *Batch normalisation* makes each channel of a feature map have mean 0 and variance 1, then scales and shifts it by
# learnt numbers $\gamma$, $\beta$:
#
# $$y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta$$
#
# In **training**, $\mu$ and $\sigma^2$ are those of the batch, over N, H and W. Meanwhile the layer keeps a running
# mean of them, $m \leftarrow 0.9\, m + 0.1\, \mu$. In **inference** it takes these running numbers, so that the
# answer for an image does not depend on its neighbours. The running numbers begin at mean 0 and variance 1.

# %%
from minideeplab.nn import BatchNorm2d

layer, rng, running = BatchNorm2d(1), np.random.default_rng(0), []
layer.initialise(0)
layer.train()
for _ in range(60):
    layer(Tensor(rng.normal(3, 2, (8, 9, 9, 1)).astype(np.float32)))
    running.append((layer.running_mean.numpy()[0], layer.running_var.numpy()[0]))
running, k = np.array(running), np.arange(1, 61)
axes = teach.panels(1, 1, 2.6)
for column, word in enumerate(("mean", "variance")):
    axes.plot(k, running[:, column], "o", ms=3, label=f"running {word}, measured")
axes.plot(k, 3 * (1 - 0.9**k), color=teach.BLACK, lw=1, label="formulas: 3 (1 - 0.9^k)  and  4 - 3 · 0.9^k")
axes.plot(k, 4 - 3 * 0.9**k, color=teach.BLACK, lw=1)
axes.set(
    xlabel="training steps k",
    ylabel="value",
    title="channel with mean 3 and variance 4: after 30 steps the layer knows them",
)
axes.legend()
check(
    "running mean minus its formula, largest difference", float(np.abs(running[:, 0] - 3 * (1 - 0.9**k)).max()), 0, 0.1
)

# %% [markdown]
# So a validation score after ten steps can be bad although the weights are good: the running numbers are not there
# yet.
#
# ## 10. Batches of eight against batches of one
#
# Statistics of a batch are an *estimate*. How noisy is it? We look into the **backbone** of the trained network: its
# first and largest part, which makes features in four *stages*. We take the input of a batch norm in the last stage,
# and write down the mean of each channel for 64 images. A batch of 8 averages 8 of them: its error should be about
# $\sqrt 8 = 2.8$ times smaller.

# %%
from minideeplab.nn import Dropout
from minideeplab.nn.module import observing

picky = teach.trained("v3plus").model.train()  # in training mode: statistics are those of the batch
for _, module in picky.named_modules():
    if isinstance(module, BatchNorm2d):
        module.momentum = 0.0  # the running numbers stay
    if isinstance(module, Dropout):
        module.rate = 0.0
means = []


def note(module, inputs):
    """Runs a layer; notes the channel means of each image before a batch norm."""
    if isinstance(module, BatchNorm2d):
        means.append(inputs[0].numpy().mean(axis=(1, 2)))
    return module.forward(*inputs)


# %%
crops = normalise(np.stack([teach.sample(k)[0][:97, :97] for k in range(64)]))
with no_grad(), observing(note):
    picky(Tensor(crops))
one = [m for m in means if m.shape[1] == 128][3]  # (64 images, channels) in the last stage of the backbone
one = (one - one.mean(0)) / one.std(0)
eight = one.reshape(8, 8, -1).mean(1)
check("images and channels", one.shape, (64, 128))
# %%
axes = teach.panels(1, 1, 2.4)
edges = np.linspace(-4, 4, 61)
axes.hist(one.ravel(), edges, density=True, color=teach.ORANGE, alpha=0.7, label="batches of 1")
axes.hist(eight.ravel(), edges, density=True, color=teach.BLUE, alpha=0.7, label="batches of 8")
axes.set(xlabel="error of the batch mean, in standard deviations between images", ylabel="density")
axes.set_title("the mean that batch norm subtracts, over all channels of one layer")
axes.legend()
check("error of batches of 1 over that of batches of 8", float(one.std() / eight.std()), 8**0.5, 0.4)

# %% [markdown]
# (3.2 instead of 2.8: the eight batches share our 64 images, so the error is a little smaller than that of new images.)
#
# And one layer breaks altogether. *Image-level pooling* (DeepLab v3, notebook [09](09_deeplab_v3.ipynb)) averages the
# whole map: **one value for each channel and image**. With a batch of one, the mean of one value is the value itself:
#
# $$y = \gamma\, \frac{x - x}{\sqrt{0 + \varepsilon}} + \beta = \beta.$$
#
# The branch says the same, whatever the image. With two images each channel says only $+1$ or $-1$: which of the two
# is larger.

# %%
from kernels.reference.norm import batch_norm, batch_norm_statistics

pooled, said = np.random.default_rng(1).standard_normal((8, 1, 1, 24)).astype(np.float32), {}
gamma, beta = np.ones(24, np.float32), np.zeros(24, np.float32)
grid = teach.panels(1, 3, 2.4, sharey=True)
for axes, n in zip(grid, (1, 2, 8), strict=True):
    mean, variance = batch_norm_statistics(pooled[:n])
    said[n] = batch_norm(pooled[:n], mean, variance, gamma, beta, 1e-5, None).reshape(n, 24)
    axes.plot(said[n].T, ".", color=teach.BLUE)
    axes.set(title=f"batch of {n}", xlabel="channel", ylim=(-3, 3))
grid[0].set_ylabel("after batch norm")
check("batch of 1: the largest output", float(np.abs(said[1]).max()), 0.0)
check("batch of 2: all outputs are +1 or -1", np.abs(said[2]), np.ones((2, 24)), 0.05)
check("batch of 8: different values", len(np.unique(said[8].round(4))) > 100)

# %% [markdown]
# Frameworks differ here. PyTorch stops: *Expected more than 1 value per channel when training*. In minideeplab this
# one layer takes its running numbers instead, and leaves them alone. So training goes on; but the running numbers
# never move from their start, and nothing is normalised.

# %%
layer = BatchNorm2d(24)
layer.initialise(0)
layer.train()
out = layer(Tensor(pooled[:1])).numpy()
check("batch of 1 in minideeplab: the running mean stays at", float(np.abs(layer.running_mean.numpy()).max()), 0.0)
check("and the output is the input", out, pooled[:1], 1e-4)

# %% [markdown]
# What does this do to answers? We put the trained network into training mode, so that it takes the statistics of the
# batch, and show it the same image among seven others, and alone. (Nothing is trained here.)

# %%
answers, chosen, crop_truth = {}, 3, teach.sample(3)[1][:97, :97]
with no_grad():
    answers["inference:\nrunning numbers"] = network(Tensor(crops[chosen : chosen + 1])).numpy()[0]
    answers["training mode,\nbatch of 8"] = picky(Tensor(crops[:8])).numpy()[chosen]
    answers["training mode,\nbatch of 1"] = picky(Tensor(crops[chosen : chosen + 1])).numpy()[0]
grid, right = teach.panels(1, 4, 2.4), []
teach.draw_labels(crop_truth, grid[0], "truth")
for axes, (word, scores) in zip(grid[1:], answers.items(), strict=True):
    right.append(100 * (scores.argmax(2) == crop_truth)[crop_truth != 255].mean())
    teach.draw_labels(scores.argmax(2).astype(np.uint8), axes, f"{word}: {right[-1]:.0f} % right")
check("a batch of one answers worse than inference", bool(right[2] < right[0]))

# %% [markdown]
# The library finds the layer with one value before the first step. `train` warns, and names it. The remedy: batches
# of 2 at least, 8 or more if you can; or `--freeze-bn`, which takes the running numbers of a pretrained network in
# training, too. DeepLab v3's table 9 (quoted, not run) shows mean IoU against batch size: 4: 64.43, 8: 75.76, 12:
# 76.49, 16: 77.21.

# %%
from minideeplab.train.warnings import norms_of_one_value

found = norms_of_one_value(picky.config, batch_size=1, crop_size=97)
check("layers that see one value for each channel", ", ".join(found), "aspp.image_pooling.norm")
check("with batches of two there is none", len(norms_of_one_value(picky.config, batch_size=2, crop_size=97)), 0)

# %% [markdown]
# ## 11. A second loss on the way: the auxiliary loss
#
# PSPNet adds a small head in the middle of a deep backbone. It has its own cross-entropy, which counts less. At test
# time it is thrown away:
#
# $$L = L_{\text{end}} + \alpha\, L_{\text{middle}}.$$
#
# The paper tried $\alpha$ from 0.3 to 0.9. The numbers are quoted (PSPNet, ADE20K), nothing was run here; notebook
# [08](08_pyramids.ipynb) has the network.

# %%
quoted = {"none": 35.82, "0.3": 37.01, "0.4": 37.23, "0.6": 37.09, "0.9": 36.99}
axes = teach.panels(1, 1, 2.2)
bars = axes.bar(list(quoted), quoted.values(), color=[teach.GREY, teach.SKY, teach.BLUE, teach.SKY, teach.SKY])
axes.bar_label(bars, fmt="%.2f")
axes.set(ylim=(35, 37.8), ylabel="mean IoU, percent", xlabel="weight of the auxiliary loss")
axes.set_title("quoted: PSPNet, auxiliary loss on ADE20K (the axis starts at 35)")
check("0.4 against none, points", quoted["0.4"] - quoted["none"], 1.41, 1e-9)

# %% [markdown]
# ## 12. The last check before a long run: overfit
#
# A network that cannot learn two pictures by heart will not learn two thousand. So: take two pictures, train on them,
# and watch the loss. It begins at $\ln C$, passes the entropy of these two pictures, and goes to nearly zero. If it
# does not, something is broken, and you know it after seconds.

# %%
from minideeplab.train.step import train_step

student = models.build("deeplabv3plus", num_classes=7, **small)
student.train()
student.reseed(0)
optimiser = SGD(student, lr=0.1)
two, two_labels = batch[1:3], np.ascontiguousarray(truth[1:3])
curve = [train_step(student, optimiser, two, two_labels).item() for _ in range(80)]
axes = teach.panels(1, 1, 2.8)
axes.plot(curve)
part = np.bincount(two_labels[two_labels != 255]) / (two_labels != 255).sum()
known = -float((part[part > 0] * np.log(part[part > 0])).sum())  # entropy of these two pictures
for value, word in ((np.log(7), "ln 7: knows nothing"), (known, "entropy: knows the class balance")):
    axes.axhline(value, color=teach.RED, lw=1, ls="--")
    axes.text(79, value + 0.04, word, ha="right", color=teach.RED)
axes.set(xlabel="step", ylabel="loss, nat", ylim=(0, 2.3), title="a fresh network on two pictures")
check("loss of the first step", curve[0], np.log(7), 0.15)
check("entropy of the two pictures, nat", known, 1.044, 0.001)
check("loss of the last step is below 0.1", bool(curve[-1] < 0.1))

# %%
with no_grad():
    learnt = student(Tensor(two)).numpy().argmax(3).astype(np.uint8)
grid = teach.panels(1, 4, 2.4)
for k in range(2):
    teach.draw_labels(two_labels[k], grid[2 * k], f"picture {k + 1}: truth")
    teach.draw_labels(learnt[k], grid[2 * k + 1], "after 80 steps")
check(
    "share of labelled pixels that are right, percent",
    100 * float((learnt == two_labels)[two_labels != 255].mean()),
    99,
    1.5,
)

# %% [markdown]
# ## What to keep
#
# The loss is the mean of $-\ln p$ of the true class over pixels that are not void. It starts at $\ln C$; a run that
# stops at the entropy of the classes has learnt nothing from the images. Few pixels, in confused objects and at
# borders, make nearly all of a trained network's loss. Class weights raise recall, and can lower the IoU. Batch norm
# needs batches: image-level pooling with a batch of one says nothing at all.
#
# ## Exercises
#
# **Exercise 1.** `np.exp(1000)` overflows, so the formula of section 1 fails for large logits. Write the
# cross-entropy so that it never does, with void left out. `hint(1)` helps.


# %%
def my_cross_entropy(logits, labels, void=255):
    """(H, W, C) logits, (H, W) labels -> mean loss over the pixels that are not void."""
    return ...  # fill in; NumPy alone


# %%
attempt(1, my_cross_entropy, lambda: next(
    (
        f"logits from {z.min():.0f} to {z.max():.0f}: the library finds {found:.5g}, you find {mine:.5g}"
        for z in (scale * np.log(probabilities.clip(1e-9).astype(np.float64)) + 20 for scale in (1, 5, 200))
        for z in (z, -z)
        for found in [cross_entropy(Tensor(z[None]), labels[None]).item()]
        for mine in [float(my_cross_entropy(z, labels))]
        if not abs(mine - found) < 1e-6 * np.abs(z).max()
    ),
    True,
))  # fmt: skip


# %% [markdown]
# **Exercise 2.** Write a learning rate of your own: it grows from `lr / warmup` in `warmup` steps, and follows poly
# all the time. The picture shows your curve. `hint(2)` helps.


# %%
def my_rate(step, steps, lr, warmup):
    """poly with power 0.9, times (step + 1) / warmup during the first steps; the first step is 0."""
    return ...  # fill in


# %%
attempt(2, my_rate, lambda: next(
    (
        f"step {k}: the library's rate is {warm.rate(k):.4g}, yours is {my_rate(k, 6000, 0.001, 600):.4g}"
        for k in (0, 1, 300, 599, 600, 4000, 5999)
        if not abs(my_rate(k, 6000, 0.001, 600) - warm.rate(k)) < 1e-12
    ),
    True,
))  # fmt: skip
if np.isscalar(my_rate(0, 6000, 0.001, 600)):
    axes = teach.panels(1, 1, 2.2)
    axes.plot(s, [1000 * my_rate(k, 6000, 0.001, 600) for k in s.tolist()], label="yours")
    axes.plot(s, [1000 * warm.rate(k) for k in s.tolist()], ":", label="the library's")
    axes.set(xlabel="step", ylabel="learning rate, 1/1000")
    axes.legend()

# %% [markdown]
# ## Next
#
# [06 DeepLab v1](06_deeplab_v1.ipynb) is the first network of the family. [11 Train, fail,
# repair](11_train_fail_repair.ipynb) trains one from start to end, and shows how each mistake of this notebook looks
# in a run.
