"""What autograd has recorded, as nodes that can be listed and drawn, and a walk back that can be watched."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minideeplab.autograd import Tensor
from minideeplab.autograd.function import Function, backpropagate, topological
from minideeplab.teach.style import GREY, ORANGE, SKY, axes_or_new

PARAMETER, INPUT = "parameter", "input"


@dataclass(frozen=True)
class Node:
    """A recorded operation, or a tensor from which the graph starts.

    Attributes:
        number: position in the list, after all that it reads; op: class of the operation, "parameter" or "input".
        name: of the tensor, or of the module whose parameters it reads; "" if unknown.
        shape: of its result; reads: numbers of the nodes that it reads, one for each input that wants a gradient.
        saved: bytes of the arrays that it keeps for backward, parameters aside.
        added: those of them that no earlier node keeps, too; the sum over all nodes is what the graph holds.
    """

    number: int
    op: str
    name: str
    shape: tuple[int, ...]
    reads: tuple[int, ...]
    saved: int
    added: int


@dataclass(frozen=True)
class Step:
    """One node on the way back.

    Attributes:
        node: whose backward has just run; gradient: that of its result, the sum of all that came in.
        handed: gradient for each of node.reads; held: bytes of saved arrays that are alive after it.
    """

    node: Node
    gradient: np.ndarray
    handed: tuple[np.ndarray, ...]
    held: int


def graph(loss: Tensor, model=None, names: Mapping[str, Tensor] | None = None) -> list[Node]:
    """Nodes of the graph that was recorded for a tensor, each after all that it reads; before `backward` frees it.

    Numbers and texts only are kept, so the graph is freed as ever.

    Args:
        loss: a tensor with history, on the CPU or not.
        model: a Module, whose parameters get their names; names: {name: tensor} for others, inputs or results.

    Raises:
        ValueError: nothing was recorded, or backward has run.
    """
    return _listed(loss, model, names)[0]


def walk_back(loss: Tensor, model=None, names: Mapping[str, Tensor] | None = None) -> list[Step]:
    """Runs `loss.backward()` of a scalar, and says what happened at each node, in order.

        gradient of a node = sum over its readers of what they hand to it

    `held` is measured, not computed: an array counts until it is really gone. What the caller holds himself, such as
    the image, stays until the end. Arguments and errors: as of `graph`.

    Raises:
        ValueError: `loss` is no scalar.
    """
    if loss.shape != ():
        raise ValueError(f"walk_back: the loss must be a scalar, got shape {loss.shape}")
    nodes, numbers, kept = _listed(loss, model, names)
    alive = {key: (weakref.ref(_owner(array)), array.nbytes) for arrays in kept for key, array in arrays.items()}
    steps = []

    def watch(function, grad, grads):
        held = sum(size for array, size in alive.values() if array() is not None)
        handed = tuple(g.copy() for g, needed in zip(grads, function.needs, strict=True) if needed)
        steps.append(Step(nodes[numbers[function]], np.array(grad), handed, held))

    del kept
    backpropagate(loss.node, np.ones((), loss.dtype), watch)
    return steps


def _listed(loss, model, names):
    """(nodes, {Function: its number}, for each node the arrays that it keeps by the id of their memory)."""
    if loss.node is None or loss.node.parents == ():
        raise ValueError("graph: nothing is recorded; compute the loss again, outside of no_grad() and before backward")
    own = {id(p): name for name, p in model.named_parameters()} if model is not None else {}
    given = {id(t.node or t): name for name, t in (names or {}).items()}
    weights = {id(_owner(p.data)) for p in (model.parameters() if model is not None else ())}
    nodes, kept, at, seen = [], [], {}, set()

    def add(thing, op, name, shape, reads, arrays):
        new = {key: a for key, a in arrays.items() if key not in seen}
        seen.update(new)
        at[thing] = len(nodes)
        sizes = [sum(a.nbytes for a in group.values()) for group in (arrays, new)]
        nodes.append(Node(len(nodes), op, name, tuple(shape), reads, *sizes))
        kept.append(arrays)

    for function in topological(loss.node):
        parents = [parent for parent in function.parents if parent is not None]
        for parent in parents:
            if not isinstance(parent, Function) and parent not in at:
                name, op = own.get(id(parent), given.get(id(parent), "")), PARAMETER if id(parent) in own else INPUT
                add(parent, op, name, parent.shape, (), {})
        arrays = {id(_owner(a)): a for a in function.saved if hasattr(a, "nbytes")}
        arrays = {key: a for key, a in arrays.items() if key not in weights}
        name = given.get(id(function), _module_of([own[id(p)] for p in parents if id(p) in own]))
        add(function, type(function).__name__, name, function.result_shape, tuple(at[p] for p in parents), arrays)
    return nodes, at, kept


def _owner(array):
    """The array whose memory it is, where `array` is a view."""
    while isinstance(getattr(array, "base", None), np.ndarray):
        array = array.base
    return array


def _module_of(names):
    """ "stem.conv" for the parameters ["stem.conv.weight"]; what all of them begin with."""
    if not names:
        return ""
    parts = [name.split(".")[:-1] for name in names]
    common = [level[0] for level in zip(*parts, strict=False) if len(set(level)) == 1]
    return ".".join(common)


def byte_text(count: int) -> str:
    """ "12 kB" for 12,288."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def draw_graph(nodes: Sequence[Node], axes=None, notes: Mapping[int, str] | None = None, memory: bool = True) -> None:
    """Draws a graph from its inputs above to the loss below: an arrow from each node to each of its readers.

    A box says the operation, its name and the shape of its result; the parameters that it reads are part of its box.

    Args:
        nodes: of `graph`; notes: {number: text} below the words of a node, memory: adds the bytes that it keeps.
    """
    drawn = [node for node in nodes if node.op != PARAMETER]
    row, place = _layout(drawn)
    texts = {node.number: _words(node, memory) + ("\n" + notes[node.number] if notes and node.number in notes else "")
             for node in drawn}  # fmt: skip
    tall = max(text.count("\n") for text in texts.values())
    axes = axes_or_new(axes, (0.58 + 0.14 * tall) * (max(row.values()) + 1))
    half = {number: (0.1 + 0.075 * (text.count("\n") + 1)) / (0.58 + 0.14 * tall) for number, text in texts.items()}
    around = []  # arrows that would cross the boxes between
    arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    for node in drawn:
        for reader in (other for other in drawn if node.number in other.reads):
            far = row[reader.number] - row[node.number] > 1
            if far and abs(place[node.number] - place[reader.number]) < 0.1:
                around.append((node.number, reader.number))
                continue
            start = place[node.number], -row[node.number] - half[node.number]
            end = place[reader.number], -row[reader.number] + half[reader.number]
            count = reader.reads.count(node.number)
            for shift in ((0.0,), (-0.1, 0.1))[min(count, 2) - 1]:  # a reader that reads twice: two arrow heads
                axes.annotate("", (end[0] + shift, end[1]), start, arrowprops=arrow, zorder=1)
    for node in drawn:
        colour = ORANGE if node.op == INPUT else SKY if node.saved else GREY
        box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": colour, "linewidth": 1.8}
        axes.text(place[node.number], -row[node.number], texts[node.number], ha="center", va="center", fontsize=9,
                  bbox=box, zorder=2)  # fmt: skip
    reach = max(abs(x) for x in place.values()) + 1.2
    _draw_around(axes, around, texts, row, place, 2 * reach)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-max(row.values()) - 0.5, 0.5)
    axes.set_axis_off()


def _draw_around(axes, pairs, texts, row, place, span):
    """Arrows that leave a box at its side, pass what lies between, and come back: shortcuts."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    width = axes.figure.get_size_inches()[0] * min(1.0, axes.get_position().width / 0.775)  # before it is laid out
    unit = span / width  # of the axes, for an inch
    half = {n: unit * (0.036 * max(map(len, text.split("\n"))) + 0.05) for n, text in texts.items()}
    for start, end in pairs:
        passed = [place[n] + half[n] for n in texts if row[start] <= row[n] <= row[end]]
        begin, finish = place[start] + half[start], place[end] + half[end]
        turn = begin + (max(passed) + 0.15 * unit - begin) / 0.75  # a curve comes three quarters of the way there
        path = [(begin, -row[start]), (turn, -row[start]), (turn, -row[end]), (finish, -row[end])]
        codes = [Path.MOVETO] + 3 * [Path.CURVE4]
        axes.add_patch(FancyArrowPatch(path=Path(path, codes), arrowstyle="-|>", mutation_scale=10, color=GREY,
                                       linewidth=1.2, fill=False, zorder=1))  # fmt: skip


def _words(node, memory):
    title = node.op if node.op != INPUT else node.name or INPUT
    if node.op != INPUT and node.name:
        title = f"{node.name}: {title}"
    words = [title] + ([" x ".join(map(str, node.shape))] if node.shape else [])
    return ",  ".join(words + ([f"keeps {byte_text(node.saved)}"] if memory and node.saved else []))


def _layout(nodes):
    """Row of each node, one below the lowest that it reads, and its horizontal place: neighbours spread evenly."""
    row, place, known = {}, {}, {node.number for node in nodes}
    for node in nodes:
        row[node.number] = 1 + max((row[n] for n in node.reads if n in known), default=-1)
    for level in range(max(row.values()) + 1):
        members = [node for node in nodes if row[node.number] == level]

        def wish(node):
            above = [place[n] for n in node.reads if n in known]
            return float(np.mean(above)) if above else 0.0

        members.sort(key=wish)
        middle = float(np.mean([wish(node) for node in members]))
        for i, node in enumerate(members):
            place[node.number] = middle + 1.6 * (i - (len(members) - 1) / 2)
    return row, place
