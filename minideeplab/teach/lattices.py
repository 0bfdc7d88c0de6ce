"""Pictures of the dense CRF's filter: the permutohedral lattice of two features, and the weights seen from a pixel."""

import numpy as np

import kernels
from kernels.lattice import embed, unembed
from minideeplab.crf import LatticeFilter, bilateral_features, position_features
from minideeplab.teach.style import BLACK, BLUE, GREY, ORANGE, axes_or_new

STEPS = ("simplices", "splat", "blur", "slice")
MARGIN = 0.35  # around the vertices, standard deviations
COLOURS = "Blues"


def draw_lattice(features, values=None, step="simplices", passes=3, axes=None, largest=None) -> None:
    """Draws the lattice around points of two features, and what one step of the filter leaves on it.

    "simplices": the triangles, the points in them, and the vertices that exist: corners of a triangle with a point.
    "splat": each point gives its value to its three corners, the more the nearer: lines are as thick as the shares.
    "blur": the vertices after `passes` passes, each along one direction of the grid, which a bar shows.
    "slice": each point takes back from its corners what it gave shares for; points show the filter's result.

    Args:
        features: (N, 2), each dimension divided by its standard deviation.
        values: (N,) numbers, one for each point; not needed for the simplices.
        step: one of STEPS; passes: 0 to 3, of the blur.
        axes: where to draw, a new figure if None; largest: value of the brightest colour, the largest one if None.

    Raises:
        ValueError: features of another shape, an unknown step, no values where they are needed.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or features.shape[1] != 2:
        raise ValueError(f"draw_lattice: features must be (N, 2), got shape {features.shape}")
    if step not in STEPS:
        raise ValueError(f"draw_lattice: step must be one of {', '.join(STEPS)}, got {step!r}")
    if values is None and step != "simplices":
        raise ValueError(f"draw_lattice: the step {step!r} needs values")
    axes = axes_or_new(axes, 4.0)
    k = kernels.load("reference")
    lattice, vertices = lattice_of(features)
    low, high = vertices.min(axis=0) - MARGIN, vertices.max(axis=0) + MARGIN
    _draw_grid(axes, low, high)
    point, vertex = {"s": 14, "zorder": 4}, {"s": 46, "zorder": 3, "edgecolor": BLACK, "linewidth": 0.6}
    if step == "simplices":
        for corners in np.unique(np.sort(lattice.vertex, axis=1), axis=0):
            axes.fill(*vertices[corners].T, color=BLUE, alpha=0.15, linewidth=0)
        axes.scatter(*vertices.T, color="white", **vertex)
        axes.scatter(*features.T, color=BLACK, **point)
    else:
        column = np.asarray(values, np.float64).reshape(-1, 1)
        on_vertices = k.splat(lattice, column)
        if step != "splat":
            steps = passes if step == "blur" else 3
            on_vertices = k.blur(lattice._replace(neighbours=(lattice.neighbours[0][:steps],)), on_vertices)
        result = k.slice_lattice(lattice, on_vertices) if step == "slice" else column
        shown = result if step == "slice" else on_vertices
        colours = {"cmap": COLOURS, "vmin": 0, "vmax": shown.max() if largest is None else largest}
        if step != "blur":
            weights = lattice.slice_weight / lattice.slice_weight.sum(axis=1, keepdims=True)
            busy = (column[:, 0] != 0) if step == "splat" else np.ones(len(features), bool)
            _draw_shares(axes, features[busy], vertices[lattice.vertex[busy]], weights[busy])
        elif passes:
            _draw_direction(axes, passes - 1, np.array([low[0] + 1.2, high[1] - 1.2]))
        axes.scatter(*vertices.T, c=on_vertices[:, 0], **vertex, **colours)
        if step == "slice":
            axes.scatter(*features.T, c=result[:, 0], marker="s", edgecolor=BLACK, linewidth=0.4, **point, **colours)
        elif step == "splat":
            axes.scatter(*features[busy].T, color=ORANGE, marker="s", edgecolor=BLACK, linewidth=0.4, **point)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")


def lattice_of(features):
    """The reference's lattice of features (N, 2), and the place of its M vertices, (M, 2), among the features."""
    k = kernels.load("reference")
    lattice, (points, _) = k.build_lattice(features), k.simplex_of(features)
    vertices = np.empty((lattice.n_vertices, 3))
    vertices[lattice.vertex.reshape(-1)] = points.reshape(-1, 3)
    return lattice, unembed(vertices)


def kernel_picture(image, pixel, sxy, srgb=None, by="exact") -> np.ndarray:
    """The weight of every pixel j as seen from one pixel i, the row i of the filter's matrix without normalisation:

        exp(-|p_i - p_j|^2 / (2 sxy^2) - |I_i - I_j|^2 / (2 srgb^2))

    Args:
        image: (H, W) or (H, W, 3) numbers; pixel: (row, column).
        sxy: standard deviation of the position, pixels.
        srgb: of the colours, in the image's unit; None for positions alone.
        by: "exact", or "lattice": what the permutohedral lattice makes of it.

    Returns:
        (H, W) float64; 1 at the pixel itself if it is exact.

    Source: Krähenbühl & Koltun 2011 (arXiv 1210.5644); DeepLab v1 (arXiv 1412.7062), section 3.2.
    """
    image = np.asarray(image)
    height, width = image.shape[:2]
    if srgb is None:
        features = position_features(height, width, sxy, np.float64)
    else:
        features = bilateral_features(image, sxy, srgb, np.float64)
    number = pixel[0] * width + pixel[1]
    if by == "exact":
        weights = np.exp(-((features - features[number]) ** 2).sum(axis=1) / 2)
    elif by == "lattice":
        only = np.zeros((height * width, 1))
        only[number] = 1
        weights = LatticeFilter(features, "none").apply_transposed(only)
    else:
        raise ValueError(f"kernel_picture: by must be exact or lattice, got {by!r}")
    return weights.reshape(height, width)


def _draw_grid(axes, low, high):
    """The lattice's triangles between two corners of the picture."""
    from matplotlib.collections import LineCollection

    middle = np.rint(embed((low + high)[None] / 2) / 3).astype(np.int64)[0] * 3
    middle[0] -= middle.sum()
    reach = int(np.ceil(np.hypot(*(high - low)) / 2 * 1.2)) + 2
    a, b = (n.reshape(-1, 1) for n in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    points = middle + a * np.array([-2, 1, 1]) + b * np.array([1, -2, 1])
    starts = unembed(points)
    lines = [np.stack([starts, unembed(points + step)], axis=1) for step in np.ones((3, 3)) - 3 * np.eye(3)]
    axes.add_collection(LineCollection(np.concatenate(lines), colors="#c9c9c9", linewidths=0.7, zorder=1))


def _draw_shares(axes, points, corners, weights):
    """Lines from each point (n, 2) to its corners (n, 3, 2), as thick as the weights (n, 3)."""
    from matplotlib.collections import LineCollection

    lines = np.stack([np.broadcast_to(points[:, None], corners.shape), corners], axis=2).reshape(-1, 2, 2)
    axes.add_collection(LineCollection(lines, colors=GREY, linewidths=4 * weights.reshape(-1), zorder=2))


def _draw_direction(axes, axis, corner):
    """A bar in the upper left corner: the direction of one pass of the blur, two edges long."""
    step = np.ones((1, 3))
    step[0, axis] -= 3
    along = unembed(step)[0]
    line = np.stack([corner - along, corner + along])
    axes.plot(*line.T, color=ORANGE, linewidth=4, solid_capstyle="round", zorder=5)
