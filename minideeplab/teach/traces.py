"""A network as rows of feature maps: what each layer gives, and what it costs."""

from collections.abc import Mapping, Sequence

import numpy as np

from minideeplab.cost import TracedLayer
from minideeplab.teach.style import BLUE, GREY, ORANGE, WIDTH, axes_or_new

ROW = 0.66  # inches; the unit of the drawing
MAPS_WIDTH, NAME, FIELD, COST, END = 4.9, 5.1, 8.5, 10.15, WIDTH / ROW  # left sides of the columns, units


def draw_trace(layers: Sequence[TracedLayer] | Mapping[str, TracedLayer], maps: int = 6, image=None, axes=None) -> None:
    """Draws a row for each layer: feature maps, name, kind with its rate, shape, field, multiply-adds.

    The maps are the channels that vary most, each from its smallest value (dark) to its largest. The field is drawn
    as a square beside the frame of the image.

    Args:
        layers: of `model.trace(images)`, those that are to be seen (a dozen can be read); or a mapping from a caption
            to a layer, where names of modules say too little. Layers without values have no maps.
        maps: how many of each layer, at most.
        image: (H, W, 3) uint8 or 0..1, drawn as a first row, or None.
        axes: to draw on, a new figure by default.

    Raises:
        ValueError: no layer.
    """
    if not layers:
        raise ValueError("draw_trace: no layer to draw")
    named = layers if isinstance(layers, Mapping) else dict(enumerate(layers))
    rows, first = list(named.items()), next(iter(named.values()))
    head = 0.45 if image is None else 1.45
    axes = axes_or_new(axes, ROW * (len(rows) + head))
    axes.set_xlim(0, END)
    axes.set_ylim(len(rows), -head)
    axes.set_aspect("equal")
    axes.set_axis_off()
    heads = {0: f"{maps} channels of each", NAME: "layer", FIELD: "field", COST: "multiply-adds"}
    for x, text in heads.items():
        axes.text(x, -0.12, text, fontsize=8, color=GREY, va="bottom")
    if image is not None:
        _map(axes, np.asarray(image), 0, -1.45, 0.95, MAPS_WIDTH)
        axes.text(NAME, -1.0, f"the image\n{image.shape[0]} x {image.shape[1]} x 3", fontsize=9, va="center")
    frame = first.input[:2] if image is None else image.shape[:2]
    most = max(layer.macs for layer in named.values()) or 1
    for y, (caption, layer) in enumerate(rows):
        _maps(axes, layer.values, y, maps)
        _words(axes, caption if isinstance(caption, str) else _short(layer.name), layer, y)
        _field(axes, layer.receptive_field, frame, y)
        _cost(axes, layer.macs, most, y)


def _maps(axes, values, y, count):
    """The channels that vary most, side by side."""
    if values is None:
        return
    values = values[0]  # (H, W, C) of the first image
    flat = values.reshape(-1, values.shape[-1])
    chosen = np.argsort(-flat.std(axis=0), kind="stable")[:count]
    pitch = min(MAPS_WIDTH / count, 0.95 * values.shape[1] / values.shape[0] + 0.08)
    for i, channel in enumerate(chosen):
        _map(axes, values[..., channel], i * pitch, y, 0.95, pitch - 0.06)


def _map(axes, picture, x, y, height, width):
    """A picture as large as fits into a box, its top left corner at (x, y)."""
    h, w = picture.shape[:2]
    scale = min(height / h, width / w)
    axes.imshow(picture, cmap=_few_colours(), extent=(x, x + w * scale, y + h * scale, y), zorder=2)


def _few_colours():
    """Viridis in 20 steps: a picture of many maps is a third smaller, and looks the same."""
    import matplotlib

    return matplotlib.colormaps["viridis"].resampled(20)


def _words(axes, name, layer, y):
    h, w, c = layer.output
    axes.text(NAME, y + 0.24, name, fontsize=9, va="center", weight="bold")
    axes.text(NAME, y + 0.67, f"{layer.kind}    {h} x {w} x {c}", fontsize=8, va="center", color="#404040")


def _field(axes, field, frame, y):
    """The frame of the image, and the field as a square around its middle; both in one scale."""
    from matplotlib.patches import Rectangle

    scale = 0.42 / max(frame)
    height, width = frame[0] * scale, frame[1] * scale
    middle = FIELD + 0.35, y + 0.48
    axes.add_patch(Rectangle((middle[0] - width / 2, middle[1] - height / 2), width, height, fill=False, ec=GREY))
    if field is None:
        axes.text(FIELD + 0.88, y + 0.48, "all", fontsize=8, va="center")
        return
    side = min(max(field * scale, 0.05), 0.9)  # a smaller one would not be seen, a larger one is cut
    corner = middle[0] - side / 2, middle[1] - side / 2
    axes.add_patch(Rectangle(corner, side, side, fc=ORANGE, ec="none", alpha=0.65, zorder=0.5))
    axes.text(FIELD + 0.88, y + 0.48, f"{field}", fontsize=8, va="center")


def _cost(axes, macs, most, y):
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((COST, y + 0.58), (END - COST - 0.1) * macs / most, 0.2, color=BLUE))
    axes.text(COST, y + 0.3, _count(macs), fontsize=8, va="center")


def _count(macs):
    unit, name = next((u for u in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if macs >= u[0]), (1, ""))
    return f"{macs / unit:.3g} {name}".strip() if macs else "none"


def _short(name, longest=30):
    """A module's name without the words that all have; the end of a long one, which says most."""
    name = name.removesuffix(".conv").replace(".layers.", ".") or "(the network)"
    return name if len(name) <= longest else "..." + name[-longest + 3 :]
