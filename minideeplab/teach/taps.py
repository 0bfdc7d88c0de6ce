"""Which inputs an output reads through which weights: lists, shares, and drawings of them."""

from collections.abc import Callable, Sequence

import numpy as np

from minideeplab.teach.style import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, YELLOW, axes_or_new, panels

_LIGHT, _DARK = (SKY, YELLOW, PINK, GREEN), (BLUE, RED, PINK, GREEN)  # of the phases: inputs, lines


def taps(window, position) -> tuple[np.ndarray, np.ndarray]:
    """What one output reads: y[p, q] = sum over the taps of x[input] w[weight].

    Args:
        window: `kernels.geometry.Window` of a convolution or pooling; position: (p, q) of an output.

    Returns:
        (inputs, weights): (n, 2) int64 arrays, (row, column) of the input and (kh, kw) of the weight that meet, for the
        taps that lie inside the input, in the order of the weights.

    Raises:
        ValueError: no such output.
    """
    inputs, weights = _all_taps(window, position)
    inside = ((inputs >= 0) & (inputs < (window.in_h, window.in_w))).all(1)
    return inputs[inside], weights[inside]


def valid_tap_share(window) -> dict[int, float]:
    """{taps inside the input: share of the outputs that have so many}, most taps first; the shares add up to 1.

    It is exact, from the regions of the window.

    Source: DeepLab v3 (arXiv 1706.05587), figure 4, where 1, 4 and 9 valid weights are counted.
    """
    counts: dict[int, int] = {}
    for r in window.regions():
        valid = (r.kh1 - r.kh0) * (r.kw1 - r.kw0)
        counts[valid] = counts.get(valid, 0) + (r.p1 - r.p0) * (r.q1 - r.q0)
    return {valid: counts[valid] / (window.out_h * window.out_w) for valid in sorted(counts, reverse=True)}


def draw_taps(window, position, axes=None, numbers: bool = False) -> None:
    """Draws the input, its taps as filled cells, taps outside the input as empty red squares, the output's own place.

    Args:
        window, position: as of `taps`; numbers: writes kh, kw of the weight into each tap.
    """
    axes = axes_or_new(axes, 3.2)
    inputs, weights = _all_taps(window, position)
    read, _ = taps(window, position)
    cells = np.zeros((window.in_h, window.in_w))
    cells[tuple(read.T)] = 1
    ends = np.vstack([inputs, [[0, 0], [window.in_h - 1, window.in_w - 1]]])
    (top, left), (bottom, right) = ends.min(0), ends.max(0)
    axes.set_xlim(left - 0.7, right + 0.7)
    axes.set_ylim(bottom + 0.7, top - 0.7)
    axes.set_aspect("equal")
    axes.pcolormesh(
        np.arange(window.in_w + 1) - 0.5, np.arange(window.in_h + 1) - 0.5, cells, cmap=_two(BLUE), vmin=0, vmax=1,
        edgecolors="#bbbbbb", linewidth=0.5 if max(cells.shape) <= 24 else 0,
    )  # fmt: skip
    right, bottom = window.in_w - 0.5, window.in_h - 0.5
    axes.plot(
        [-0.5, right, right, -0.5, -0.5], [-0.5, -0.5, bottom, bottom, -0.5], color=GREY, linewidth=1, clip_on=False
    )
    middle = np.array(position) * (window.stride_h, window.stride_w) - (window.pad_top, window.pad_left)
    middle += np.array(window.effective_kernel) // 2
    _square(axes, middle, ORANGE, 2.5)
    for place, (kh, kw) in zip(inputs, weights, strict=True):
        inside = (place >= 0).all() and (place < (window.in_h, window.in_w)).all()
        if not inside:
            _square(axes, place, RED, 1.2)
        if numbers:
            axes.text(place[1], place[0], f"{kh},{kw}", color="white" if inside else RED, ha="center", va="center",
                      fontsize=8)  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def draw_row(
    x, w, rate: int = 1, output: int | None = None, axes=None, stride: int = 1, before: int = 0, phases: int = 1
) -> None:
    """Draws one frame of a convolution in 1-D: the signal below, the outputs above, lines along the taps of one output.

    y[i] = sum_k x[i stride + k rate - before] w[k]

    Args:
        x: (L,) signal; w: (K,) weights; output: the one whose taps are drawn, those behind it are still empty; None:
            all outputs, each with its taps.
        before: zeros in front of the signal, and as many behind it; phases: inputs, and the lines from them, take turns
            in so many colours, 4 at most.
    """
    x, w = np.asarray(x), np.asarray(w)
    count = (len(x) + 2 * before - rate * (len(w) - 1) - 1) // stride + 1
    axes = axes_or_new(axes, 1.7)
    places = np.arange(-before, len(x) + before)
    values = np.concatenate([np.zeros(before, x.dtype), x, np.zeros(before, x.dtype)])
    starts = np.arange(count) * stride - before
    centres = starts + rate * (len(w) - 1) / 2
    shown = range(count) if output is None else [output]
    read = {int(starts[i] + k * rate) for i in shown for k in range(len(w))}
    for place, value in zip(places, values, strict=True):
        outside = not 0 <= place < len(x)
        face = _LIGHT[place % phases] if place in read and not outside else "white"
        _cell(axes, place, 0, f"{value:g}", face, GREY if outside else "black", "--" if outside else "-")
    for i, centre in enumerate(centres):
        known = output is None or i <= output
        value = sum(values[starts[i] + before + k * rate] * w[k] for k in range(len(w)))
        _cell(axes, centre, 2, f"{value:g}" if known else "", ORANGE if i in shown else "white", "black", "-")
    for i in shown:
        for k in range(len(w)):
            place = starts[i] + k * rate
            axes.plot([place, centres[i]], [0.42, 1.58], color=_DARK[place % phases],
                      linewidth=1.5 if output is not None else 0.8)  # fmt: skip
            if output is not None:
                where = 0.62 * place + 0.38 * centres[i]
                axes.text(where, 0.85, f"{w[k]:g}", ha="center", va="center", color=BLUE,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
    axes.set_xlim(places[0] - 0.7, places[-1] + 0.7)
    axes.set_ylim(-0.6, 2.6)
    axes.set_yticks([0, 2], ["input", "output"])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_frames(draw: Callable, steps: Sequence, columns: int = 3, height: float = 1.6, titles: Sequence[str] = ()):
    """Draws a strip of frames, as a film that stands still: draw(step, axes) once for each step, row by row.

    Args:
        columns: frames in a row; height: of a row, inches; titles: one for each step.
    """
    rows = -(-len(steps) // columns)
    grid = panels(rows, columns, height, squeeze=False).ravel()
    for axes in grid[len(steps) :]:
        axes.set_axis_off()
    for i, (step, axes) in enumerate(zip(steps, grid, strict=False)):
        draw(step, axes)
        if titles:
            axes.set_title(titles[i])


def draw_overlap(one, other, axes=None) -> None:
    """Draws which cells one output sees, which another one, and which both: blue, orange, black on white.

    Args:
        one, other: (H, W) bool.
    """
    axes = axes_or_new(axes, 2.6)
    which = np.asarray(one).astype(int) + 2 * np.asarray(other).astype(int)
    axes.imshow(which, cmap=_two(BLUE, ORANGE, "black"), vmin=0, vmax=3)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color="#bbbbbb")


def _all_taps(window, position):
    """(inputs, weights) of all taps, those outside the input included."""
    p, q = position
    if not (0 <= p < window.out_h and 0 <= q < window.out_w):
        raise ValueError(f"taps: the output has {window.out_h} x {window.out_w} positions, there is no {(p, q)}")
    weights = np.stack(np.meshgrid(np.arange(window.k_h), np.arange(window.k_w), indexing="ij"), -1).reshape(-1, 2)
    start = (p * window.stride_h - window.pad_top, q * window.stride_w - window.pad_left)
    return weights * (window.rate_h, window.rate_w) + start, weights


def _two(*colours):
    """A colour map: 0 is white, then the colours."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(["white", *colours])


def _square(axes, place, colour, width):
    axes.plot(*_outline(place), color=colour, linewidth=width, clip_on=False)


def _outline(place, half=0.5):
    row, column = place
    return column + half * np.array([-1, 1, 1, -1, -1]), row + half * np.array([-1, -1, 1, 1, -1])


def _cell(axes, x, y, text, face, colour, line):
    axes.fill(x + 0.45 * np.array([-1, 1, 1, -1]), y + 0.4 * np.array([-1, -1, 1, 1]), facecolor=face, edgecolor=colour,
              linestyle=line, linewidth=0.8)  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", color=colour)
