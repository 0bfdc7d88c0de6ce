# %% [markdown]
# # 00 What is a label map?
#
# A **network** is a program whose numbers are learnt from examples. An example is an image with its label map.
# **What does a label map say, how is it stored, and which mistakes spoil it before the learning starts?**
#
# You need: NumPy. You will see: label maps as pictures and as numbers, void, class balance, six spoilt masks and
# what the library says of each, and the mean IoU computed by hand; about 25 minutes.

# %%
import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(0)

# %%
image, labels = teach.sample(1)
left, middle, right = teach.panels(1, 3, 3.2)
left.imshow(image)
left.set(title="the image: what the network sees")
left.set_axis_off()
teach.draw_labels(labels, middle, "the label map: what it should answer")
right.imshow((0.45 * image + 0.55 * teach.coloured(labels)).astype(np.uint8))
right.set(title="both: the labels as a tint")
right.set_axis_off()

# %% [markdown]
# *Semantic segmentation* gives a class to **each pixel**. The answer is an image of the same height and width. It has
# no colours: it has numbers. Such an image is called a **label map**, or a *mask*. Our pictures have seven classes.
# They are drawn by code (`minideeplab.data.synthetic`), so nothing must be downloaded.
#
# ## 1. A label map is an array of small integers
#
# $$L \in \{0, 1, \dots, C-1, 255\}^{H \times W}$$
#
# $H$ and $W$ are the height and the width of the image, $C$ is the number of classes. 255 is special; section 3
# explains it.

# %%
names = teach.classes().class_names
found, pixels = np.unique(labels, return_counts=True)
check("image and label map have the same height and width", image.shape[:2] == labels.shape)
check("a label map has one channel of uint8", f"{labels.shape}, {labels.dtype}", "(160, 130), uint8")
check("the labels in this map", str(found.tolist()), "[0, 2, 5, 6, 255]")
rows = [[int(label), names[label] if label < 7 else "void", int(n)] for label, n in zip(found, pixels, strict=True)]
teach.table(rows, ["label", "name", "pixels"])

# %% [markdown]
# Look at the numbers themselves. The white square in the left picture is 10 pixels wide. The right picture shows its
# labels. No value lies between two classes: a label is a *name* that happens to be a number. Label 6 is not "more"
# than label 2.

# %%
border = np.argwhere(labels == 255)
top, start = next((int(r) - 5, int(c) - 5) for r, c in border if 20 < r < 140 and labels[r, c + 4] not in (0, 255))
patch = labels[top : top + 10, start : start + 10]
left, right = teach.panels(1, 2, 3.6)
left.imshow(image)
left.plot(start + np.array([0, 10, 10, 0, 0]) - 0.5, top + np.array([0, 0, 10, 10, 0]) - 0.5, color="white", lw=2)
left.set_axis_off()
left.set_title(f"rows {top} to {top + 9}, columns {start} to {start + 9}")
teach.draw_numbers(patch, right, "the same 100 pixels as labels", teach.coloured(patch))
check("three values in this patch: background, one class, void", len(np.unique(patch)), 3)

# %% [markdown]
# ## 2. Colours come from a palette
#
# A **palette** is a table with one colour for each label. The picture of a label map is one line of NumPy:
# `palette[labels]`. PASCAL VOC is a set of labelled photographs. Its palette follows a rule. The
# three lowest bits of the label become the highest bits of red, green and blue, the next three bits become the next
# ones, and so on. An example: 6 is 110 in binary. Its lowest bit is 0, so there is no red. The other two are 1, and
# the highest bit of a colour counts 128: green 128, blue 128. So neighbouring labels get colours that differ much.

# %%
from minideeplab.data import VOC_CLASSES, voc_colour_map

palette = voc_colour_map()
shown = np.array([*range(21), 255]).reshape(2, 11).astype(np.uint8)
words = np.array([f"{k}\n{VOC_CLASSES[k] if k < 21 else 'void'}" for k in shown.ravel()]).reshape(2, 11)
words = np.char.replace(np.char.replace(words, "background", "back-\nground"), "motorbike", "motor-\nbike")
words = np.char.replace(np.char.replace(words, "diningtable", "dining-\ntable"), "aeroplane", "aero-\nplane")
words = np.char.replace(np.char.replace(words, "pottedplant", "potted-\nplant"), "tvmonitor", "tv-\nmonitor")
teach.draw_numbers(words, teach.panels(1, 1, 1.9), "the VOC palette: 21 classes and void", palette[shown], size=8)
check("label 1 is dark red", str(palette[1].tolist()), "[128, 0, 0]")
check("label 6 has no red", str(palette[6].tolist()), "[0, 128, 128]")
check("void, label 255, is nearly white", str(palette[255].tolist()), "[224, 224, 192]")

# %% [markdown]
# A mask file is a **palette PNG** (Pillow's mode `P`). It stores the labels *and* the palette. A viewer shows
# colours; a program should read the labels. One wrong call makes colours of labels: `convert("RGB")`. Even
# `convert("L")` is wrong: it gives the grey of the colours. `read_mask` returns what the file stores.

# %%
import tempfile
from pathlib import Path

from PIL import Image

from minideeplab.data import read_mask, write_mask

folder = Path(tempfile.mkdtemp())
write_mask(folder / "good.png", labels)
with Image.open(folder / "good.png") as file:
    mode, grey, rgb = file.mode, np.array(file.convert("L")), np.array(file.convert("RGB"))
check("the file has Pillow's mode", mode, "P")
check("read_mask gives back every label", (read_mask(folder / "good.png", num_classes=7) == labels).all())
check('convert("L") gives grey levels, not labels', str(np.unique(grey).tolist()), "[0, 53, 75, 90, 220]")
check('convert("RGB") gives three channels', str(rgb.shape), "(160, 130, 3)")

# %% [markdown]
# ## 3. Void: pixels that nobody has named
#
# People who draw masks cannot say to which side a pixel on a border belongs. They mark it **void**: label 255 in VOC.
# Void is not a class. Learning skips void pixels, the score of an answer skips them, and a network never answers
# "void". (The name in code is `ignore_index`.) Seen one label at a time, a label map is a stack of black and white
# pictures. Together they cover each pixel exactly once.

# %%
planes = [labels == label for label in found]
titles = [f"{label}: {names[label] if label < 7 else 'void'}" for label in found]
teach.show(planes, titles, cmap="gray", vmin=0, vmax=1)
check("each pixel has exactly one label", int(np.sum(planes, axis=0).max()), 1)
check("share of void in this map, in percent", 100 * np.mean(labels == 255), 9.6, 0.1)

# %% [markdown]
# ## 4. Class balance: most pixels are background
#
# How often does each class occur? `LabelCounts` counts pixels and images, here over 100 label maps.

# %%
from minideeplab.data import LabelCounts

counts = LabelCounts(names, ignore_index=255)
for number in range(100):
    counts.add(teach.sample(number)[1])
share = counts.pixels[:7] / counts.labelled
left, right = teach.panels(1, 2, 2.8, sharey=True)
for axes, values, title in ((left, 100 * share, "labelled pixels"), (right, counts.masks[:7], "of 100 images")):
    bars = axes.barh(names, values, color=[teach.GREY] + [teach.BLUE] * 6)
    axes.bar_label(bars, fmt="%.1f" if axes is left else "%d", padding=3)
    axes.set(title=title, xlim=(0, 115), xlabel="percent" if axes is left else "images that have the class")
left.invert_yaxis()
check("share of background, percent of the labelled pixels", 100 * share[0], 77.1, 0.05)
check("share of void, percent of all pixels", 100 * counts.void_share, 7.05, 0.01)

# %% [markdown]
# This balance has a consequence. Take a "network" that says *background* everywhere. It is right at 77 % of all
# pixels, and it has found nothing. So papers do not report the share of right pixels (*pixel accuracy*) alone. They
# report the **mean IoU**, in which each class has the same weight. Section 5 computes it by hand; here is what it
# says of this lazy network.

# %%
from minideeplab.evaluation import ConfusionMatrix

lazy = ConfusionMatrix(7)
for number in range(100):
    truth = teach.sample(number)[1]
    lazy.update(truth, np.zeros_like(truth))
axes = teach.panels(1, 1, 1.6)
bars = axes.barh(["pixel accuracy", "mean IoU"], [100 * lazy.pixel_accuracy(), 100 * lazy.mean_iou()], color=teach.BLUE)
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(title='the answer "background everywhere", 100 images', xlabel="percent", xlim=(0, 100))
check("pixel accuracy of background everywhere, percent", 100 * lazy.pixel_accuracy(), 77.1, 0.05)
check("its mean IoU is a seventh of that: six classes have 0", 100 * lazy.mean_iou(), 77.1 / 7, 0.05)

# %% [markdown]
# ## 5. Mean IoU by hand, on a map of 4 x 4 pixels
#
# IoU means *intersection over union*. For one class $c$, take all pixels where the truth says $c$, and all where the
# prediction says $c$:
#
# $$\mathrm{IoU}_c = \frac{|\text{truth}_c \cap \text{prediction}_c|}{|\text{truth}_c \cup \text{prediction}_c|}, \qquad
# \text{mean IoU} = \text{mean of } \mathrm{IoU}_c \text{ over the classes}$$
#
# Void pixels are taken out first, whatever the prediction says there.

# %%
truth = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 255, 255, 1], [2, 2, 0, 0]], np.uint8)
prediction = np.array([[0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 1], [2, 0, 0, 0]], np.uint8)
counted = truth != 255
grid = teach.panels(1, 5, 1.9)
teach.draw_numbers(truth, grid[0], "truth", teach.coloured(truth))
teach.draw_numbers(prediction, grid[1], "prediction", teach.coloured(prediction))
for c, axes in enumerate(grid[2:]):
    both = (truth == c) & (prediction == c) & counted
    either = ((truth == c) | (prediction == c)) & counted
    word = np.where(both, "both", np.where(either, "one", ""))
    colour = np.where(both[..., None], [0, 114, 178], np.where(either[..., None], [240, 228, 66], 255)).astype(np.uint8)
    teach.draw_numbers(word, axes, f"class {c}: {both.sum()} of {either.sum()}", colour, size=8)

# %% [markdown]
# Blue squares are the intersection. Blue and yellow squares together are the union. Count them, then let the library
# count. Its tool is the **confusion matrix**: row $t$, column $p$ holds the number of pixels of class $t$ that were
# predicted as $p$. The intersection is on the diagonal; the union is the row plus the column minus the diagonal.

# %%
by_hand = np.array([6 / 9, 4 / 6, 1 / 2])
confusion = ConfusionMatrix(3)
confusion.update(truth, prediction)
shade = np.full((3, 3, 3), 255, np.uint8)
shade[range(3), range(3)] = (86, 180, 233)
axes = teach.panels(1, 1, 2.2)
teach.draw_numbers(confusion.counts, axes, "confusion matrix: the diagonal is right", shade, size=11)
axes.set(xticks=range(3), yticks=range(3), xlabel="predicted class", ylabel="true class")
check("IoU of the three classes, by hand and by the library", confusion.iou(), by_hand, 1e-12)
check("mean IoU", confusion.mean_iou(), by_hand.mean(), 1e-12)
check("pixel accuracy: 11 of 14 labelled pixels", confusion.pixel_accuracy(), 11 / 14, 1e-12)

# %% [markdown]
# > **Check it.** The counts are summed over the *whole data set* before the ratio is taken. The mean of the scores of
# > single images is another number, and a mistake that one sees often. Two images show it.

# %%
easy = np.array([0, 0, 0, 0, 0, 0, 0, 1], np.uint8), np.array([0, 0, 0, 0, 0, 0, 0, 1], np.uint8)
hard = np.array([0, 1, 1, 1, 1, 1, 1, 1], np.uint8), np.array([0, 0, 0, 0, 0, 0, 0, 1], np.uint8)
together, single = ConfusionMatrix(2), []
for one_truth, one_prediction in (easy, hard):
    alone = ConfusionMatrix(2)
    for matrix in (alone, together):
        matrix.update(one_truth, one_prediction)
    single.append(alone.mean_iou())
check("mean of the two images' scores", np.mean(single), 0.571, 0.001)
check("score of the set, as VOC defines it", together.mean_iou(), 0.411, 0.001)

# %% [markdown]
# ## 6. The first mistake: a label map that was resized with interpolation
#
# Images are resized with *bilinear* interpolation: a new pixel is a weighted mean of its neighbours. For labels this
# is nonsense. The mean of cat (8) and sofa (18) is 13, which is a horse. Labels need *nearest neighbour*: a new pixel
# takes the label of one old pixel.

# %%
step = 6 * np.tri(5, dtype=np.uint8)  # background, and a corner of a star (6)
twice = [np.array(Image.fromarray(step).resize((10, 10), way)) for way in (Image.NEAREST, Image.BILINEAR)]
grid = teach.panels(1, 3, 2.9)
for axes, values, title in zip(grid, (step, *twice), ("5 x 5 labels", "nearest, x 2", "bilinear, x 2"), strict=True):
    invented = ~np.isin(values, step)
    teach.draw_numbers(values, axes, title, np.where(invented[..., None], [240, 228, 66], 255).astype(np.uint8))
grid[2].set_title(f"bilinear, x 2: {invented.sum()} labels invented")
check("labels after nearest", str(np.unique(twice[0]).tolist()), "[0, 6]")
check("bilinear invents labels between 0 and 6", len(set(np.unique(twice[1])) - {0, 6}) > 0)

# %% [markdown]
# In a whole map the invented classes lie around each object like the skins of an onion. Void (255) makes it worse:
# between 0 and 255 there is room for 254 values. The pictures show a part of the map at twice its size.

# %%
part = labels[62:132, 30:100]
without_void = np.where(part == 255, 0, part)


def twice_as_large(mask, way):
    return np.array(Image.fromarray(mask).resize((140, 140), way))


sharp = twice_as_large(part, Image.NEAREST)
onion, blurred = twice_as_large(without_void, Image.BILINEAR), twice_as_large(part, Image.BILINEAR)
grid = teach.panels(1, 3, 3.0)
teach.draw_labels(sharp, grid[0], "nearest neighbour")
teach.draw_labels(onion, grid[1], "bilinear, map without void:\nwrong classes, all of them allowed", names=False)
teach.draw_labels(blurred, grid[2], "bilinear, map with void:\nvalues that are no label", names=False)
check("values after nearest: the old ones", str(np.unique(sharp).tolist()), str(np.unique(part).tolist()))
check("values after bilinear, without void", str(np.unique(onion).tolist()), "[0, 1, 2, 3, 4, 5, 6]")
check("more than 20 values after bilinear, with void", len(np.unique(blurred)) > 20)

# %% [markdown]
# The middle map is the dangerous one: every value is a class, so no program can refuse it pixel by pixel.
# `inspect_data` looks at the borders as a whole and doubts it, though not always: with small objects, or labels 0 to
# 3 alone, nobody can tell.

# %%
from textwrap import fill

from minideeplab.data.damage import doubt

whole = Image.fromarray(np.where(labels == 255, 0, labels))
said = doubt(np.array(whole.resize((195, 240), Image.BILINEAR)), void=255)
print(fill(said, 95))
check("the library doubts the map that was resized bilinearly", said is not None)
check("it does not doubt one resized with nearest", doubt(np.array(whole.resize((195, 240), Image.NEAREST)), 255), None)

# %% [markdown]
# ## 7. A gallery of spoilt masks, and what the library says
#
# Seven files. Six are spoilt in ways that people report again and again. `read_mask` looks at the whole mask, not at
# one bad pixel, and names the cause. The marks differ. Interpolation leaves values *between* both sides of a border.
# JPEG leaves values around those of the regions, up to eight pixels away from any border, and beyond both sides.

# %%
import os

from minideeplab.errors import DataError

large = np.kron(labels, np.ones((4, 4), np.uint8))  # as large as a photograph: 640 x 520


def said_of(name, picture, **options):
    """Saves a mask, reads it again, and returns what the library says."""
    picture.save(folder / name, **options)
    try:
        return f"accepted: labels {np.unique(read_mask(folder / name, num_classes=7)).tolist()}"
    except DataError as error:
        return str(error).replace(f"{folder}{os.sep}", "")


Image.fromarray(large).save(folder / "lossy.jpg", quality=75)
from_jpeg = Image.open(folder / "lossy.jpg").convert("L")
swapped = np.ascontiguousarray(palette[labels][..., ::-1])
other = palette.copy()
other[2], other[5], other[6] = (255, 0, 0), (0, 0, 255), (255, 165, 0)

# %%
spoilt = {
    "lossy.jpg": ("saved as JPEG", from_jpeg, {"quality": 75}),
    "lossy.png": ("JPEG, saved as PNG later", from_jpeg, {}),
    "bilinear.png": ("resized with\nbilinear", Image.fromarray(blurred), {}),
    "grey.png": ("colours saved\nas grey", Image.fromarray(grey), {}),
    "bgr.png": ("red and blue\nexchanged", Image.fromarray(swapped), {}),
    "other.png": ("RGB, colours of\nanother table", Image.fromarray(other[labels]), {}),
    "rgb.png": ("RGB, colours\nof VOC", Image.fromarray(palette[labels]), {}),
}
words = {name: said_of(name, picture, **options) for name, (_, picture, options) in spoilt.items()}
rows = [[name, title.replace("\n", " "), words[name]] for name, (title, _, _) in spoilt.items()]
teach.table(rows, ["file", "what happened", "what read_mask says"])

# %%
pictures = [np.array(picture.convert("RGB").resize((130, 160), Image.NEAREST)) for _, picture, _ in spoilt.values()]
pictures[2] = np.array(Image.fromarray(palette[blurred]).resize((130, 160), Image.NEAREST))
teach.show(pictures[2:], [title for title, _, _ in list(spoilt.values())[2:]], columns=5)
for name, part in {
    "lossy.jpg": "this mask is a JPEG file",
    "lossy.png": "the mask was a JPEG file once",
    "bilinear.png": "resized with interpolation",
    "grey.png": "grey levels of the classes' colours",
    "bgr.png": "Red and blue seem to be exchanged",
    "other.png": "drawn with other colours",
    "rgb.png": "accepted",
}.items():
    check(f'{name}: the library says "{part}"', part in words[name])

# %% [markdown]
# The last one is no mistake: an RGB mask with the colours of the table is read by its colours. The two JPEG files are
# not in the picture, because nobody would see the damage. They deserve a closer look. The picture shows the same 12 x
# 12 pixels of the file before and after; changed labels are yellow. A changed label from 1 to 6 is a class: one pixel
# alone would be believed. The mask as a whole betrays it.

# %%
lossy = np.array(from_jpeg)
r, c = 4 * top + 8, 4 * start + 16
before, after = large[r : r + 12, c : c + 12], lossy[r : r + 12, c : c + 12]
left, right = teach.panels(1, 2, 3.9)
changed = np.where((before != after)[..., None], [240, 228, 66], 255).astype(np.uint8)
teach.draw_numbers(before, left, f"stored labels: {len(np.unique(before))} values")
teach.draw_numbers(after, right, f"after JPEG: {len(np.unique(after))} values", changed)
check("values in the whole file before", len(np.unique(large)), 5)
check("more than 20 values after JPEG", len(np.unique(lossy)) > 20)

# %% [markdown]
# ## 8. The mistake that no single file shows: 0 and 255
#
# A painting program stores two classes as black and white: 0 and 255. But 255 is void! `read_mask` cannot know
# better, since each value is allowed. The network then learns "background everywhere", no labelled pixel disagrees,
# and each prediction is black. Only the whole *set* shows it: class 1 never occurs. `inspect` reads the whole set and
# says so.

# %%
from minideeplab.data import inspect, open_dataset

two = folder / "two_classes"
for part in ("images", "masks"):
    (two / part).mkdir(parents=True, exist_ok=True)
for number in range(6):
    picture, mask = teach.sample(number)
    Image.fromarray(picture).save(two / "images" / f"{number}.png")
    Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8)).save(two / "masks" / f"{number}.png")
(two / "classes.txt").write_text("background\nobject\n")
(two / "train.txt").write_text("0\n1\n2\n3\n")
(two / "val.txt").write_text("4\n5\n")
findings = inspect([open_dataset(two, split=split) for split in ("train", "val")]).findings
for finding in findings:
    print(fill(f"{finding.level}: {finding.text}. {finding.fix}", 95), "\n")
check("the library asks whether 255 was meant as label 1", any("--label-map binary" in f.text for f in findings))

# %%
found = [np.unique(open_dataset(two, split="train", label_map=way).mask(0)).tolist() for way in (None, "binary")]
one = np.array(Image.open(two / "masks" / "0.png"))
titles = ["what the file stores:\n0 and 255", "how it is read:\n0 and void", "with label_map='binary':\n0 and 1"]
teach.show([np.repeat(one[..., None], 3, 2), teach.coloured(one), teach.coloured(one // 255)], titles)
check("labels as they are read: background and void", str(found[0]), "[0, 255]")
check("labels with label_map='binary'", str(found[1]), "[0, 1]")

# %% [markdown]
# ## 9. Label maps made smaller: what thin things survive
#
# A network of **output stride** $s$ answers on a grid: one position for $s \times s$ pixels (8 or 16 in DeepLab).
# DeepLab v1 made its label maps as small as the answer, by taking each 8th label of each 8th row. What is lost?

# %%
from minideeplab.nn.losses import thinned


def there_and_back(mask, stride):
    """Each stride-th label, from the first, then enlarged again: each label fills a square around its place."""
    h, w = mask.shape
    few = thinned(mask[None], stride, (-(-h // stride), -(-w // stride)), 255)[0]
    rows, columns = ((np.arange(n) + stride // 2) // stride for n in (h, w))
    return few[np.minimum(rows, few.shape[0] - 1)[:, None], np.minimum(columns, few.shape[1] - 1)]


grid = teach.panels(1, 4, 2.7)
for axes, stride in zip(grid, (1, 4, 8, 16), strict=True):
    size = " x ".join(str(-(-n // stride)) for n in labels.shape)
    teach.draw_labels(there_and_back(labels, stride), axes, f"stride {stride}: {size} labels", names=False)
check("stride 1 changes nothing", (there_and_back(labels, 1) == labels).all())

# %% [markdown]
# Now a drawing with bars of 1, 2, 4, 8 and 16 pixels. A bar of width $w$ leaves a trace if a sample falls on it. The
# samples lie $s$ pixels apart, so over all places of the bar this happens in a share of
#
# $$\min\left(1, \frac{w}{s}\right).$$

# %%
bars, at = np.zeros((65, 129), np.uint8), {1: 6, 2: 18, 4: 33, 8: 57, 16: 90}
for w, column in at.items():
    bars[:, column : column + w] = 1
grid = teach.panels(1, 3, 1.6)
for axes, stride in zip(grid, (1, 8, 16), strict=True):
    axes.imshow(there_and_back(bars, stride), cmap="gray_r", aspect="auto")
    axes.set(title="bars as drawn" if stride == 1 else f"seen at stride {stride}", yticks=[])
    axes.set_xticks([column + w / 2 for w, column in at.items()], [f"{w}" for w in at])
    axes.set_xlabel("width of the bar, pixels")
for stride in (8, 16):
    survive = [np.mean([any(x % stride == 0 for x in range(x0, x0 + w)) for x0 in range(stride)]) for w in at]
    check(f"share of places where bars survive stride {stride}", np.array(survive), [min(1, w / stride) for w in at])

# %% [markdown]
# How much does a *perfect* network lose if it answers on such a grid? Compare each label map with its own copy, there
# and back, over 100 images. (Pixels whose sample was void are left out.) The curve is a ceiling for answers that are
# enlarged in squares. (Real networks enlarge scores bilinearly and lose less: notebook [10](10_deeplab_v3plus.ipynb)
# looks at borders.)

# %%
strides, ceiling = (1, 2, 4, 8, 16, 32), []
for stride in strides:
    matrix = ConfusionMatrix(7)
    for number in range(100):
        mask = teach.sample(number)[1]
        again = there_and_back(mask, stride)
        matrix.update(np.where(again == 255, 255, mask), np.where(again == 255, 0, again))
    ceiling.append(100 * matrix.mean_iou())
axes = teach.panels(1, 1, 2.6)
axes.plot(range(6), ceiling, "o-")
for x, y in enumerate(ceiling):
    axes.annotate(f"{y:.1f}", (x, y), (0, 7), textcoords="offset points", ha="center")
axes.set(xticks=range(6), xticklabels=strides, xlabel="stride, pixels", ylabel="mean IoU, percent", ylim=(40, 112))
axes.set_title("labels at a stride, enlarged again, against themselves: a ceiling")
check("the ceiling at stride 8, percent", ceiling[3], 95.6, 0.1)
check("the ceiling at stride 16, percent", ceiling[4], 78.6, 0.1)

# %% [markdown]
# DeepLab v3 therefore keeps the label maps whole, and enlarges the *scores* of the network instead, one number for
# each class and position. The paper
# measured what this gives on VOC (table 8, quoted, not run here): mean IoU **77.21** with whole label maps, **76.01**
# with small ones.
#
# ## What to keep
#
# A label map has one small integer for each pixel; colours come from a palette. Learning and scores skip void (255).
# Most pixels are background, so we measure the mean IoU, with counts summed over the whole set. Labels are resized
# with nearest neighbour and stored as PNG, never as JPEG. Before you train, run `python -m minideeplab.inspect_data
# --data YOUR_FOLDER --out looked_at`: it looks for all mistakes of this notebook.
#
# ## Exercises
#
# **Exercise 1.** Write nearest-neighbour resizing with NumPy alone. The old map has $H$ rows, the new one has $n$. The
# middle of new row $i$ lies at $(i + 0.5)\,H/n$ in the old map. The new row takes the labels of the old row in which
# that point lies. Columns are done alike. `hint(1)` helps.


# %%
def resized(mask, height, width):
    """(H, W) labels -> (height, width) labels, nearest neighbour."""
    return ...  # fill in: which rows, and which columns, are taken?


# %%
attempt(1, resized, lambda: (
    ... if resized(labels, 40, 30) is ...
    else teach.show([labels, resized(labels, 40, 30)], ["160 x 130 labels", "yours: 40 x 30 labels"], vmin=0, vmax=7)
    or next((f"yours has shape {resized(labels, h, w).shape}, ({h}, {w}) is wanted"
             for h, w in ((40, 30), (320, 260)) if resized(labels, h, w).shape != (h, w)), None)
    or all(
        np.array_equal(resized(labels, h, w), Image.fromarray(labels).resize((w, h), Image.NEAREST))
        for h, w in ((40, 30), (320, 260), (64, 48)))
    or "Pillow's nearest neighbour gives other labels: is the middle of the new pixel meant?"))  # fmt: skip


# %% [markdown]
# **Exercise 2.** Write the IoU of one class, with void left out. `hint(2)` helps.


# %%
def iou(truth, prediction, label, void=255):
    """Intersection over union of one class; the prediction counts only where the truth is not void."""
    return ...  # fill in


# %%
attempt(2, iou, lambda: (
    np.allclose([float(iou(truth, prediction, label)) for label in range(3)], confusion.iou())
    or "the three classes of section 5 have other IoUs: are void pixels left out of the prediction, too?"
))  # fmt: skip

# %% [markdown]
# ## Next
#
# [01 From six loops to faster than PyTorch](01_six_loops.ipynb) writes the operation that all networks here are made
# of. [05 Losing sensibly](05_losses.ipynb) goes on with label maps: what a network pays for each wrong pixel.
