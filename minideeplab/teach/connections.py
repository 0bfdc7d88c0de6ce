"""Who reads whom: the connections between the convolutions of a network, found in the graph that it leaves behind."""

from typing import NamedTuple

import numpy as np

from minideeplab.autograd import Tensor, ops
from minideeplab.autograd.function import Function, topological
from minideeplab.cost import TracedLayer, trace
from minideeplab.nn import Module
from minideeplab.teach.style import BLACK, BLUE, GREEN, GREY, ORANGE, axes_or_new

NONE, ALONE, ADDED, JOINED = range(4)  # how a convolution gets what another one made
WORDS = {ALONE: "alone", ADDED: "added to others", JOINED: "beside others (concatenated)"}
COLOURS = {NONE: "#ffffff", ALONE: BLACK, ADDED: ORANGE, JOINED: BLUE}


class Connections(NamedTuple):
    """What reads what in one network.

    Attributes:
        layers: `TracedLayer` of all layers in the order in which they run.
        convolutions: numbers of the convolutions among them.
        reads: (n, n) int for n convolutions: reads[i, j] says how number i gets the output of number j, without
            another convolution between them: NONE, ALONE, ADDED, JOINED.
    """

    layers: list[TracedLayer]
    convolutions: list[int]
    reads: np.ndarray


def connections(model: Module, size: int = 256) -> Connections:
    """Runs a network on shapes and walks its graph back from each convolution to those that it reads.

    Batch norm, ReLU, pooling, resizing and crops only pass on. The walk uses `Function.parents`; so what has no
    derivative, such as the indices of SegNet, is no connection.

    Args:
        model: moved to the device "shapes", its values are lost; size: side of the image.
    """
    image = Tensor(np.zeros((1, size, size, 3), np.float32)).to("shapes")
    layers = trace(model.to("shapes"), image)
    convolutions = [i for i, layer in enumerate(layers) if layer.macs]
    number = {layers[i].name: n for n, i in enumerate(convolutions)}
    owners = {id(p): name.rpartition(".")[0] for name, p in model.named_parameters() if len(p.shape) >= 3}
    reads, made_by = np.zeros((len(number),) * 2, int), {}
    with model.evaluating():
        root = model(image).node
    for function in topological(root):
        before = [made_by[parent] for parent in function.parents if isinstance(parent, Function)]
        how = JOINED if isinstance(function, ops.Concat) else ADDED if len(before) > 1 else ALONE
        found = {}
        for sources in before:
            for source, way in sources.items():
                found[source] = max(way, how, found.get(source, NONE))
        mine = [owners[id(p)] for p in function.parents if id(p) in owners]
        if mine and mine[0] in number:
            for source, way in found.items():
                reads[number[mine[0]], source] = way
            found = {number[mine[0]]: ALONE}
        made_by[function] = found
    return Connections(layers, convolutions, reads)


def bridges(found: Connections) -> list[tuple[int, int]]:
    """(source, reader), numbers of layers, of connections that leap over convolutions on coarser maps.

    They are what a decoder is given. Of a sum that a convolution reads, the last summand stands for all.
    """
    pairs = []
    for reader, row in enumerate(found.reads):
        sources = np.flatnonzero(row)
        here = _coarsest(found, reader, reader + 1)
        leaps = [s for s in sources if _coarsest(found, s + 1, reader) > max(here, _coarsest(found, s, s + 1))]
        if leaps:
            pairs.append((found.convolutions[leaps[-1]], found.convolutions[reader]))
    return pairs


def _coarsest(found, first, last):
    """Largest output stride of the convolutions first .. last - 1; those behind image-level pooling have none."""
    return max((found.layers[i].output_stride or 0 for i in found.convolutions[first:last]), default=0)


def draw_connections(found: Connections, axes=None, legend: bool = True) -> None:
    """Draws a square for each pair of convolutions: the row reads the column; its colour says how."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    axes = axes_or_new(axes, 4)
    axes.imshow(found.reads, cmap=ListedColormap([COLOURS[i] for i in range(4)]), vmin=0, vmax=3)
    axes.set(xlabel="is read", ylabel="reads")
    axes.spines[:].set_visible(True)
    if legend:
        entries = [Patch(color=COLOURS[way], label=word) for way, word in WORDS.items()]
        axes.figure.legend(handles=entries, loc="outside lower center", ncols=3)


def draw_ladder(found: Connections, axes=None, indices: bool = True) -> None:
    """Draws a network as it descends to coarse maps and climbs back, and what it carries across.

    Each dot is a layer, its area that of the channels (above 1024 alike). Arrows are `bridges`; dotted ones, with
    `indices`, lead from poolings to the unpoolings that use their indices.
    """
    axes = axes_or_new(axes, 2.8)
    shown = [i for i, layer in enumerate(found.layers) if layer.output_stride and layer.kind != "batch norm"]
    x = {i: n for n, i in enumerate(shown)}
    level = {i: np.log2(found.layers[i].output_stride) for i in shown}
    axes.plot([x[i] for i in shown], [level[i] for i in shown], color="#d8d8d8", lw=1.5, zorder=1)
    sizes = [4 + min(found.layers[i].output[2], 1024) / 5 for i in shown]
    colours = [BLUE if found.layers[i].macs else GREY for i in shown]
    axes.scatter([x[i] for i in shown], [level[i] for i in shown], s=sizes, c=colours, zorder=2, linewidths=0)
    for source, reader in bridges(found):
        _arrow(axes, (x[source], level[source]), (x[reader], level[reader]), ORANGE, "-")
        channels, how = str(found.layers[source].output[2]), _how(found, source, reader)
        if how != JOINED:  # the reader alone makes of it what the decoder gets
            channels += f" to {found.layers[reader].output[2]}"
        middle = (x[source] + x[reader]) / 2, (level[source] + level[reader]) / 2
        axes.annotate(channels, middle, (0, 3), textcoords="offset points", ha="center", fontsize=8)
    for source, reader in _unpoolings(found.layers) if indices else ():
        _arrow(axes, (x[source], level[source]), (x[reader], level[reader]), GREEN, ":")
    levels = sorted({round(v) for v in level.values()})
    axes.set_yticks(levels, [str(2**v) for v in levels])
    axes.set_ylim(levels[-1] + 0.6, levels[0] - 0.7)
    axes.set(xlabel="layers in the order in which they run", ylabel="stride")


def _how(found, source, reader):
    return found.reads[found.convolutions.index(reader), found.convolutions.index(source)]


def _arrow(axes, start, end, colour, line):
    style = {"arrowstyle": "->", "color": colour, "lw": 1.5, "ls": line, "shrinkA": 4, "shrinkB": 4}
    axes.annotate("", end, start, arrowprops=style, zorder=3)


def _unpoolings(layers):
    """(pooling, unpooling) with the same indices: the last pooling belongs to the first unpooling."""
    back = [i for i, layer in enumerate(layers) if layer.kind.startswith("unpool")]
    there = [i for i, layer in enumerate(layers) if layer.kind.startswith("max pool")] if back else []
    return list(zip(reversed(there), back, strict=False))
