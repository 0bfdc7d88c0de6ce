"""What has happened to a mask whose pixels are no labels: the cause is read from the mask as a whole.

A mask is flat: regions of few values, and borders without width. Compression, smoothing and resizing leave marks that
differ. Smoothed borders hold values between those of their two sides. JPEG spreads values around those of the regions,
some of them beyond both sides, up to a block of eight pixels away from any border.
"""

import numpy as np
from scipy import ndimage

JPEG = (
    "many values are spread around few, far from any border, too: the mask was a JPEG file once, and a PNG made of it "
    "keeps the damage; export the masks again from the labelling tool as PNG"
)
ANTI_ALIASED = (
    "its borders are smoothed, with values between those of both sides: was it drawn or exported with anti-aliasing, "
    "or resized with interpolation? Export it without smoothing; resize masks with nearest neighbour"
)
RESIZED = (
    "its borders are wide, with values between those of both sides: the mask was resized with interpolation, such as "
    "bilinear; resize masks with nearest neighbour, from the original masks"
)
SMOOTH = (
    "it was resized with interpolation, such as bilinear, or drawn with anti-aliasing; resize masks with nearest "
    "neighbour, and export them without smoothing"
)
EITHER = (
    "it was saved as JPEG once, or resized with interpolation; export the masks again from the labelling tool as PNG"
)
SAMPLE, SIDE = 1500, 512  # damaged pixels that are looked at; sides of the part of a mask in which they lie


def doubt(mask: np.ndarray, void: int) -> str | None:
    """Why a mask is not to be believed although each of its values is a label; None where nothing speaks against it.

    Only what cannot be a drawing is named. A mask with labels 0 to 3 alone may have been resized, and nobody can tell.

    Args:
        mask: (H, W) uint8 labels, as a file stores them.
        void: value of void pixels.
    """
    triples, pairs = _changes(mask, void)
    p, q, r = triples
    between = ((p < q) & (q < r) | (p > q) & (q > r)) & (np.abs(r - p) >= 3)
    spikes, small = p == r, np.abs(q - p) <= 2
    soft, close, far = between.sum(), (spikes & small).sum(), (spikes & ~small).sum()
    hard = (np.abs(pairs[0] - pairs[1]) >= 2).sum()
    if (soft < 16 or soft <= hard + close + far) and (close < 32 or close <= 1.5 * (hard + far)):
        return None
    counts = np.bincount(mask.ravel(), minlength=256)
    counts[void] = 0
    # Labels such as 0, 1 and 2 lie as close to each other as the errors of JPEG: then spikes say nothing.
    spiky = (
        close >= 32
        and close > 1.5 * (hard + far)
        and len(np.unique(triples[:2, spikes & small], axis=1).T) >= 6
        and np.ptp(np.flatnonzero(counts)) >= 8
        and _share_of_close_pairs(counts) < 0.5
    )
    layers = np.count_nonzero(counts) > min(mask.shape) / 8  # many thin ones lie between two others by right
    labels_between = _most_between(triples[:, between]) if layers else _common(q[between])
    smooth = soft >= 16 and soft > hard + close + far and labels_between >= 3
    if smooth and soft >= 10 * close:
        low, middle, high = _widest(triples[:, between])
        passes = f"from one label to another it passes through others, such as {middle} between {low} and {high}"
        return f"{passes}: {SMOOTH}"
    if smooth:
        return f"borders are smooth, and single pixels differ a little from the label around them: {EITHER}"
    return f"single pixels differ by 1 or 2 from the label around them: {JPEG}" if spiky else None


def _changes(mask, void):
    """Along some rows and columns of a mask: pixels that differ from both neighbours, and borders of two flat runs.

    Returns:
        (3, n) int16, such a pixel between its neighbours; (2, m) int16, the labels of two runs. Both are empty for
        noise and for masks of a few pixels, where everything is a border.
    """
    triples, pairs = [], []
    for rows in (mask, mask.T):
        rows = rows[:: max(1, len(rows) // 64)].astype(np.int16)  # about 64 lines each way say enough
        changes = rows[:, 1:] != rows[:, :-1]
        if changes.shape[1] < 3 or changes.mean() > 0.35:
            return np.empty((3, 0), np.int16), np.empty((2, 0), np.int16)
        y, x = np.nonzero(changes[:, :-1] & changes[:, 1:])
        triples.append(np.stack([rows[y, x], rows[y, x + 1], rows[y, x + 2]]))
        y, x = np.nonzero(changes[:, 1:-1] & ~changes[:, :-2] & ~changes[:, 2:])
        pairs.append(np.stack([rows[y, x + 1], rows[y, x + 2]]))
    triples, pairs = np.concatenate(triples, axis=1), np.concatenate(pairs, axis=1)
    return triples[:, (triples != void).all(axis=0)], pairs[:, (pairs != void).all(axis=0)]


def cause_in_values(values, allowed, num_classes, palette, ignore_index) -> str | None:
    """Why a mask with one channel holds values that are no labels; None where nothing can be said.

    Args:
        values: (H, W) uint8, as the file stores them.
        allowed: (256,) bool, the values that are labels.
        num_classes, palette, ignore_index: of the data set.
    """
    present = np.unique(values)
    bad = present[~allowed[present]]
    if num_classes == 2 and present.tolist() == [0, 255]:
        return "Are these two classes stored as 0 and 255? --label-map binary takes 255 for label 1."
    labels = [*range(num_classes), ignore_index]
    if step := _stretched(present, num_classes, len(bad)):
        return f"The values are multiples of {step}: were labels stretched to 0..255? Divide by {step} and round."
    colours = palette[labels].astype(np.float64) @ (0.299, 0.587, 0.114)
    greys = {*np.floor(colours).astype(int).tolist(), *np.rint(colours).astype(int).tolist()}
    if set(present.tolist()) <= greys and len(bad) >= len(present) // 2:
        return (
            "They are the grey levels of the classes' colours: were colours saved as grey levels? Export labels, "
            "not colours, or export the colours as RGB"
        )
    known = np.flatnonzero(allowed)[:, None].astype(np.int16)
    return _of_pixels(values[..., None].astype(np.int16), known, ~allowed[values]) or doubt(values, ignore_index)


def cause_in_colours(rgb, known, unknown) -> str | None:
    """Why an RGB mask holds colours that are not in the table; None where nothing can be said.

    Args:
        rgb: (H, W, 3) uint8.
        known: (n, 3) uint8, colours of the labels.
        unknown: (H, W) bool, pixels of other colours.
    """
    if (spoilt := _of_pixels(rgb.astype(np.int16), known.astype(np.int16), unknown)) is not None:
        return spoilt
    if (rgb == rgb[..., :1]).all() and rgb.max() < len(known):
        return "All three channels are equal: labels were saved as RGB; export the mask as an 8-bit PNG of one channel"
    others, counts = np.unique(rgb[unknown], axis=0, return_counts=True)
    table = set(map(tuple, known.tolist()))
    if all(tuple(colour[::-1]) in table for colour in others.tolist()):
        return (
            "Red and blue seem to be exchanged, as OpenCV writes arrays of RGB; export the mask with their order mended"
        )
    if len(others) <= 64 and _interior(_codes(rgb))[unknown].any():
        order = counts.argsort()[::-1][:4]
        shown = ", ".join(f"{tuple(others[k].tolist())} in {counts[k]} pixels" for k in order)
        more = f" and {len(others) - 4} more" if len(others) > 4 else ""
        return (
            f"The mask was drawn with other colours: {shown}{more}. Say what they mean: add a line 'NAME r g b', or "
            "'void r g b', to the class list if its lines have colours, and otherwise to colors.txt in the folder of "
            "the data set, with one line for each class"
        )
    return None


def _of_pixels(pixels, known, bad):
    """JPEG, ANTI_ALIASED or RESIZED, by where bad pixels lie and what lies around them; None where that is not clear.

    Args:
        pixels: (H, W, c) int16; known: (n, c) int16, what the pixels of a good mask hold; bad: (H, W) bool.
    """
    part = _part(bad)
    pixels, bad = pixels[part], bad[part]
    codes = _codes(pixels)
    inside = _interior(codes)
    if inside.mean() < 0.4:  # a mask is mostly flat, after JPEG has spoilt it, too
        return None
    levels = _levels(pixels, codes, inside, known)
    if len(levels) < 2:
        return None
    values, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    if len(values) > 20_000:  # a photograph has so many, or the JPEG file of a large mask
        return JPEG
    colours = pixels.reshape(-1, pixels.shape[2])[first]
    nearest = np.abs(colours[:, None] - levels).max(axis=2).argmin(axis=1)[inverse].reshape(bad.shape)
    strays = bad & (pixels != levels[nearest]).any(axis=2)
    kinds = len(np.unique(codes[strays]))
    steps = (nearest[1:] != nearest[:-1]).sum() + (nearest[:, 1:] != nearest[:, :-1]).sum()
    if strays.sum() < max(16, 0.25 * steps) or kinds < max(3, len(levels)):  # slivers of a few labels
        return None
    constant = ndimage.maximum_filter(nearest, 7) == ndimage.minimum_filter(nearest, 7)
    far = constant[strays].mean()
    rows, columns = (places[_spread(len(places))] for places in np.nonzero(strays))
    here, around = pixels[rows, columns], _around(levels[nearest], rows, columns, 4)
    low, high = around.min(axis=1), around.max(axis=1)
    between = ((low <= here) & (here <= high)).all(axis=1).mean()
    near = (np.abs(here - levels[nearest[rows, columns]]).max(axis=1) <= 0.08 * (high - low).max(axis=1)).mean()
    ramp = _ramp(pixels)[strays].mean()
    if far >= 0.05 and ramp < 0.75 and (between < 0.85 or near >= 0.5):
        # Thin lines, of many labels, are no noise: that has hundreds of colours, or greys that rise and fall.
        noise = kinds >= 64 if pixels.shape[2] == 3 else kinds >= 3 * len(levels) and ramp >= 0.15
        return JPEG if noise else None
    if ramp < 0.45:
        return None
    return RESIZED if strays.sum() > steps else ANTI_ALIASED


def _part(bad):
    """Two slices: the surroundings of a bad pixel, so that large masks take no longer."""
    places = np.flatnonzero(bad)
    middle = np.unravel_index(places[len(places) // 2], bad.shape)
    starts = [max(0, min(at - SIDE // 2, side - SIDE)) for at, side in zip(middle, bad.shape, strict=True)]
    return tuple(slice(start, start + SIDE) for start in starts)


def _levels(pixels, codes, inside, known):
    """(n, c) int16: the values of flat regions; those that JPEG has shifted a little are taken for what they were."""
    _, first, counts = np.unique(codes[inside], return_index=True, return_counts=True)
    colours = pixels[inside][first]
    spread = int(pixels.max()) - int(pixels.min())
    tolerance = 0.06 * spread if spread > 64 else 0
    levels, pixels_of = [], []
    for k in counts.argsort(kind="stable")[::-1][:256].tolist():
        colour, count = colours[k], counts[k]
        if count < max(9, codes.size // 1000):
            break
        if colour.size == 3:  # colours of a table lie far apart, so that the nearest is meant; labels do not
            off = np.abs(known - colour).max(axis=1)
            colour = known[off.argmin()] if off.min() <= tolerance else colour
        close = [n for n, level in enumerate(levels) if np.abs(colour - level).max() <= tolerance]
        if not close or (colour.size == 1 and count > 0.1 * max(pixels_of[n] for n in close)):
            levels.append(colour)
            pixels_of.append(count)
    return np.array(levels, np.int16).reshape(-1, pixels.shape[2])


def _ramp(pixels):
    """(H, W) bool: pixels that lie between two opposite neighbours, in every channel."""
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = pixels.shape[:2]
    found = np.zeros((height, width), bool)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        p = padded[1 - dy : 1 - dy + height, 1 - dx : 1 - dx + width]
        r = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        low, high = np.minimum(p, r), np.maximum(p, r)
        found |= (
            ((low <= pixels) & (pixels <= high)).all(axis=2) & (pixels != p).any(axis=2) & (pixels != r).any(axis=2)
        )
    return found


def _interior(codes):
    """(H, W) bool: pixels whose eight neighbours are equal to them."""
    return ndimage.maximum_filter(codes, 3, mode="nearest") == ndimage.minimum_filter(codes, 3, mode="nearest")


def _around(values, rows, columns, radius):
    """(n, k, c): the values in the window around each of n places."""
    padded = np.pad(values, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    dy, dx = np.mgrid[: 2 * radius + 1, : 2 * radius + 1].reshape(2, -1)
    return padded[rows[:, None] + dy, columns[:, None] + dx]


def _codes(pixels):
    """(H, W) int32, one number for each colour of (H, W, c)."""
    codes = np.zeros(pixels.shape[:2], np.int32)
    for channel in np.moveaxis(pixels, -1, 0):
        codes = codes << 8 | channel
    return codes


def _spread(count):
    return np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)


def _stretched(present, num_classes, bad):
    """255 / (n - 1) where all values are its multiples, for as many labels as there are classes, or as bits hold."""
    for n in dict.fromkeys((num_classes, 4, 16)):
        if 2 <= n <= 52:
            step = 255 / (n - 1)
            off = np.abs(present - np.rint(present / step) * step)
            inner = set(present.tolist()) - {0, 255}
            if off.max() < 1 and (bad >= 2 or n <= 4) and inner:
                return f"{step:.4g}"
    return None


def _common(labels):
    """How many labels make up 2 % or more of these."""
    counts = np.bincount(labels)
    return int((counts >= max(2, 0.02 * len(labels))).sum())


def _most_between(triples):
    """Of all pairs of outer pixels that one, between which most labels lie: their number, where each lies there twice.

    Layers that are one pixel thin lie between two others as well, but one layer between one pair.
    """
    different, counts = np.unique(triples, axis=1, return_counts=True)
    outer = different[:, counts >= 2][[0, 2]]
    return int(np.unique(outer, axis=1, return_counts=True)[1].max(initial=0))


def _widest(triples):
    """The triple of pixels with the widest step, its ends in order."""
    low, middle, high = triples[:, np.abs(triples[2] - triples[0]).argmax()].tolist()
    return min(low, high), middle, max(low, high)


def _share_of_close_pairs(counts):
    """Of two pixels with different labels, how often the labels differ by 1 or 2."""
    share = counts / max(1, counts.sum())
    pairs = np.outer(share, share)
    different = pairs.sum() - np.trace(pairs)
    close = 2 * (np.trace(pairs, 1) + np.trace(pairs, 2))
    return close / max(different, 1e-12)
