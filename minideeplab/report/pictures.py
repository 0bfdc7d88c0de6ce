"""Small pictures that a page carries in itself, and that its script can read back, pixel by pixel."""

import base64
import io

import numpy as np
from PIL import Image

SIDE = 320  # pixels of the longer side, at most


def step_of(height: int, width: int) -> int:
    """Pixels of an image from one pixel of its small picture to the next."""
    return -(-max(height, width) // SIDE)


def kept_pixels(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of an image that its small picture shows.

    Pixel (y, x) of the picture is pixel (s y + floor(s / 2), s x + floor(s / 2)) of the image, s = `step_of`; a side
    that is shorter than that shows its last pixel.
    """
    step = step_of(height, width)
    return tuple(slice(min(step // 2, length - 1), None, step) for length in (height, width))


def percent_of(labels: np.ndarray, scores: np.ndarray, kind: str) -> np.ndarray:
    """Probability of the labels in whole percent: round(100 p_k), p = softmax(scores).

    Args:
        labels: (h, w) uint8, k of each pixel.
        scores: (h, w, K) float32; kind: what they are, "logits" or "probabilities".

    Returns:
        (h, w) uint8, 0..100.
    """
    chosen = np.take_along_axis(scores, labels[..., None].astype(np.int64), axis=-1)
    if kind == "logits":  # p_k = 1 / sum_j exp(s_j - s_k); a product with ones adds many short rows fastest
        with np.errstate(over="ignore"):
            powers = np.exp(scores - chosen)
        probability = 1 / (powers @ np.ones(scores.shape[-1], scores.dtype))
    else:
        probability = chosen[..., 0]
    return np.rint(100 * probability).clip(0, 100).astype(np.uint8)


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


def small_photo(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of an image (H, W, 3) uint8: means around the pixels that `kept_pixels` keeps."""
    height, width = image.shape[:2]
    step = step_of(height, width)
    if step == 1:
        return image
    rows, columns = kept_pixels(height, width)
    h, w = len(range(height)[rows]), len(range(width)[columns])
    return np.asarray(Image.fromarray(image[: h * step, : w * step]).reduce(step))


def _url(picture: Image.Image, kind: str, mime: str, **options) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:{mime};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
