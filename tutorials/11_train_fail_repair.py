# %% [markdown]
# # 11 Train, fail, repair
#
# **How do I see early that a training goes wrong, and what do I do then?**
#
# You need: [00](00_label_maps.ipynb) (label maps) and [05](05_losses.ipynb) (loss, learning rate, batch norm).
# You will see: a training from the first picture to the worst case, and six failures that everybody meets once; about
# 25 minutes.

# %%
import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(11)

# %% [markdown]
# Most trainings fail at first. They rarely stop with an error: they go on for hours and give a bad network. This
# notebook trains one network properly, and breaks six others on purpose. At the end you recognise each failure by its
# picture, and you know the cure.
#
# First we look at the data, because most failures sit there.
#
# ## 1. Look at the data
# The set is drawn by code: six shapes on any ground, each with a pattern of its own. It is written to disk once and
# read like any other data set (it lies in the folders that VOC has). We take 320 pictures to train on, and 40 others to
# measure on. With a set of your own, `open_dataset("my_folder", "auto", "train")` reads it, and the rest of this
# notebook stays as it is.

# %%
from minideeplab.data import open_dataset

train_set = open_dataset("synthetic", "auto", "train", limit=320)
val_set = open_dataset("synthetic", "auto", "val", limit=40)
names = train_set.class_names
pairs = [train_set.sample(i) for i in (0, 1, 6)]
teach.show([part for image, labels in pairs for part in (image, teach.coloured(labels))],
           ["picture", "its labels"] * 3)  # fmt: skip
teach.draw_key()

# %% [markdown]
# **void** (white here) is a label without a class. Its pixels have no loss and no score: nobody can say whether a pixel
# on an outline belongs to the disc or to the ground.
#
# Three questions to every new set: Which labels occur? How much of each? Do pictures and labels have the same size?
# `python -m minideeplab.inspect_data --data FOLDER` asks these and thirty more.

# %%
counts = train_set.counts
found = np.flatnonzero(counts.pixels)
share = counts.pixels[: len(names)] / counts.labelled
check("the labels that occur are 0 to 6, and 255", found, [*range(7), 255])
check("share of the ground among labelled pixels", share[0], 0.777, 0.02)
axes = teach.panels(1, 1, 2.2)
axes.bar(names, 100 * share, color=[teach.GREY, *[teach.BLUE] * 6])
axes.set(ylabel="share of labelled pixels (%)", title="One class has three quarters of all pixels")
for i, value in enumerate(share):
    axes.text(i, 100 * value, f"{100 * value:.0f}", ha="center", va="bottom")

# %% [markdown]
# ## 2. How bad is knowing nothing?
# Before any training we ask what the laziest answer scores: "everything is ground". Two metrics (numbers that say how
# good an answer is):
#
# $$\text{pixel accuracy} = \frac{\sum_c n_{cc}}{\sum_{tp} n_{tp}}, \qquad
# \text{IoU}_c = \frac{n_{cc}}{\sum_p n_{cp} + \sum_t n_{tc} - n_{cc}}$$
#
# $n_{tp}$ is the number of pixels of true class $t$ that were predicted as $p$. The **mean IoU** (mIoU) is the mean
# over the $K$ classes.

# %%
from minideeplab.evaluation import ConfusionMatrix

lazy = ConfusionMatrix(7)
for i in range(len(val_set)):
    truth = val_set.mask(i)
    lazy.update(truth, np.zeros_like(truth))
check("pixel accuracy of 'all is ground', in percent", 100 * lazy.pixel_accuracy(), 75.6, 0.5)
check("mIoU of the same answer, in percent", 100 * lazy.mean_iou(), 10.8, 0.2)
check("six classes have IoU 0, so mIoU is the accuracy / 7", lazy.mean_iou(), lazy.pixel_accuracy() / 7, 1e-12)

# %% [markdown]
# Keep these two numbers in mind. **A network that learns nothing has 76 % pixel accuracy and 10.8 % mIoU.** This is why
# papers report mIoU.
#
# ## 3. What the network really sees
# The network never sees a whole picture in training. It sees a **view**: a random scale, a random crop, perhaps a
# mirror image. Draw the views, not only the pictures. Half of all mistakes with data are made after reading it.

# %%
from minideeplab.data import IMAGE_MEAN, IMAGE_STD, TrainTransform

transform = TrainTransform(crop_size=97, scale_range=(0.5, 1.25))
rng = np.random.default_rng(0)
views = [transform(*pairs[1], rng) for _ in range(3)]
pictures = [np.clip(view * IMAGE_STD + IMAGE_MEAN, 0, 1) for view, _ in views]  # undoes `normalise`
panels = [part for picture, (_, mask) in zip(pictures, views, strict=True) for part in (picture, teach.coloured(mask))]
teach.show(panels, ["view", "its labels"] * 3)
check("a view has the size of the crop", views[0][0].shape, (97, 97, 3))
around = [labels[(view == 0).all(axis=-1)] for view, labels in views]
check("what lies around a small picture is void, so it costs nothing", all((part == 255).all() for part in around))

# %% [markdown]
# ## 4. Overfit two pictures
# The cheapest test of a training is to make it cheat. Give it **two pictures**, again and again. A network with 780 000
# weights can learn two pictures by heart. If it cannot, then something is broken: labels, loss, gradient or learning
# rate. No large data set mends that.
#
# The loop of every training has four lines: forward, loss, backward, update. `train_step` does them. The learning rate
# falls with the **poly** rule, $\text{lr} \cdot (1 - \text{step}/\text{steps})^{0.9}$.

# %%
from minideeplab import Tensor, models, no_grad
from minideeplab.nn.optim import SGD, poly
from minideeplab.train import train_step


def network(num_classes=7, **options):
    """DeepLabv3+ with a quarter of the channels; the same first weights each time."""
    small = {"width": 0.25, "head_width": 64, "separable": True, "seed": 0} | options
    return models.build("deeplabv3plus", num_classes=num_classes, **small)


def train(model, batches, steps, lr, look=lambda step: None):
    """Trains, and returns the loss of each step; `look(step)` is called before each."""
    optimiser, losses = SGD(model, lr), []
    for step, (images, labels) in zip(range(steps), batches, strict=False):
        look(step)
        losses.append(train_step(model, optimiser, images, labels, poly(lr, step, steps)).item())
    return losses


# %%
from itertools import repeat

from minideeplab.data import normalise

two = [teach.sample(i) for i in (3, 6)]
images = normalise(np.stack([image[10:107, 10:107] for image, _ in two]))
labels = np.stack([mask[10:107, 10:107] for _, mask in two])
model, frames = network(), {}
check("weights of the network", sum(p.data.size for p in model.parameters()), 779_955)


def answer(model, images):
    """(N, H, W) labels, with the statistics that batch norm has gathered."""
    with model.evaluating(), no_grad():
        return model(Tensor(images)).numpy().argmax(-1).astype(np.uint8)


def look(step):
    if step in (0, 25, 40, 99):
        frames[step] = answer(model, images)


overfit = train(model, repeat((images, labels)), 100, 0.1, look)

# %%
strip = []
for i in range(2):
    strip += [two[i][0][10:107, 10:107], *[teach.coloured(f[i]) for f in frames.values()], teach.coloured(labels[i])]
teach.show(strip, ["picture", *[f"step {s}" for s in frames], "truth"] * 2, columns=6)
teach.draw_curves({"two pictures": overfit}, chance=np.log(7))

# %% [markdown]
# Read the curve from the left. **It starts near ln 7**: a network that knows nothing gives each of $K$ classes the
# probability $1/K$, and costs $-\ln(1/K) = \ln K$. A start far away from $\ln K$ is the first alarm. Then it falls by a
# factor of ten or more, and the two answers become the two truths. The answers come later than the loss: they use the
# running statistics of batch norm, which are a mean over the last steps.
# The triangle, the smallest shape, is learnt last: a training that stops too early misses it.


# %%
def score(truth, found, num_classes=7):
    confusion = ConfusionMatrix(num_classes)
    confusion.update(truth, found)
    return confusion


check("the loss starts near ln 7 = 1.946", overfit[0], np.log(7), 0.1)
check("the last loss is less than a tenth of the first", overfit[-1] < overfit[0] / 10)
by_heart = answer(model, images)
learnt = score(labels, by_heart)
check("pixel accuracy on the two pictures, in percent", 100 * learnt.pixel_accuracy(), 99, 1)

# %% [markdown]
# ## 5. Train on a small subset
# Now 320 pictures, eight views a step, 320 steps: about half a minute. `minideeplab.fit("synthetic", limit=320)` is
# the same loop; it writes curves, checkpoints and a report as well. A full training takes all 2000 pictures and 3000
# steps.

# %%
from minideeplab.data import Loader
from minideeplab.evaluation import Predictor

loader = Loader(train_set, TrainTransform(97, (0.75, 1.25)), batch_size=8, seed=0)
model, scores = network(), {}


def batches():
    for epoch in range(8):  # one pass over the 320 pictures
        yield from loader.epoch(epoch)


def look(step):
    if step % 80 == 0:
        model.eval()
        scores[step] = Predictor(model).confusion(val_set)
        model.train()


losses = train(model, batches(), 320, 0.1, look)
model.eval()
scores[320] = Predictor(model).confusion(val_set)

# %%
left, right = teach.panels(1, 2, 2.6)
teach.draw_curves({"each step": losses}, axes=left)
left.plot(np.convolve(losses, np.ones(20) / 20, "valid"), color=teach.RED, label="mean of 20 steps")
left.legend()
steps = list(scores)
right.plot(steps, [100 * s.mean_iou() for s in scores.values()], "o-", label="mIoU")
right.plot(steps, [100 * s.pixel_accuracy() for s in scores.values()], "s--", label="pixel accuracy")
right.axhline(100 * lazy.mean_iou(), color=teach.GREY, linestyle=":")
right.text(320, 100 * lazy.mean_iou() + 3, "all is ground: mIoU", ha="right", color="#595959")
right.set(xlabel="step", ylabel="40 validation pictures (%)", ylim=(0, 119))
right.legend(loc="upper left", ncols=2, fontsize=9)
final = scores[320]
check("mIoU after 320 steps, in percent", 100 * final.mean_iou(), 59, 15)
check("it is far above the lazy answer", final.mean_iou() > 3 * lazy.mean_iou())

# %% [markdown]
# After 80 steps the pixel accuracy is hardly above that of the lazy answer, or even below it, as if nothing were
# learnt. The mIoU has left the lazy answer behind: it shows what is learnt. The loss of single steps is noise: average
# it before you judge it.
#
# Your mIoU may differ by several points from one that you read elsewhere. Each processor rounds in its own way, and a
# training makes small differences large. So a gain of two points in a single run says little.
#
# ## 6. Read the table, then the confusion
# One mean hides seven classes. The table shows them: "found of it" is the share of a class's pixels that the network
# calls by this class. The **confusion matrix** says what a class is mistaken for.

# %%
rows = [[name, 100 * iou, 100 * recall, 100 * part] for name, iou, recall, part in
        zip(names, final.iou(), final.class_accuracy(), final.truth_share(), strict=True)]  # fmt: skip
teach.table([[n, f"{i:.1f}", f"{r:.1f}", f"{p:.1f}"] for n, i, r, p in rows],
            ["class", "IoU %", "found of it %", "share of pixels %"])  # fmt: skip

# %%
teach.draw_confusion(final.counts, names)
check("mIoU is the mean of the seven", final.mean_iou(), np.mean(final.iou()), 1e-12)
diagonal = np.diag(final.counts) / final.counts.sum(1)
check("the ground is the class that is found best", names[int(diagonal.argmax())], "background")

# %% [markdown]
# Read a row from left to right: where do the pixels of this class go? The first column is the usual answer. A shape
# that the network does not trust becomes ground.
#
# ## 7. Look at the worst pictures
# Sort the pictures by their own mIoU and look at the last ones. Ask of each: would *I* have known? Is the label right?

# %%
predictions = [Predictor(model)(val_set.image(i)).labels[0] for i in range(len(val_set))]
each = [score(val_set.mask(i), predictions[i]).mean_iou() for i in range(len(val_set))]
worst = np.argsort(each)[:4]
rows = [(val_set.image(i), teach.coloured(val_set.mask(i)), teach.coloured(predictions[i])) for i in worst]
titles = [name for i in worst for name in (f"mIoU {100 * each[i]:.0f} %", "truth", "answer")]
teach.show([part for row in rows for part in row], titles, columns=6)
teach.draw_key()
check("the worst picture is far below the mean", min(each) < np.mean(each) - 0.1)

# %% [markdown]
# What would help here? Not another architecture. The same network, trained on all 2000 pictures for nine times as many
# steps, is kept in `tutorials/weights`. The same 40 pictures:

# %%
long = Predictor(teach.trained("v3plus").model).confusion(val_set)
check("mIoU of the same network after a longer training, in percent", 100 * long.mean_iou(), 79.5, 1)
left, right = teach.panels(1, 2, 2.6, sharey=True)
for axes, found, title in ((left, final, "320 pictures, 320 steps"), (right, long, "2000 pictures, 2750 steps")):
    axes.barh(names, 100 * found.iou(), color=[teach.GREY, *[teach.BLUE] * 6])
    axes.set(xlabel="IoU (%)", xlim=(0, 100), title=f"{title}: mIoU {100 * found.mean_iou():.0f} %")
left.invert_yaxis()

# %% [markdown]
# # A gallery of failures
# Each is made on purpose, recognised, and repaired. All together take a few seconds.
#
# ## Failure 1: the answer is all black
# Two very different illnesses look the same. **The harmless one:** a mask file holds class numbers 0, 1, 2 ... A viewer
# that takes them for grey levels shows black, because 6 of 255 is black. Nothing is wrong: the mask needs a palette.

# %%
mask = val_set.mask(0)
classes_only = [np.where(m == 255, 0, m) for m in (mask, val_set.mask(1))]
panels = [part for m in classes_only for part in (np.repeat(m[..., None], 3, axis=2), teach.coloured(m))]
teach.show(panels, ["class numbers as grey", "with a palette"] * 2)
check("the brightest grey level is a class number", max(m.max() for m in classes_only) <= 6)

# %% [markdown]
# **The serious one:** the network says "ground" everywhere (dark grey in our palette, black in VOC's). It learns the
# frequent class first, and with too small a learning rate, or too few steps, it learns nothing else.

# %%
lame = network()
train(lame, loader.epoch(0), 25, 0.001)
black = Predictor(lame.eval()).confusion(val_set)
first = normalise(val_set.image(0)[None])
teach.show([teach.coloured(labels) for labels in (mask, answer(lame, first)[0], answer(model, first)[0])],
           ["truth", "25 steps, rate 0.001", "320 steps, rate 0.1"])  # fmt: skip
label, part = black.largest_prediction()
check("the class that is said most often", names[label], "background")
check("share of the pixels that get it", part, 1.0, 0.01)
check("the mIoU is that of the lazy answer, in percent", 100 * black.mean_iou(), 100 * lazy.mean_iou(), 0.5)
check("after 320 steps at 0.1 this share is below 90 %", scores[320].largest_prediction()[1] < 0.9)

# %% [markdown]
# **Recognise it** by two numbers that you know already: the mIoU of the lazy answer, and one class with 100 % of all
# predictions. **Repair:** wait (if the loss still falls), a larger learning rate, class weights (`--class-weights
# root`).
#
# ## Failure 2: the loss is NaN
# NaN means "not a number". It comes from steps that are too large: weights grow, the loss overflows, and one NaN
# reaches all weights through the next step. Here is the learning rate, from sensible to absurd.

# %%
from minideeplab.errors import DivergedError

curves, stopped = {}, {}
with np.errstate(all="ignore"):  # NumPy warns of the overflow, too
    for lr in (0.1, 10, 1000):
        curves[f"learning rate {lr:g}"] = seen = []
        wild = network()
        optimiser = SGD(wild, lr)
        try:
            for _ in range(14):
                seen.append(train_step(wild, optimiser, images, labels).item())
        except DivergedError as error:
            stopped[lr] = str(error)
            print(f"learning rate {lr:g}, step {len(seen)}: {error}")
teach.draw_curves(curves, chance=np.log(7))
check("the absurd rate is stopped", list(stopped), [1000])
check("the sensible one learns", curves["learning rate 0.1"][-1] < 1)
check("the middle one does not: its mean loss is above ln 7", np.mean(curves["learning rate 10"][1:]) > np.log(7))

# %% [markdown]
# `train_step` looks at the loss before it changes a weight and names the first array that is not finite. **Repair:**
# a tenth of the rate; `--warmup 100` lets it grow slowly; `--find-lr` tries rates from 1e-7 to 10. The middle curve
# is more dangerous than NaN: nothing stops it, and next to nothing is learnt.
#
# Pictures that were not normalised end the same way, so a picture of whole numbers is refused at once:

# %%
try:
    train_step(network(), SGD(network(), 0.1), val_set.image(0)[None, :97, :97], labels[:1])
    refused = ""
except TypeError as error:
    refused = str(error)
print(refused)
check("bytes are refused", "uint8" in refused)

# %% [markdown]
# ## Failure 3: batch norm on one picture
# Batch norm subtracts the mean of a channel over the batch and divides by its spread. DeepLab's **image-level
# branch** averages each map to *one* value a picture before that. With a batch of one, the mean of one value is the
# value itself:
#
# $$\hat x_1 = \frac{x_1 - x_1}{\sqrt{0 + \varepsilon}} = 0$$
#
# Whatever the picture shows, the branch says 0. With a batch of two it says only $+1$ or $-1$.

# %%
from minideeplab.nn.layers import BatchNorm2d


def formula(x):
    """(N, H, W, C): batch norm as it is written above, over N, H and W."""
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


values = np.random.default_rng(0).normal(5, 3, (8, 1, 1, 32)).astype(np.float32)  # pooled maps of 8 pictures
row = teach.panels(1, 3, 2.2)
for axes, n in zip(row, (1, 2, 8), strict=True):
    axes.hist(formula(values[:n]).ravel(), bins=np.linspace(-3, 3, 49), color=teach.BLUE)
    axes.set(title=f"batch of {n}", xlabel="after batch norm", ylabel="number of values")
check("a batch of one gives zeros, whatever the picture", formula(values[:1]), np.zeros((1, 1, 1, 32)))
check("a batch of two gives -1 and +1", np.abs(formula(values[:2])), np.ones((2, 1, 1, 32)), 0.01)
check("a batch of eight keeps differences: distinct values", len(np.unique(formula(values))), 256)


# %%
def layer(x, frozen=False):
    """The library's layer, new, in training."""
    norm = BatchNorm2d(32).initialise(0)
    norm.frozen = frozen
    with no_grad():
        return norm(Tensor(x)).numpy()


check("the library's layer on eight follows the formula", layer(values), formula(values), 1e-5)
check("on one value it takes the running statistics (0 and 1)", layer(values[:1]), values[:1], 1e-3)

# %% [markdown]
# The library knows this case: one value has no spread, so the layer takes its running statistics. PyTorch stops with
# "Expected more than 1 value per channel when training". Both avoid the zeros, and both say the same: the batch is too
# small.
#
# **Recognise it:** the training looks well, the evaluation (which uses running statistics) is poor or jumps from epoch
# to epoch. **Repair:** a larger batch, or `freeze_batch_norm(model)`: all layers use the running statistics of a
# pretrained network in training, too. Then a picture gives the same answer alone and in company:

# %%
apart = {frozen: float(np.abs(layer(values[:2], frozen) - layer(values, frozen)[:2]).max()) for frozen in (False, True)}
check("moving statistics: the company changes the answer", apart[False] > 0.5)
check("frozen statistics: among two and among eight, the difference", apart[True], 0.0)

# %% [markdown]
# ## Failure 4: labels that were resized bilinearly
# A picture may be resized by mixing neighbours. A label map may not: **the mean of class 0 and class 4 is not class
# 2**.

# %%
from PIL import Image

height, width = (2 * mask.shape[0]) // 3, (2 * mask.shape[1]) // 3
small = {name: np.array(Image.fromarray(mask).resize((width, height), kind)) for name, kind in
         (("bilinear", Image.Resampling.BILINEAR), ("nearest", Image.Resampling.NEAREST))}  # fmt: skip
part = np.s_[10:60, 20:80]
palette = teach.classes().palette.copy()
palette[7:255] = (0, 114, 178)  # blue: no class, and not void
teach.show([teach.coloured(mask), *(teach.coloured(m, palette)[part] for m in small.values())],
           ["labels", "bilinear: blue is no class", "nearest: the same labels"])  # fmt: skip
before, mixed, kept = (np.unique(m) for m in (mask, small["bilinear"], small["nearest"]))
print(f"before: {before.tolist()}\nbilinear: {len(mixed)} labels, such as {mixed[:12].tolist()}")
check("nearest keeps the set of labels", set(kept) == set(before))
check("bilinear makes labels that nobody drew", len(set(mixed) - set(before)) > 20)

# %% [markdown]
# **Recognise it:** thin rims of wrong classes around objects, and labels such as 97 between 0 and void 255. A label
# that is no class is refused when a mask is read or scored; a small one, such as 2 between 0 and 4, is *not*, for it
# looks like a class. **Repair:** nearest neighbour, always. `TrainTransform` does so.

# %%
refused = ""
try:
    score(small["bilinear"], np.zeros_like(small["bilinear"]))
except ValueError as error:
    refused = str(error)
check("a label that is no class is refused", refused != "")
silent = np.isin(small["bilinear"], np.arange(7)) & ~np.isin(small["bilinear"], before)
print(f"{int(silent.sum())} pixels have a class that this picture does not contain, and nothing complains")

# %% [markdown]
# ## Failure 5: void as a class
# Somebody counts the labels, finds eight, and builds a network with eight classes. It works: the network learns to draw
# outlines. Then it marks pixels as "void" where it should decide.

# %%
as_class = np.where(labels == 255, 7, labels).astype(np.uint8)
eight = network(num_classes=8)
train(eight, repeat((images, as_class)), 100, 0.1)
rims, right_answer = answer(eight, images), by_heart  # of section 4: 7 classes, the same 100 steps
rims_as_void = np.where(rims[0] == 7, 255, rims[0])
teach.show([teach.coloured(each) for each in (labels[0], rims_as_void, right_answer[0])],
           ["labels", "8 classes: white rims", "7 classes and void"])  # fmt: skip
check("share of pixels that 8 classes give to 'void'", float((rims == 7).mean()), 0.11, 0.03)
check("share of void in the labels", float((labels == 255).mean()), 0.118, 0.001)
check("the repaired network says void nowhere", int(right_answer.max()) <= 6)

# %% [markdown]
# **Recognise it:** one class too many in the table, white rims in the answer. **Repair:** tell the loss, and the
# metrics, which label is void (`ignore_index`, 255 in VOC). It travels from the data set to both. The opposite
# mistake, void as *ground*, teaches thinner objects: half of the void line lies inside the outline.
#
# ## Failure 6: a rate beyond the crop
# A crop of 97 at output stride 16 is a map of $7 \times 7$. ASPP's branches have rates 6, 12 and 18. At rate 12,
# eight of the nine taps lie outside the map **at every position**. The 3x3 convolution is a 1x1 convolution that
# costs nine times as much.

# %%
import kernels
from kernels.geometry import Window

k, rng = kernels.load("reference"), np.random.default_rng(0)
x, w = rng.normal(size=(1, 7, 7, 4)), rng.normal(size=(3, 3, 4, 5))
wide = Window.conv(x.shape, w.shape, rate=12, padding="same")
point = Window.conv(x.shape, (1, 1, 4, 5))
check("a 3x3 convolution of rate 12 on a 7x7 map is its middle tap",
      k.conv2d(x, w, wide), k.conv2d(x, np.ascontiguousarray(w[1:2, 1:2]), point), 1e-12)  # fmt: skip
grad = k.conv2d_grad_weight(x, np.ones(wide.y_shape), wide)
check("taps with a gradient, of nine", int((np.abs(grad).sum((2, 3)) > 0).sum()), 1)

# %%
rates, axes = np.arange(1, 25), teach.panels(1, 1, 2.6)
for (crop, stride), style in zip(((97, 16), (193, 16), (513, 16), (513, 8)), ("o-", "s--", "^-.", "x:"), strict=True):
    side = (crop - 1) // stride + 1
    taps = 1 + 2 * np.maximum(0, side - rates) / side  # of 3 along a side, mean over the positions
    name = f"crop {crop}, output stride {stride}: map of {side}"
    axes.plot(rates, 100 * taps**2 / 9, style, markersize=4, label=name)
axes.axhline(100 / 9, color="black", linestyle=":", linewidth=1)
axes.set(xlabel="rate", ylabel="taps inside the map (%)", ylim=(0, 145))
axes.set_title("On the dotted line only the middle tap is left")
axes.set_xticks([1, 6, 12, 18, 24])
axes.legend(ncols=2, loc="upper center")
windows = [r for r in wide.regions() if r.kh1 - r.kh0 == r.kw1 - r.kw0 == 1]
inside = sum((r.p1 - r.p0) * (r.q1 - r.q0) for r in windows)
check("positions of the 7x7 map that have one tap alone, rate 12", inside, 49)

# %% [markdown]
# **Recognise it:** nothing fails, the large branches are only useless. **Repair:** a larger crop (513 in the papers), a
# smaller output stride with the *same* rates, or smaller rates. More on this curve in [09](09_deeplab_v3.ipynb).
#
# ## What you see, what it is, what to do

# %%
teach.table([
    ["loss starts far above ln K", "wrong scale of pictures or weights", "normalise; look at a view"],
    ["two pictures are not learnt", "labels, loss, gradient or rate are broken", "mend this first, before more data"],
    ["accuracy high, mIoU = lazy answer", "all is one class", "larger rate, more steps, class weights"],
    ["mask file is black", "class numbers shown as grey", "use a palette"],
    ["loss is NaN, or stays above ln K", "learning rate too large", "a tenth of it, warm-up, --find-lr"],
    ["training fine, validation poor", "batch norm with tiny batches", "larger batch, freeze_batch_norm"],
    ["strange classes along outlines", "labels resized bilinearly", "nearest neighbour"],
    ["white rims, one class too many", "void is a class", "ignore_index = 255"],
    ["ASPP brings nothing", "rate beyond the crop", "larger crop, smaller output stride"],
], ["what you see", "what it is", "what to do"])  # fmt: skip

# %% [markdown]
# ## What to keep
# Look at views, not only at files. Know the score of the lazy answer and the loss ln K before you start. Two pictures
# must be learnt by heart within a minute. Read table, confusion and worst pictures before you change the network. Most
# failures have a face: when you have seen it once, you know it.
#
# ## Exercise 1
# Write a function that resizes a label map with nearest neighbours, without Pillow. Row $i$ of $n$ rows reads row
# $\lfloor (i + 1/2) \cdot H / n \rfloor$ of the $H$ rows of the input; columns likewise.


# %%
def resize_labels(labels, height, width):
    """(H, W) labels -> (height, width) labels."""
    rows = ...
    columns = ...
    return labels[rows][:, columns]


# %%
def trial_1():
    found = resize_labels(mask, height, width)
    if np.shape(found) != (height, width):
        return f"the shape is {np.shape(found)}, wanted is {(height, width)}"
    wrong = int((found != small["nearest"]).sum())
    return wrong == 0 or f"the shape is right, {wrong} labels are not: which pixel does i = 0 read?"


# %%
attempt(1, resize_labels, trial_1)

# %% [markdown]
# ## Exercise 2
# Which is the largest rate at which a 3x3 convolution still reads more than its middle tap, at least at some position?
# The crop has `crop` pixels a side, the output stride is given, and the map has `(crop - 1) // output_stride + 1`
# positions a side.


# %%
def largest_rate(crop, output_stride):
    return ...


# %%
def taps_left(crop, output_stride, rate):
    side = (crop - 1) // output_stride + 1
    window = Window.conv((1, side, side, 1), (3, 3, 1, 1), rate=rate, padding="same")
    return max((r.kh1 - r.kh0) * (r.kw1 - r.kw0) for r in window.regions())


def trial_2():
    for crop, stride in ((97, 16), (193, 16), (513, 16), (513, 8)):
        rate = largest_rate(crop, stride)
        if taps_left(crop, stride, rate) == 1:
            return f"crop {crop}, output stride {stride}: at rate {rate} only the middle tap is left, everywhere"
        if taps_left(crop, stride, rate + 1) > 1:
            return f"crop {crop}, output stride {stride}: a rate larger than {rate} still reads more than the middle"
    return True


# %%
attempt(2, largest_rate, trial_2)

# %% [markdown]
# ## Next
# [12](12_gpu.ipynb): the same on a GPU. Or train on photographs of your own: the
# [README](../README.md) has the commands, and `report.html` of a run shows all pictures of this notebook for it.
