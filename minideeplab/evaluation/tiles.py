"""Images that are too large to be seen at once: tiles that overlap, and scores row by row in bounded memory."""

from collections.abc import Callable

import numpy as np

LARGEST_WHOLE = 2**23  # pixels: what `tile="auto"` sees at once takes some 4 GB for 21 classes
SIDE = 769  # of the tiles of larger ones: 1 more than a multiple of every output stride; v3+ trains on such crops
STEP = 2 / 3  # of a tile's side, from one tile to the next (PSPNet's evaluation)
ROWS = 64  # of an image that are handed on at once
SLACK = 4  # rows: equal numbers of rows of the image are not always equally many rows of a view


def side_of(tile: int | str | None, height: int, width: int) -> int | None:
    """Side of the tiles that an image, or a view of it, is cut into; None if it is seen at once."""
    if tile == "auto":
        return SIDE if height * width > LARGEST_WHOLE else None
    return tile if tile is not None and max(height, width) > tile else None


def tiles_text(count: int, tile: int | str | None) -> str:
    """A sentence about images that were seen in tiles; where nobody asked for tiles, it says how to go without."""
    images = "1 image was" if count == 1 else f"{count} images were"
    hint = "; --tile whole sees an image at once" if tile == "auto" else ""
    return f"{images} seen in tiles of {SIDE if tile == 'auto' else tile} pixels{hint}"


def starts(side: int, tile: int, stride: int = 1) -> list[int]:
    """Where tiles begin along a side: at most two thirds of a tile apart, the last one reaches the end.

    They begin at multiples of the output stride, so that the positions of a network's maps lie where they lie when it
    sees the whole image; strides that are no smaller than a tile are left out of account.
    """
    if side <= tile:
        return [0]
    stride = stride if stride < tile else 1
    last = -(-(side - tile) // stride)
    steps = -(-last // max(1, int(STEP * tile) // stride))
    return [i * last // steps * stride for i in range(steps + 1)]


class ViewRows:
    """Scores of one view of an image, taken from the top down, with memory for one row of tiles.

    A view is the image at another scale, perhaps mirrored left and right. Scores are averaged where tiles overlap.

    Args:
        image: (H, W, 3) uint8; scale: of the view; mirrored: left and right.
        tile: side of tiles; None for the whole view at once; stride: of the network, see `starts`.
        normalise: uint8 pixels -> float32; score: (h, w, 3) normalised pixels -> (h, w, K) float32.
    """

    def __init__(self, image, scale, mirrored, tile, stride, normalise: Callable, score: Callable):
        self.image = image[:, ::-1] if mirrored else image
        self.mirrored, self.normalise, self.score = mirrored, normalise, score
        self.size = scaled_size(image.shape, scale)
        self.tile = max(self.size) if tile is None else tile
        self.tops, self.lefts = (starts(side, self.tile, stride) for side in self.size)
        self.cover_y, self.cover_x = (
            _cover(side, begins, self.tile) for side, begins in zip(self.size, (self.tops, self.lefts), strict=True)
        )
        self.ys, self.xs = (_between(*sides) for sides in zip(self.size, image.shape[:2], strict=True))
        self.sums = None  # of scores, rows `first` ... of the view
        self.first = self.final = self.done = 0  # rows before `final` are complete; tile rows before `done` are in

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Scores (bottom - top, W, K) of rows of the image; from call to call `top` does not decrease."""
        (low_y, weight_y), (low_x, weight_x) = (self.ys[0][top:bottom], self.ys[1][top:bottom]), self.xs
        begin, end = low_y[0], min(low_y[-1] + 2, self.size[0])
        while self.final < end:
            self._take_tiles(begin, end - begin)
        band = self.sums[begin - self.first : end - self.first]
        band = band / (self.cover_y[begin:end, None, None] * self.cover_x[:, None])
        band = _interpolated(band, low_y - begin, weight_y, axis=0)
        band = _interpolated(band, low_x, weight_x, axis=1)
        return band[:, ::-1] if self.mirrored else band

    def _take_tiles(self, needed: int, most: int) -> None:
        """Adds the next row of tiles; rows before `needed` are forgotten. `most`: rows that are asked for at once."""
        top = self.tops[self.done]
        bottom = min(top + self.tile, self.size[0])
        if self.sums is not None:
            self._forget(needed)
        for left in self.lefts:
            right = min(left + self.tile, self.size[1])
            scores = self.score(self._pixels(top, bottom, left, right))
            if self.sums is None:
                rows = min(self.tile + most + SLACK, self.size[0])
                self.sums = np.zeros((rows, self.size[1], scores.shape[-1]), np.float32)
            self.sums[top - self.first : bottom - self.first, left:right] += scores
        self.done += 1
        self.final = self.tops[self.done] if self.done < len(self.tops) else self.size[0]

    def _forget(self, needed):
        """Moves the rows from `needed` on to the front of the memory."""
        shift, self.first = needed - self.first, needed
        for row in range(len(self.sums)):  # one by one: no second band is held
            self.sums[row] = self.sums[row + shift] if row + shift < len(self.sums) else 0

    def _pixels(self, top, bottom, left, right):
        """Normalised pixels of a part of the view, taken from that part of the image alone."""
        height, width = self.image.shape[:2]
        if self.size == (height, width):
            return self.normalise(np.ascontiguousarray(self.image[top:bottom, left:right]))
        parts = []
        for side, to, begin, end in ((height, self.size[0], top, bottom), (width, self.size[1], left, right)):
            low, weight = _between(side, to)
            parts.append((low[begin:end], weight[begin:end], low[begin], min(low[end - 1] + 2, side)))
        (low_y, weight_y, y0, y1), (low_x, weight_x, x0, x1) = parts
        pixels = self.normalise(np.ascontiguousarray(self.image[y0:y1, x0:x1]))
        pixels = _interpolated(pixels, low_y - y0, weight_y, axis=0)
        return np.ascontiguousarray(_interpolated(pixels, low_x - x0, weight_x, axis=1))


def scaled_size(shape, scale) -> tuple[int, int]:
    """(height, width) of a view."""
    return tuple(max(1, round(scale * side)) for side in shape[:2])


def _cover(side, begins, tile):
    """(side,) float32: the number of tiles along a side that hold each position."""
    cover = np.zeros(side, np.float32)
    for begin in begins:
        cover[begin : begin + tile] += 1
    return cover


def _between(size, to):
    """Where `to` positions lie among `size`, corners aligned: the neighbour before, and the weight of the one after."""
    place = np.arange(to) * ((size - 1) / (to - 1)) if to > 1 else np.zeros(1)
    low = np.minimum(place.astype(np.int64), max(0, size - 2))
    return low, (place - low).astype(np.float32)


def _interpolated(values, low, weight, axis):
    """Values at `low + weight` along an axis."""
    if not weight.any():
        return values if len(low) == values.shape[axis] else np.take(values, low, axis)
    weight = weight.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    after = np.take(values, np.minimum(low + 1, values.shape[axis] - 1), axis)
    before = np.take(values, low, axis)
    after -= before
    after *= weight
    after += before
    return after
