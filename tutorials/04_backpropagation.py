# %% [markdown]
# # 04 Backpropagation you can trust
#
# **How does a program find the gradient of a million weights, and how do we know that it is right?**
#
# You need: NumPy, the chain rule, what a convolution is ([02](02_holes.ipynb)). You will see: a graph walked
# backwards, memory that falls, five tests and four planted faults; about 30 minutes.

# %%
import numpy as np

from minideeplab import teach
from minideeplab.teach import attempt, check, hint

teach.begin(4)

# %% [markdown]
# ## 1. A graph that remembers
#
# A network answers with numbers. The **loss** is one number that says how wrong they are. Training asks one question:
# *if I change this weight a little, how does the loss change?* The answer is the **gradient**. Computing the loss is
# called the **forward** pass. A `Tensor`, an array of this library, remembers there how it was made. From this record
# the gradient is found in the **backward** pass, node by node.
#
# Our first graph is a diamond. The value $u$ is used twice:
#
# $$u = 3x, \qquad a = u \cdot u, \qquad b = 5u, \qquad y = a + b$$

# %%
from minideeplab import Tensor


def diamond():
    """x, y, and all tensors by name."""
    x = Tensor(np.array(2.0), requires_grad=True)  # float64
    u = 3.0 * x
    a, b = u * u, 5.0 * u
    y = a + b
    return y, {"x": x, "u": u, "a": a, "b": b, "y": y}


y, names = diamond()
values = [f"value {names[node.name].item():g}" for node in teach.graph(y, names=names)]
teach.draw_graph(teach.graph(y, names=names), notes=dict(enumerate(values)), memory=False)

# %% [markdown]
# An arrow goes from a value to who reads it. `Multiply` a reads $u$ twice, so two arrows go there. The constants 3
# and 5 are not drawn: nobody asks for their gradient.
#
# Each node knows one small thing: its own derivative. It gets the gradient of its result, and it hands a gradient to
# each of its inputs. **What arrives at one place is summed.** That is the chain rule, and there is nothing else in
# backpropagation:
#
# $$\frac{\partial y}{\partial u} = \underbrace{1 \cdot u}_{a,\ \text{first input}}
# + \underbrace{1 \cdot u}_{a,\ \text{second input}} + \underbrace{1 \cdot 5}_{b} = 6 + 6 + 5 = 17$$
#
# `walk_back` runs `y.backward()` and writes down what happens.

# %%
steps = teach.walk_back(y, names=names)
nodes = {step.node.number: step.node for step in steps}


def sentence(step):
    targets = [nodes[n].name if n in nodes else "x" for n in step.node.reads]
    return ", ".join(f"{float(g):g} to {t}" for t, g in zip(targets, step.handed, strict=True))


teach.table(
    [[i + 1, s.node.name, s.node.op, float(s.gradient), sentence(s)] for i, s in enumerate(steps)],
    ["step", "node", "operation", "gradient that came in", "hands on"],
)

# %%
check("the gradient of u is the sum of three", steps[-1].gradient, 17.0)
check("dy/dx = (2 u + 5) 3", names["x"].grad, 51.0)
y, names = diamond()
arrived = {step.node.name: f"gradient {float(step.gradient):g}" for step in teach.walk_back(y, names=names)} | {
    "x": "gradient 51"
}
y, names = diamond()
nodes = teach.graph(y, names=names)
teach.draw_graph(
    nodes, notes={n.number: f"value {names[n.name].item():g},  {arrived[n.name]}" for n in nodes}, memory=False
)

# %% [markdown]
# **The order matters.** Node $u$ must wait until $a$ *and* $b$ have handed their gradients. The engine therefore
# sorts the nodes first: each node comes after all of its readers. Walking every *path* instead would also give the
# right sum, but a chain of diamonds has very many paths.


# %%
def paths(nodes):
    """Ways from the loss down to the input."""
    ways = {nodes[-1].number: 1}
    for node in reversed(nodes):
        for n in node.reads:
            ways[n] = ways.get(n, 0) + ways[node.number]
    return ways[0]


x = y = Tensor(np.array(0.1), requires_grad=True)
for _ in range(30):
    y = y + y * 0.5
chain = teach.graph(y)
check("nodes of 30 diamonds in a chain", len(chain), 61)
check("paths through them", paths(chain), 2**30)

# %% [markdown]
# One step for each node: 61 steps instead of a thousand million. Read the loop yourself, it has twenty lines:
# [function.py](../minideeplab/autograd/function.py), `backpropagate`.

# %% [markdown]
# ## 2. Memory rises, then it falls
#
# To know its derivative, a node must **keep** some arrays. A convolution keeps its input. A ReLU, which sets negative
# numbers to zero (`Activate`), keeps its result. Here is a small network with its loss. The last convolution gives
# seven scores for each pixel, one for each class. `cross_entropy` makes one number of them; [05](05_losses.ipynb)
# explains it. The weights are the **parameters** of the network. The blue boxes say how many bytes a node keeps.

# %%
from minideeplab import nn, ops
from minideeplab.nn.losses import cross_entropy


class Small(nn.Module):
    """Two convolutions, a shortcut around the second one, a classifier of 7 classes."""

    def __init__(self, middle=ops.conv2d):
        self.first, self.second, self.classifier = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 7, 1)
        self.middle = middle
        self.initialise(seed=0)

    def forward(self, x):
        x = self.first(x).relu()
        x = x + self.middle(x, self.second.weight).relu()
        return self.classifier(x)


image, labels = teach.sample(3)
image, labels = Tensor(image[None, :96, :96].astype(np.float32) / 255), labels[None, :96, :96].copy()
model = Small()
nodes = teach.graph(cross_entropy(model(image), labels), model)
teach.draw_graph(nodes)

# %% [markdown]
# Two nodes can keep the *same* array: the result of `Activate` is also the input of the next convolution. It is held
# once. So we add only what is new at each node.
#
# On the way back each node frees its arrays as soon as it has run. `walk_back` measures this: an array counts until
# it is really gone.

# %%
steps = teach.walk_back(cross_entropy(model(image), labels), model)
rising = np.cumsum([n.added for n in nodes if n.op != "parameter"])
falling = np.array([step.held for step in steps])
forward = [n.name or n.op for n in nodes if n.op != "parameter"]
backward = [step.node.name or step.node.op for step in steps]
axes = teach.panels(1, 1, 3.0)
axes.bar(range(len(rising)), rising / 1e3, color=teach.SKY, label="forward: each node keeps something")
axes.bar(np.arange(len(falling)) + len(rising), falling / 1e3, color=teach.BLUE, label="backward: each node frees it")
axes.set_xticks(range(len(rising) + len(falling)), forward + backward, rotation=60, ha="right", fontsize=8)
axes.set_ylabel("saved arrays, kB")
axes.set_title("memory of the graph, one node after the other")
axes.legend(loc="upper right")
check("bytes at the top", int(rising[-1]), int(max(rising)))
check(
    "bytes that remain: the image and its labels, which we hold ourselves",
    int(falling[-1]),
    image.data.nbytes + labels.nbytes,
)

# %% [markdown]
# The top of this mountain is the memory that training needs. That is why training needs much more memory than
# prediction, which keeps nothing.
#
# ### Memory against time: compute it again
#
# Take a chain of 16 blocks. A block (`ConvNorm`) is a convolution, a shift and scale of each channel, and a ReLU. We
# can keep only the **input of each group** of blocks. When backward arrives at a group, it runs the group forward once
# more (Chen et al. 2016). `recompute(part, x)` does this.

# %%
from minideeplab.autograd.function import recompute
from minideeplab.nn import Sequential

BLOCKS = [nn.ConvNorm(8, 8, 3) for _ in range(16)]
for seed, block in enumerate(BLOCKS):
    block.initialise(seed)
features = np.random.default_rng(0).standard_normal((1, 96, 96, 8)).astype(np.float32)
rows = []
for groups in (1, 2, 4, 8, 16):
    parts = [Sequential(*BLOCKS[i : i + 16 // groups]) for i in range(0, 16, 16 // groups)]
    inside = sum(n.added for n in teach.graph(parts[0](Tensor(features, True)).sum(), parts[0]))
    x = Tensor(features, True)
    for part in parts:
        x = recompute(part, x)
    kept = sum(n.added for n in teach.graph(x.sum(), Sequential(*parts)))
    rows.append((groups, kept, inside))

# %%
plain = rows[0][2]
kept, inside = (np.array([row[i] for row in rows]) / 1e6 for i in (1, 2))
axes = teach.panels(1, 1, 2.8)
axes.bar(
    ["all kept"] + [f"{row[0]} group{'s' * (row[0] > 1)}" for row in rows],
    [plain / 1e6, *kept],
    color=teach.BLUE,
    label="inputs of groups",
)
axes.bar(range(1, 6), inside, bottom=kept, color=teach.SKY, label="inside of one group, on the way back")
axes.bar(0, plain / 1e6, color=teach.GREY, label="everything, as usual")
axes.set_ylabel("peak of saved arrays, MB")
axes.set_title("16 blocks: few groups have much inside, many groups have many inputs")
axes.legend(loc="upper center", bbox_to_anchor=(0.58, 1))
peaks = {groups: kept + inside for groups, kept, inside in rows}
check("memory with 4 groups, as a share of 'all kept'", peaks[4] / plain, 9 / 17, 0.01)
check("8 groups need more", peaks[8] / peaks[4], 11 / 9, 0.02)
check("2 groups need as much as 8", peaks[2] / peaks[8], 1, 0.01)

# %% [markdown]
# A block keeps one array: what its convolution found. Batch norm and ReLU make theirs from it again, when the way back
# needs it. With the input that makes 17 arrays. With $g$ groups the peak is $g + 16 / g + 1$ arrays. This is smallest
# at $g = \sqrt{16} = 4$. For $n$ blocks the peak grows like $\sqrt{n}$ instead of $n$.
#
# The price is time: each block runs forward twice. A backward pass costs about as much as two forward passes, so a
# training step costs about three. Now it costs four: a third more. We count the runs, because a count is the same on
# every machine.


# %%
class Counted(nn.Module):
    runs = 0

    def forward(self, x):
        Counted.runs += 1
        return x.relu()


for groups, expected in ((0, 16), (4, 32)):
    Counted.runs, x = 0, Tensor(features, True)
    for _ in range(groups or 16):
        part = Sequential(*[Counted() for _ in range(16 // (groups or 16))])
        x = recompute(part, x) if groups else part(x)
    x.sum().backward()
    check(f"forward runs of 16 blocks, {f'{groups} groups' if groups else 'all kept'}", Counted.runs, expected)

# %% [markdown]
# ## 3. The derivative of a convolution is a convolution
#
# A convolution in one dimension: $y[i] = \sum_k x[i + rk]\, w[k]$. It is linear in $x$. So it is a matrix: $y = A x$.
# Backward multiplies by the same matrix, turned around: $\partial L / \partial x = A^\top\, \partial L / \partial y$.
# This $A^\top$ is called the **adjoint**.
#
# We never store $A$. But here we can: we send unit vectors through the convolution.

# %%
from kernels.reference.conv2d import atrous_conv1d

w, rate, length = np.array([1.0, 2.0, 3.0]), 2, 10
A = np.stack([atrous_conv1d(unit, w, rate) for unit in np.eye(length)], axis=1)  # (6, 10)
left, right = teach.panels(1, 2, 3.4, width_ratios=[10, 6])
left.set(xlabel="position in x", ylabel="position in y", title="A: reads x, rate 2, taps 1 2 3")
right.set(xlabel="position in y", ylabel="position in x", title="its adjoint: taps 3 2 1 from the left")
for axes, matrix in ((left, A), (right, A.T)):
    axes.imshow(matrix, cmap="Blues", vmax=4)
    for (i, j), value in np.ndenumerate(matrix):
        if value:
            axes.text(j, i, f"{value:g}", ha="center", va="center", color="white" if value > 2 else "black")

# %% [markdown]
# Look along a row of the right matrix: again the taps at distance 2, in the **opposite order**, and cut at the
# border. So the adjoint is the convolution with the flipped filter, after $r(K-1)$ zeros are put on each side:
#
# $$\frac{\partial L}{\partial x}[j] = \sum_k \frac{\partial L}{\partial y}[j - rk]\; w[k]$$

# %%
g = np.random.default_rng(0).standard_normal(len(A))
edge = rate * (len(w) - 1)
check(
    "adjoint = flipped filter on the padded gradient",
    np.abs(A.T @ g - atrous_conv1d(np.pad(g, edge), w[::-1], rate)).max(),
    0,
    1e-12,
)

# %% [markdown]
# In two dimensions it is the same. The library's `conv2d_grad_input` must equal an ordinary `conv2d` of the gradient:
# filter flipped in both directions, input and output channels exchanged. And the gradient of the **weights** is a sum
# over all positions: each tap multiplies what it has read with what came back.

# %%
import kernels
from kernels.geometry import Window

cpu, normal = kernels.load("cpu"), np.random.default_rng(1).standard_normal
x, w2 = normal((1, 12, 15, 4)), normal((3, 3, 4, 5))
win = Window.conv(x.shape, w2.shape, rate=2, padding="same")
grad = normal(win.y_shape)
flipped = np.ascontiguousarray(w2[::-1, ::-1].transpose(0, 1, 3, 2))
back = cpu.conv2d(grad, flipped, Window.conv(grad.shape, flipped.shape, rate=2, padding="same"))
difference = np.abs(cpu.conv2d_grad_input(grad, w2, win) - back).max()
check("conv2d_grad_input = conv2d with the flipped filter", difference, 0, 1e-12)

# %%
padded, taps = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), np.empty(w2.shape)
for i in range(3):
    for j in range(3):
        read = padded[:, 2 * i : 2 * i + 12, 2 * j : 2 * j + 15]  # what tap (i, j) reads, at rate 2
        taps[i, j] = np.einsum("nhwc,nhwk->ck", read, grad)
difference = np.abs(cpu.conv2d_grad_weight(x, grad, win) - taps).max()
check("conv2d_grad_weight = what a tap reads, times the gradient", difference, 0, 1e-11)

# %% [markdown]
# > **Check it.** People say: "a transposed convolution undoes a convolution". It does not. It is the adjoint: it
# > sends a gradient back to where it came from. $A^\top A$ is not the identity.

# %%
check("is A^T A the identity?", bool(np.allclose(A.T @ A, np.eye(length))), False)

# %% [markdown]
# ## 4. Test one: differences
#
# The oldest test needs no theory. Change the input by a small step $h$ to both sides, and look:
#
# $$f'(x) \approx \frac{f(x + h) - f(x - h)}{2h}, \qquad
# \text{error} \approx
# \underbrace{c\,h^2}_{\text{the curve bends}} + \underbrace{\varepsilon / h}_{\text{digits are lost}}$$
#
# A large $h$ is wrong because $f$ bends. A small $h$ is wrong because the two values are almost equal, and their
# difference keeps few digits. $\varepsilon$ is the rounding of the number type: $10^{-16}$ for float64, $10^{-7}$ for
# float32.


# %%
def slope_error(dtype, loss_of, h):
    """|difference - backward| in one direction d of all weights."""
    rng = np.random.default_rng(2)
    x, w, d = (rng.standard_normal(s).astype(dtype) for s in ((1, 8, 8, 3), (3, 3, 3, 7), (3, 3, 3, 7)))
    weight = Tensor(w, requires_grad=True)
    loss_of(ops.conv2d(Tensor(x), weight)).backward()
    exact = float(np.vdot(weight.grad, d))
    up, down = (loss_of(ops.conv2d(Tensor(x), Tensor(w + dtype(s * h) * d))).item() for s in (1, -1))
    return abs((up - down) / (2 * h) - exact)


# %%
some_labels = np.random.default_rng(3).integers(0, 7, (1, 8, 8)).astype(np.uint8)


def bends(y):
    return cross_entropy(y, some_labels)


def linear(y):
    return y.sum() * (1 / 64)


hs = 10.0 ** np.arange(-12, 0.5, 0.5)
curves = {
    "float64": [slope_error(np.float64, bends, h) for h in hs],
    "float32": [slope_error(np.float32, bends, h) for h in hs],
    "float64, no bend": [slope_error(np.float64, linear, h) for h in hs],
}

# %%
axes = teach.panels(1, 1, 3.4)
for (name, errors), colour, mark in zip(curves.items(), (teach.BLUE, teach.RED, teach.GREEN), "os^", strict=True):
    axes.loglog(hs, np.maximum(errors, 1e-17), marker=mark, markersize=4, color=colour, label=name)
axes.loglog(hs[10:], 20 * hs[10:] ** 2, "--", color=teach.GREY, label="a line with slope 2: $h^2$")
axes.loglog(hs[:12], 3e-15 / hs[:12], ":", color=teach.GREY, label="a line with slope -1: $1/h$")
axes.set(xlabel="step h", ylabel="error of the slope", title="the U: neither a large nor a small step is good")
axes.legend(fontsize=8, loc="upper right", ncols=2)
axes.set_ylim(1e-17, 1e6)
at = dict(zip(range(-24, 1), curves["float64"], strict=True))  # by 2 log10(h)
check("float64, h = 1e-5: error below 1e-9", bool(at[-10] < 1e-9))
check("float64, h = 0.1 and h = 1e-12: errors above 1e-6", bool(at[-2] > 1e-6 and at[-24] > 1e-6))
typical = float(np.median(curves["float32"][14:21]))  # h from 1e-5 to 0.01
check("float32, h between 1e-5 and 0.01: the typical error is above 1e-6", typical > 1e-6)

# %% [markdown]
# Three lessons:
#
# - **Check gradients in float64.** In float32 only three or four digits remain.
# - Use a step near $10^{-6}$ to $10^{-5}$.
# - The green curve has no U. A convolution is linear in its weights, so nothing bends. There the largest step is the
#   best: $h = 1$ is exact up to rounding.

# %%
check("a linear function with h = 1: the error", slope_error(np.float64, linear, 1.0), 0, 1e-12)

# %% [markdown]
# ### Kinks
#
# ReLU has a kink at 0. If $x$ is nearer to 0 than $h$, one of the two points lies on the other side. The difference
# is then neither 0 nor 1. The test complains, although backward is right.

# %%
h, xs = 0.1, np.linspace(-0.3, 0.3, 121)


def relu(t):
    return Tensor(t).relu().numpy()


found = (relu(xs + h) - relu(xs - h)) / (2 * h)
axes = teach.panels(1, 1, 2.6)
axes.plot(xs / h, (xs > 0).astype(float), color=teach.BLUE, label="backward")
axes.plot(xs / h, found, "--", color=teach.RED, label="difference")
axes.axvspan(-1, 1, color=teach.YELLOW, alpha=0.3, linewidth=0)
axes.set(xlabel="x / h", ylabel="slope of ReLU", title="in the yellow band the difference sees both sides of the kink")
axes.legend(loc="upper left")
at = np.array(0.2 * h)
check("difference at x = 0.2 h", float(relu(at + h) - relu(at - h)) / (2 * h), 0.6, 1e-12)

# %% [markdown]
# So the inputs of a test are chosen away from kinks, or the step is so small that few values lie in the band.
#
# `gradcheck` does differences for every pair (input number, output number). It says where it fails.

# %%
from minideeplab.autograd.gradcheck import check_adjoint, check_direction, gradcheck

small_x, small_w = normal((1, 5, 6, 2)), normal((3, 3, 2, 2))
gradcheck(lambda x, w: ops.conv2d(x, w, rate=2), small_x, small_w, names=["x", "w"])
check("gradcheck of atrous convolution finds nothing", True)
check("its forward passes: two for each number", 2 * (small_x.size + small_w.size), 192)

# %% [markdown]
# ## 5. Test two: the adjoint
#
# For a linear operation there is a test **without a step**. For any vectors $x$ and $y$:
#
# $$\langle A x,\; y \rangle = \langle x,\; A^\top y \rangle$$
#
# The left side uses only forward. The right side uses only backward. Both are one number. One forward pass and one
# backward pass are enough, at any size, and the two numbers agree to about 14 digits.

# %%
x, w = normal((2, 33, 40, 8)), normal((3, 3, 8, 8))
t = Tensor(x, requires_grad=True)
y = ops.conv2d(t, Tensor(w), rate=2)
v = normal(y.shape)
y.backward(v)
left, right = float(np.vdot(y.numpy(), v)), float(np.vdot(x, t.grad))
print(f"<A x, v>   = {left:.12f}\n<x, A^T v> = {right:.12f}")
check(
    "the two sides differ, relative to the sum of sizes",
    abs(left - right) / float(np.abs(y.numpy() * v).sum()),
    0,
    1e-13,
)

# %% [markdown]
# ## 6. Test three: one random direction
#
# A whole network has too many numbers for `gradcheck`. But we can walk one step along **one random direction** $d$
# through all parameters at once:
#
# $$\frac{L(p + hd) - L(p - hd)}{2h} = \langle \nabla L,\; d \rangle$$
#
# Two forward passes check a whole DeepLab v3+. A wrong gradient agrees by chance only if its error is orthogonal to
# $d$, which almost never happens.

# %%
from minideeplab import models

network = models.build("deeplabv3plus", num_classes=7, width=0.125, head_width=16).astype(np.float64)
pixels, truth = normal((2, 33, 33, 3)), np.random.default_rng(5).integers(0, 7, (2, 33, 33)).astype(np.uint8)


def loss():
    network.reseed(0)  # a part of the network drops random numbers: the same ones each time
    return network.loss(Tensor(pixels), truth)


check_direction(loss, network)
check("this network has more than 100,000 weights", sum(p.data.size for p in network.parameters()) > 100_000)
check("its graph has more than 100 nodes", len(teach.graph(loss(), network)) > 100)

# %% [markdown]
# ## 7. Three planted faults
#
# Now we break a convolution on purpose. `Conv2d` is the library's class; we spoil only what it hands back. A fourth
# fault, in forward, is added for comparison. Each is a slip that is easily made.

# %%
from minideeplab.autograd.ops import Conv2d


class Shifted(Conv2d):
    """The padding is one off: the gradient lands one pixel to the right."""

    def backward(self, grad):
        grad_x, grad_w = super().backward(grad)
        return np.roll(grad_x, 1, axis=2), grad_w


class Remainder(Conv2d):
    """A fast loop works in blocks of 32 columns. What remains is forgotten."""

    def backward(self, grad):
        grad_x, grad_w = super().backward(grad)
        if (width := grad_x.shape[2]) > 32:
            grad_x[:, :, width - width % 32 :] = 0
        return grad_x, grad_w


# %%
class Rounded(Conv2d):
    """One buffer on the way is float32, all the others are float64."""

    def backward(self, grad):
        return super().backward(grad.astype(np.float32).astype(np.float64))


class WrongRate(Conv2d):
    """Forward and backward agree, but both forget the rate."""

    def forward(self, x, w, *, rate, **options):
        return super().forward(x, w, rate=1, **options)


OPERATIONS = {"right": Conv2d, "shifted": Shifted, "remainder": Remainder, "rounded": Rounded, "wrong rate": WrongRate}


def conv_with(operation, rate=1):
    return lambda x, w: operation.apply(x, w, stride=1, rate=rate, padding="same")


# %% [markdown]
# How far is each gradient from the right one? The picture shows $\log_{10}$ of the error at each pixel of a map of 40
# columns.

# %%
wide_x, wide_w = normal((1, 16, 40, 8)), normal((3, 3, 8, 8))
wide_grad = normal((1, 16, 40, 8))


def grad_x(operation):
    t = Tensor(wide_x, requires_grad=True)
    conv_with(operation)(t, Tensor(wide_w)).backward(wide_grad)
    return t.grad


grid = teach.panels(1, 3, 1.9)
for axes, name in zip(grid, ("shifted", "remainder", "rounded"), strict=True):
    error = np.abs(grad_x(OPERATIONS[name]) - grad_x(Conv2d)).max(axis=(0, 3))
    drawn = axes.imshow(np.log10(np.maximum(error, 1e-17)), vmin=-17, vmax=2, cmap="cividis")
    axes.set(title=f"{name}: at most {error.max():.0e}", xlabel="column, pixels", ylabel="row, pixels")
bar = grid[0].figure.colorbar(drawn, ax=grid, label="log10 of the error", shrink=0.8)

# %% [markdown]
# Five tests shall find them:
#
# 1. **the loss falls**: train the small network for 40 steps. In each step all weights move a little against their
#    gradient (`SGD`). This is what most people do.
# 2. **gradcheck** on a small input, as it must be: 5 x 6 pixels.
# 3. **random direction** through the small network on 12 x 40 pixels.
# 4. **adjoint** on 16 x 40 pixels.
# 5. **definition**: compare forward with the 1-D formula.

# %%
from minideeplab.nn.optim import SGD


def loss_falls(operation, steps=40):
    model, xs = Small(conv_with(operation)).astype(np.float64), Tensor(image.data[:, :40, :40].astype(np.float64))
    optimiser, losses = SGD(model, lr=0.1), []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = cross_entropy(model(xs), labels[:, :40, :40].copy())
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def direction(operation):
    model = Small(conv_with(operation)).astype(np.float64)
    xs, truth = normal((1, 12, 40, 3)), np.arange(480).reshape(1, 12, 40).astype(np.uint8) % 7
    check_direction(lambda: cross_entropy(model(Tensor(xs)), truth), model)


# %%
def definition(operation):
    x, w = normal((1, 1, 20, 1)), normal((1, 3, 1, 1))
    y = conv_with(operation, rate=2)(Tensor(x), Tensor(w)).numpy()
    expected = atrous_conv1d(np.pad(x[0, 0, :, 0], 2), w[0, :, 0, 0], rate=2)
    assert np.allclose(y[0, 0, :, 0], expected)


TESTS = {
    "the loss falls": loss_falls,
    "gradcheck": lambda op: gradcheck(conv_with(op, 2), small_x, small_w),
    "random direction": direction,
    "adjoint": lambda op: check_adjoint(conv_with(op, 2), wide_x, wide_w),
    "definition": definition,
}


def found(test, operation):
    try:
        test(operation)
    except AssertionError:  # as all these tests raise
        return 1
    return 0


seen = np.array([[found(test, operation) for test in TESTS.values()] for operation in OPERATIONS.values()])

# %%
axes = teach.panels(1, 1, 2.8)
axes.imshow(seen, cmap="Blues", vmax=1.3, aspect="auto")
for (i, j), value in np.ndenumerate(seen):
    axes.text(j, i, "FOUND" if value else "sees nothing", ha="center", va="center", color="white" if value else "black")
axes.set_xticks(range(len(TESTS)), TESTS)
axes.set_yticks(range(len(OPERATIONS)), OPERATIONS)
axes.tick_params(length=0)
axes.xaxis.tick_top()
axes.spines[:].set_visible(False)
expected = [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
check("fault x test, as the text says", seen, expected)

# %% [markdown]
# - **shifted** is found by every gradient test. Yet the loss falls! A network learns around a wrong gradient. It only
#   learns worse, and nobody knows why.
# - **remainder** is invisible to `gradcheck`: its input must be small, so it never has more than 32 columns.
# - **rounded** is found by the adjoint test alone. The random direction has a tolerance of $10^{-5}$, because
#   differences are not more exact. And `gradcheck`? It sends ones and zeros back. Float32 holds ones and zeros
#   exactly, so there is *no* error at all in what it looks at. No tolerance would help.
# - **wrong rate**: no gradient test can see it. The gradient is right, of the wrong function. **Gradcheck checks
#   backward against forward, never forward against what you meant.** Only the definition does that.
#
# Why not run `gradcheck` on the large map? Count:

# %%
check("forward passes of gradcheck on 16 x 40 x 8", 2 * (wide_x.size + wide_w.size), 11_392)
check("its backward passes, one for each output number", wide_grad.size, 5_120)
gap = np.vdot(wide_x, grad_x(Rounded) - grad_x(Conv2d)) / np.abs(wide_x * grad_x(Conv2d)).sum()
check("what the adjoint test sees of 'rounded': above its 1e-12", bool(abs(gap) > 1e-12))
check("and below the 1e-6 of differences", bool(abs(gap) < 1e-6))

# %% [markdown]
# ## What to keep
#
# - Backpropagation visits each node once, after all of its readers. What arrives is summed.
# - A node keeps arrays for its derivative and frees them when it has run. `recompute` trades memory for one more
#   forward pass.
# - The derivative of a convolution is a convolution with the flipped filter: its adjoint.
# - Use three tests: differences for single operations, the adjoint for linear ones at full size, one random direction
#   for whole networks. All in float64.
# - A falling loss proves nothing. And a gradient test says nothing about a wrong forward.

# %% [markdown]
# ## Exercises
#
# **1.** `enlarge` doubles each pixel: `[a, b]` becomes `[a, a, b, b]`. It is linear. Write its adjoint: given the
# gradient of the large signal, what is the gradient of the small one?


# %%
def enlarge(x):
    return np.repeat(x, 2)


def enlarge_adjoint(gradient):
    """(2 n,) -> (n,)"""
    return ...


def is_adjoint():
    for n in (1, 2, 5, 8):
        a, b = normal(n), normal(2 * n)
        back = enlarge_adjoint(b)
        if back is ...:
            return ...
        if np.shape(back) != (n,):
            return f"from {2 * n} numbers it makes the shape {np.shape(back)}, not ({n},)"
        if abs(np.vdot(enlarge(a), b) - np.vdot(a, back)) > 1e-12:
            return "<A x, y> is not <x, A^T y>"
    matrices = [np.stack([f(unit) for unit in np.eye(n)], axis=1) for f, n in ((enlarge, 4), (enlarge_adjoint, 8))]
    teach.show(matrices, ["enlarge, as a matrix", "your adjoint, as a matrix"], cmap="Blues")
    return True


# %%
attempt(1, enlarge_adjoint, lambda: is_adjoint())  # draws both matrices if yours is right

# %% [markdown]
# **2.** A new activation: $f(x) = x\,|x|$. Write what its `backward` needs: the gradient of $x$, given $x$ and the
# gradient of the result. `gradcheck` tells you whether it is right.

# %%
from minideeplab.autograd.function import Function


def square_with_sign_grad(x, grad):
    return ...


class SquareWithSign(Function):
    def forward(self, x):
        self.saved = (x,)
        return x * np.abs(x)

    def backward(self, grad):
        return (square_with_sign_grad(*self.saved, grad),)


def passes_gradcheck():
    if square_with_sign_grad(1.0, 1.0) is ...:
        return ...
    gradcheck(SquareWithSign.apply, normal((3, 4)))  # raises where it fails
    return True


# %%
attempt(2, square_with_sign_grad, lambda: passes_gradcheck())

# %% [markdown]
# Stuck? `hint(1)`, `hint(2)`.
#
# ## Next
#
# [05 Losing sensibly](05_losses.ipynb) asks what the loss itself should be. How a lattice filter gets its adjoint,
# and what cannot be differentiated there: [13 CRF as RNN](13_crf_as_rnn.ipynb).
