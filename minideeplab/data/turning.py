"""Masks that are turned or mirrored against their images: edges of the one are sought among edges of the other.

The border between two classes is where an image changes. A mask's borders and its image's edges therefore agree better
as they lie than after any turn. Where a whole split says the opposite, its masks are turned.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 96  # pixels of the longer side on which edges are compared
# What would have to be done to a mask. The first four keep its height and width, the others swap them.
TURNS = {
    "as stored": lambda a: a,
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "mirrored left to right": lambda a: a[:, ::-1],
    "mirrored top to bottom": lambda a: a[::-1],
    "turned by 90 degrees clockwise": lambda a: np.rot90(a, 3),
    "turned by 90 degrees counter-clockwise": lambda a: np.rot90(a),
    "mirrored along the diagonal": lambda a: a.T,
    "mirrored along the other diagonal": lambda a: a[::-1, ::-1].T,
}
NAMES = tuple(TURNS)
KEEPING = 4

# The median gain of n samples has to lie four deviations of a mean of n above zero. Measured: what a turn gives one
# sample is -0.2 to -0.8 in CamVid, VOC and drawn sets, and varies by 0.06 to 0.15; with masks of other images it is
# near 0, and varies alike. A smaller spread, which few samples show by chance, is not believed. A parked camera repeats
# one scene, and with it a chance (0.09 in CamVid): hence the least gain.
SPREAD, DEVIATIONS, LEAST_GAIN = 0.15, 4.0, 0.12
# A single sample is accused only beyond all that was measured of right ones (0.31 in CamVid).
SINGLE_GAIN = 0.4
FITTING = 0.15  # masks that fit their images agree at least so well, in the median of a split


class Turn(NamedTuple):
    """What masks seem to need.

    Attributes:
        name: a key of TURNS; stored, turned: median agreement of edges, -1..1, as it is and after the turn.
        samples: number of samples that were compared.
    """

    name: str
    stored: float
    turned: float
    samples: int


def small_view(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, w, 3) uint8, means of pixels, the longer side at most SIDE."""
    return np.asarray(Image.fromarray(image).resize(_small_size(*image.shape[:2]), Image.Resampling.BOX))


def edge_agreement(view: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How well the borders of a mask lie on the edges of its image, for each turn of the mask.

    score = Pearson correlation of sqrt(|gradient of the image|) and the smoothed borders of the mask.

    Args:
        view: (h, w, 3) uint8, of `small_view`.
        mask: (H, W) uint8 labels, of any height and width.

    Returns:
        (8,) float64 in the order of TURNS, -1..1; NaN where a turn does not give the image's height and width, and
        everywhere if image or mask has no edge.
    """
    edges, borders = _edges(view), _borders(mask)
    scores = np.full(len(NAMES), np.nan)
    for k, turn in enumerate(TURNS.values()):
        turned = turn(borders)
        if turned.shape == edges.shape and edges.any() and borders.any():
            scores[k] = (edges * turned).mean()
    return scores


def whole_turn(scores: np.ndarray) -> Turn | None:
    """The turn that the masks of a split need as a whole; None if they lie as they should, or nothing can be said.

    Args:
        scores: (n, 8) of `edge_agreement`.
    """
    judged = [turn for k in range(1, len(NAMES)) if (turn := _judge(scores, k)) is not None]
    return max(judged, key=lambda turn: turn.turned, default=None)


def single_turns(scores: np.ndarray) -> list[tuple[int, str]]:
    """(row, name of the turn) of single masks that fit far better turned, in a split whose others lie as they should.

    Args:
        scores: (n, 8) of `edge_agreement`.
    """
    if (medians(scores)[NAMES[0]] or 0.0) < FITTING:
        return []
    gains = np.nan_to_num(scores - scores[:, :1], nan=-1.0)
    best = gains.argmax(axis=1)
    rows = np.flatnonzero((gains.max(axis=1) >= SINGLE_GAIN) & (_at(scores, best) >= FITTING))
    return [(int(row), NAMES[best[row]]) for row in rows]


def swapped_turn(scores: np.ndarray) -> Turn | None:
    """Of masks whose height is their image's width: which quarter turn fits better; None if it cannot be said.

    Args:
        scores: (n, 8) of `edge_agreement`, NaN in the columns of turns that keep height and width.
    """
    clockwise, counter = scores[:, KEEPING], scores[:, KEEPING + 1]
    both = np.stack([clockwise, counter], axis=1)
    both = both[~np.isnan(both).any(axis=1)]
    if not len(both):
        return None
    middle = np.median(both, axis=0)
    better = int(middle.argmax())
    if middle[better] < FITTING or middle[better] - middle[1 - better] < LEAST_GAIN:
        return None
    return Turn(NAMES[KEEPING + better], float(middle[1 - better]), float(middle[better]), len(both))


def medians(scores: np.ndarray) -> dict[str, float | None]:
    """Turn -> median agreement over the samples for which it is known, None if there is none."""
    known = [column[~np.isnan(column)] for column in scores.T]
    return {name: float(np.median(column)) if len(column) else None for name, column in zip(NAMES, known, strict=True)}


def _judge(scores: np.ndarray, k: int) -> Turn | None:
    pairs = scores[:, [0, k]]
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    if not len(pairs):
        return None
    gains = pairs[:, 1] - pairs[:, 0]
    gain = np.median(gains)
    spread = max(SPREAD, 1.4826 * np.median(abs(gains - gain)))  # of a normal distribution: its standard deviation
    stored, turned = np.median(pairs, axis=0).tolist()
    if gain < max(LEAST_GAIN, DEVIATIONS * spread / np.sqrt(len(gains))) or turned < FITTING:
        return None
    return Turn(NAMES[k], stored, turned, len(gains))


def _at(scores: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    return np.nan_to_num(scores[np.arange(len(scores)), columns], nan=-1.0)


def _small_size(height: int, width: int) -> tuple[int, int]:
    """(width, height), as Pillow has it."""
    factor = min(1.0, SIDE / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _edges(view: np.ndarray) -> np.ndarray:
    """(h, w) of mean 0 and deviation 1; zero if the view has no edge, or a side below 2."""
    if min(view.shape[:2]) < 2:
        return np.zeros(view.shape[:2])
    smooth = gaussian_filter(view.astype(np.float32), (1, 1, 0))
    down, right = np.gradient(smooth, axis=(0, 1))
    return _standard(np.sqrt(np.hypot(down, right).max(axis=2)))  # the root: one hard edge is not the whole image


def _borders(mask: np.ndarray) -> np.ndarray:
    """(h, w) of mean 0 and deviation 1: where labels meet, thin borders kept; zero if there is one label only."""
    border = np.zeros(mask.shape, np.uint8)
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    border[1:] |= mask[1:] != mask[:-1]
    share = Image.fromarray(255 * border).resize(_small_size(*mask.shape), Image.Resampling.BOX)
    return _standard(gaussian_filter((np.asarray(share) > 0).astype(np.float32), 1.0))


def _standard(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64) - values.mean()
    deviation = values.std()
    return values / deviation if deviation > 1e-6 else np.zeros_like(values)
