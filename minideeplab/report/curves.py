"""Curves as SVG: drawn by Python, so that they are there without a script, which only reads values off them."""

import json
import math
from html import escape
from typing import NamedTuple

import numpy as np

POINTS = 300  # of a curve, at most
WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 40  # margins
FEW = 30  # a curve of no more points shows them


class Series(NamedTuple):
    """A curve: a name, its points, and the style of its line, "main" or "pale"."""

    name: str
    x: np.ndarray
    y: np.ndarray
    style: str = "main"


def means(x: np.ndarray, y: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray, int]:
    """Means of neighbours, so that a curve has at most so many points.

    Returns:
        (P,) float64: x of the last of each group, and the mean of its y; how many make a group.
    """
    size = max(1, -(-len(x) // points))
    starts = np.arange(0, len(x), size)
    counts = np.diff([*starts, len(x)])
    return np.asarray(x, float)[starts + counts - 1], np.add.reduceat(np.asarray(y, float), starts) / counts, size


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Round numbers in low..high, about `count`: 1, 2 or 5 times a power of ten apart."""
    raw = max(high - low, 1e-12) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    step = max(1.0, step) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def curve(title: str, x_label: str, series: list[Series], top: float | None = None) -> str:
    """HTML of one or more curves over a common x; y from 0 up to `top`, or to the largest value."""
    series = [each for each in series if len(each.x)]
    if not series:
        return f"<figure class=curve><figcaption>{escape(title)}</figcaption><p>nothing yet</p></figure>"
    low, high = min(each.x.min() for each in series), max(each.x.max() for each in series)
    if low == high:
        low, high = low - 1, high + 1
    top = top or 1.05 * max(each.y.max() for each in series) or 1.0

    def across(x):
        return LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(y):
        return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = []
    for y in ticks(0, top):
        parts.append(f"<line class=grid x1={LEFT} x2={WIDTH - RIGHT} y1={down(y):.1f} y2={down(y):.1f} />")
        parts.append(f"<text class=y x={LEFT - 6} y={down(y) + 4:.1f}>{y:g}</text>")
    for x in ticks(low, high, whole=True):
        parts.append(f"<text class=x x={across(x):.1f} y={HEIGHT - BOTTOM + 18}>{x:g}</text>")
    parts.append(f"<text class=x x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 4}>{escape(x_label)}</text>")
    for each in series[::-1]:
        points = [(across(x), down(min(y, top))) for x, y in zip(each.x, each.y, strict=True)]
        parts.append(f'<polyline class={each.style} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" />')
        if len(points) <= FEW:
            parts += [f"<circle class={each.style} cx={x:.1f} cy={y:.1f} r=2.5 />" for x, y in points]
    parts.append(f"<line class=cursor y1={TOP} y2={HEIGHT - BOTTOM} visibility=hidden />")
    data = {
        "label": x_label,
        "frame": [float(low), float(high), LEFT, WIDTH - RIGHT],
        "series": [[each.name, each.x.tolist(), [float(f"{y:.5g}") for y in each.y]] for each in series],
    }
    ends = "; ".join(f"{each.name} {each.y[0]:.4g} at first, {each.y[-1]:.4g} at last" for each in series)
    legend = " ".join(f"<span class={each.style}>{escape(each.name)}</span>" for each in series)
    body = "\n".join(parts)
    return f"""<figure class=curve>
<figcaption>{escape(title)} <span class=legend>{legend}</span></figcaption>
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img tabindex=0 aria-label="{escape(f"{title}: {ends}")}"
 data-curve="{escape(json.dumps(data))}">
{body}
</svg>
<p class=readout aria-live=polite></p>
</figure>"""
