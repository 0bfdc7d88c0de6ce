"""Small pictures that a page carries in itself, and that its script can read back, pixel by pixel."""

import base64
import io

import numpy as np
from PIL import Image

SIDE = 320  # pixels of the longer side, at most


def kept_pixels(height: int, width: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of an image that its small picture shows: evenly spread, all of them up to `side`.

    Returns:
        (h,) and (w,) int64; pixel (y, x) of the picture is pixel (rows[y], columns[x]) of the image, with
        rows[y] = floor((y + 1/2) height / h).
    """
    scale = min(1.0, side / max(height, width))
    h, w = (max(1, round(scale * length)) for length in (height, width))
    return tuple(
        (2 * np.arange(small) + 1) * large // (2 * small) for small, large in ((h, height), (w, width))
    )  # fmt: skip


def percent_of_largest(scores: np.ndarray, kind: str) -> np.ndarray:
    """Probability of the most probable class in whole percent: round(100 max_k p_k).

    Args:
        scores: (h, w, K) float32; kind: what they are, "logits" or "probabilities".

    Returns:
        (h, w) uint8, 0..100.
    """
    if kind == "logits":  # max_k p_k = 1 / sum_k exp(s_k - max s)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        largest = 1 / (powers @ np.ones(scores.shape[-1], scores.dtype))
    else:
        largest = scores.max(axis=-1)
    return np.rint(100 * largest).clip(0, 100).astype(np.uint8)


def distinct(colours: np.ndarray) -> np.ndarray:
    """(256, 3) uint8 colours of which no two are equal: a script finds the label by the colour.

    A colour that an earlier label has is moved by the least step of blue, green and red that makes it free.
    """
    taken, result = set(), colours.copy()
    for label, colour in enumerate(colours.tolist()):
        step = 0
        while (free := _moved(colour, step)) in taken:
            step += 1
        taken.add(free)
        result[label] = free
    return result


def _moved(colour, step):
    """The colour, `step` further: 1..8 in blue, then in green, then in red; away from the end of the scale."""
    digits = step % 9, step // 9 % 9, step // 81 % 9
    return tuple(
        value + digit if value < 128 else value - digit for value, digit in zip(colour, digits[::-1], strict=True)
    )


def labels_url(labels: np.ndarray, colours: np.ndarray) -> str:
    """A palette PNG of labels (h, w) uint8 in colours (256, 3) uint8, as a data URL."""
    picture = Image.fromarray(labels)  # mode L
    picture.putpalette(colours.tobytes())
    return _url(picture, "PNG", "image/png", compress_level=6)


def percent_url(percent: np.ndarray) -> str:
    """A grey PNG of numbers (h, w) uint8, as a data URL."""
    return _url(Image.fromarray(percent), "PNG", "image/png", compress_level=6)


def photo_url(photo: np.ndarray) -> str:
    """A JPEG of an image (h, w, 3) uint8, as a data URL."""
    return _url(Image.fromarray(photo), "JPEG", "image/jpeg", quality=82)


def small_photo(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 of an image (H, W, 3) uint8; `size` is (h, w), each pixel a mean."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def _url(picture: Image.Image, kind: str, mime: str, **options) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:{mime};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
