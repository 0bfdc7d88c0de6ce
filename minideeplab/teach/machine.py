"""What a processor does with a convolution, drawn: register tile, offsets in memory, blocks of threads, fragments."""

from collections.abc import Mapping, Sequence

import numpy as np

from minideeplab.teach.style import BLACK, BLUE, CYCLE, GREEN, GREY, ORANGE, RED, SKY, YELLOW, axes_or_new, panels

SECTOR = 32  # bytes that a GPU's memory hands over at once (NVIDIA, CUDA C++ Best Practices Guide, "Coalesced Access")
LANES = 32  # threads of a warp


def sectors(addresses: Sequence[int], size: int = SECTOR) -> int:
    """Pieces of memory that lanes touch together: |{floor(a / size)}|.

    Args:
        addresses: one for each lane, bytes; size: of a piece, bytes.
    """
    return len(np.unique(np.asarray(addresses) // size))


def fragments() -> dict[str, np.ndarray]:
    """Who holds what in the instruction mma.m16n8k8: matrices a, b and c with held[row, column] = lane, register.

    Returns:
        {"a": (16, 8, 2), "b": (8, 8, 2), "c": (16, 8, 2)} int.

    Source: NVIDIA, PTX ISA, "Matrix fragments for mma.m16n8k8" with .tf32.
    """
    held = {"a": np.zeros((16, 8, 2), int), "b": np.zeros((8, 8, 2), int), "c": np.zeros((16, 8, 2), int)}
    for lane in range(LANES):
        g, i = lane // 4, lane % 4
        for register in range(4):
            held["a"][g + 8 * (register % 2), i + 4 * (register // 2)] = lane, register
            held["c"][g + 8 * (register // 2), 2 * i + register % 2] = lane, register
        for register in range(2):
            held["b"][i + 4 * register, g] = lane, register
    return held


def draw_tile(rows: int, vectors: int, lanes: int, axes=None) -> None:
    """Draws one step of a register tile: numbers of x beside, vectors of weights above, all sums between.

    Args:
        rows: output positions; vectors: of output channels; lanes: numbers in a vector; axes: a new figure if None.
    """
    axes = axes_or_new(axes, 0.24 * rows + 1.0)
    wide, gap = vectors * lanes, 1.2
    for i in range(rows):
        _box(axes, -3 - gap, -i - 1, 3, 1, ORANGE, f"x[{i}]")
        for v in range(vectors):
            _box(axes, v * lanes, -i - 1, lanes, 1, SKY if (i + v) % 2 else "#a9d6f2", f"sum {i}, {v}", 8)
    for v in range(vectors):
        _box(axes, v * lanes, 0.4, lanes, 1, YELLOW, f"weights of {lanes} output channels")
    for i in range(rows):
        axes.plot([-gap, -0.1], [-i - 0.5] * 2, color=GREY, lw=0.8)
    axes.text(wide + 0.6, 0.9, f"{vectors} loads", va="center")
    axes.text(wide + 0.6, -rows / 2, f"{rows * vectors} sums\nin registers", va="center")
    axes.text(-3 - gap, 0.55, f"{rows} loads", va="bottom")
    axes.set(xlim=(-3.4 - gap, wide + 6.5), ylim=(-rows - 0.2, 1.7))
    axes.set_axis_off()


def draw_offsets(offsets: Mapping[str, Sequence[int]], pitch: int, length: int, axes=None) -> None:
    """Draws where the taps start in flat memory: a line of memory for each name, a mark for each offset.

    Args:
        offsets: of the taps from the first one, in pixels; pitch: pixels of a row of the image, marked by ticks;
        length: pixels of memory to draw.
    """
    axes = axes_or_new(axes, 0.55 * len(offsets) + 0.9)
    for line, starts in enumerate(offsets.values()):
        y = -line
        axes.barh(y, length, 0.5, color="#eeeeee")
        for k, start in enumerate(starts):
            axes.barh(y, 1, 0.5, left=start, color=CYCLE[k // 3 % 3])
            if k % 3 == 0:
                axes.text(start, y + 0.28, f"+{start}", fontsize=8, ha="left", va="bottom", color=CYCLE[k // 3 % 3])
    axes.set_yticks([-i for i in range(len(offsets))], list(offsets))
    axes.set_xticks(range(0, length + 1, pitch))
    axes.grid(axis="x", color="#bbbbbb", lw=0.6)
    axes.set_axisbelow(False)
    axes.set(xlabel=f"address, in pixels from the first tap (a line of the image is {pitch} pixels)", xlim=(0, length),
             ylim=(0.75 - len(offsets), 0.75))  # fmt: skip


def draw_blocks(count: int, threads: int, axes=None) -> None:
    """Draws outputs 0 .. count - 1 in blocks of threads: which block and thread computes each, which threads idle.

    Args:
        count: outputs; threads: of a block.
    """
    blocks = -(-count // threads)
    axes = axes_or_new(axes, 0.36 * blocks + 0.6)
    for block in range(blocks):
        for thread in range(threads):
            i = block * threads + thread
            colour = CYCLE[block % 5] if i < count else "#eeeeee"
            _box(axes, thread, -block - 1, 1, 0.86, colour, str(i) if i < count else "idle", 8,
                 GREY if i >= count else None)  # fmt: skip
        axes.text(-0.3, -block - 0.57, f"block {block}", ha="right", va="center", color=CYCLE[block % 5])
    for thread in range(threads):
        axes.text(thread + 0.5, 0.1, thread, ha="center", va="bottom", fontsize=8, color=GREY)
    axes.text(-0.3, 0.1, "thread", ha="right", va="bottom", fontsize=8, color=GREY)
    axes.set(xlim=(-2.6, threads + 0.1), ylim=(-blocks - 0.15, 0.9))
    axes.set_axis_off()


def draw_sectors(addresses: Mapping[str, Sequence[int]], length: int, size: int = SECTOR, axes=None) -> None:
    """Draws memory as a row of pieces for each name; those that lanes touch are filled, numbers read are marked.

    Args:
        addresses: one for each lane, bytes; length: of the memory drawn, bytes; size: of a piece, bytes.
    """
    axes = axes_or_new(axes, 0.5 * len(addresses) + 0.9)
    for line, touched in enumerate(addresses.values()):
        touched = np.asarray(touched)
        pieces = set((touched // size).tolist())
        for piece in range(length // size):
            colour = "#cfe6f5" if piece in pieces else "white"
            axes.barh(-line, size, 0.62, left=piece * size, color=colour, edgecolor="#bbbbbb", lw=0.6)
        axes.barh([-line] * len(touched), 4, 0.62, left=touched, color=BLUE)
        moved = len(pieces) * size
        axes.text(length + 10, -line, f"{len(pieces)} pieces,\n{100 * 4 * len(touched) / moved:.0f} % used",
                  va="center", fontsize=9)  # fmt: skip
    axes.set_yticks([-i for i in range(len(addresses))], list(addresses))
    axes.set(xlim=(0, length * 1.16), ylim=(0.5 - len(addresses), 0.5), xlabel="address, in bytes")
    axes.set_xticks(range(0, length + 1, 128))
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)


def draw_fragment(held: np.ndarray, title: str, marked: int | None = None, axes=None) -> None:
    """Draws a matrix with the lane that holds each element; colour: the number of the register.

    Args:
        held: (rows, columns, 2) int, as of `fragments`; marked: lane whose elements are framed.
    """
    axes = axes_or_new(axes, 0.25 * held.shape[0] + 0.5)
    shades = ("#cfe6f5", "#fbe3b4", "#c9ead9", "#f3d3e3")
    for row in range(held.shape[0]):
        for column in range(held.shape[1]):
            lane, register = held[row, column]
            _box(axes, column, -row - 1, 1, 1, shades[register], f"{lane}", 9)
    for row, column in np.argwhere(held[..., 0] == (-1 if marked is None else marked)):
        _box(axes, column, -row - 1, 1, 1, "none", "", edge=RED, line=2.5)
    axes.set_title(title)
    axes.set(xlim=(-0.1, held.shape[1] + 0.1), ylim=(-held.shape[0] - 0.1, 0.1), aspect="equal")
    axes.set_axis_off()


def draw_slab(a: np.ndarray, b: np.ndarray, first: int, depth: int, sums: np.ndarray, axes=None) -> None:
    """Draws a step of a tiled matrix product: the slab of a and of b that lies in shared memory, and the sums after it.

    Args:
        a: (M, T), b: (T, N), sums: (M, N); first, depth: terms of the slab; axes: three, a new figure if None.
    """
    axes = panels(1, 3, 2.6) if axes is None else axes
    inside = slice(first, first + depth)
    for one, matrix, name in zip(axes, (a, b, sums), ("a", "b", "sums after this slab"), strict=True):
        limit = np.abs(matrix).max() or 1
        shown = np.zeros(matrix.shape, bool)
        shown[(slice(None), inside) if name == "a" else inside if name == "b" else slice(None)] = True
        one.imshow(matrix, cmap="RdBu", vmin=-2.2 * limit, vmax=2.2 * limit, alpha=np.where(shown, 1, 0.25))
        for (row, column), value in np.ndenumerate(matrix):
            ink = BLACK if shown[row, column] else GREY
            one.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=9, color=ink)
        one.set_title(name)
        one.set_axis_off()
    height, width = a.shape[0], b.shape[1]
    _frame(axes[0], inside.start - 0.5, -0.5, depth, height)
    _frame(axes[1], -0.5, inside.start - 0.5, width, depth)


def draw_owners(owners: np.ndarray, threads: Mapping[int, str], title: str, axes=None) -> None:
    """Draws a block's outputs, those of some threads in colour.

    Args:
        owners: (rows, columns) int, the thread of each output; threads: {thread: its colour}.
    """
    from matplotlib.colors import to_rgb

    axes = axes_or_new(axes, 3.2)
    picture = np.full((*owners.shape, 3), 0.94)
    for thread, colour in threads.items():
        picture[owners == thread] = to_rgb(colour)
    axes.imshow(picture)
    for thread, colour in threads.items():
        row, column = np.argwhere(owners == thread)[0]
        axes.annotate(f"thread {thread}", (column, row), (column + 9, row + 14), fontsize=9, color=colour)
    axes.set(title=title, xlabel="output channel", ylabel="position")


def _frame(axes, x, y, width, height):
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=GREEN, lw=3, clip_on=False))


def _box(axes, x, y, width, height, colour, text, size=9, ink=None, edge="white", line=1.0):
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=edge, lw=line))
    ink = ink or ("white" if colour in (BLUE, RED, GREEN, BLACK) else BLACK)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, color=ink)
