"""From uint8 pictures to network inputs: normalisation, and the random views that the papers train on."""

import numpy as np
from PIL import Image, ImageFilter

from minideeplab.data.palettes import IGNORE_INDEX

# ImageNet statistics of RGB in 0..1, as in the weights that others have published.
IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)
LEAST_VIEW = 0.2  # share of an image's shorter side that a crop shows: through less, few objects are seen as a whole
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def normalise(image):
    """(x / 255 - IMAGE_MEAN) / IMAGE_STD per channel.

    Args:
        image: (..., 3) uint8 RGB.

    Returns:
        (..., 3) float32.

    Raises:
        TypeError: the image is not uint8: floats would leave open whether they mean 0..1 or 0..255.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"normalise: image must be uint8 RGB in 0..255, got {image.dtype}")
    return _standardised(image.astype(np.float32))


def view_warning(crop_size, scale_range, sizes):
    """A sentence where a crop shows too little of an image, such as a photograph of 12 megapixels; else None.

    Args:
        crop_size, scale_range: as of `TrainTransform`; the middle scale counts.
        sizes: (n, 2) heights and widths of the images; their medians count.
    """
    height, width = np.median(sizes, axis=0).astype(int).tolist()
    scale = sum(scale_range) / 2
    share = crop_size / (scale * min(height, width))
    if share >= LEAST_VIEW:
        return None
    return (
        f"the images are large ({width} x {height} pixels, the median): a crop of {crop_size} at a scale of {scale:g} "
        f"shows {100 * share:.3g} % of the shorter side, and the network learns details without what is around them"
    )


def side_of_copies(crop_size):
    """Longer side of copies of large images, in pixels, of which a crop shows enough."""
    return 5 * crop_size // 2


class TrainTransform:
    """Random scale, crop, mirror, blur and colour: a new view of a sample for each epoch.

    The scale is uniform over `scale_range`. Where the scaled image is smaller than the crop, it lies at a
    random place in it, surrounded by the mean colour (0 after normalisation) and by void labels.

    Args:
        crop_size: side of the square crop, in pixels.
        scale_range: least and greatest scale.
        mirror: flip left and right in half of the views.
        blur: greatest sigma of a Gaussian blur, in pixels of the crop; 0 is off.
        jitter: brightness, contrast and saturation vary by factors in 1 - jitter .. 1 + jitter; 0 is off.
        ignore_index: the label of void, 0..255: that of the data set.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, crop_size, scale_range=(0.5, 2.0), mirror=True, blur=0.0, jitter=0.0, ignore_index=IGNORE_INDEX):
        low, high = scale_range
        if crop_size < 1:
            raise ValueError(f"TrainTransform: crop_size must be at least 1, got {crop_size}")
        if not 0 < low <= high < np.inf:
            raise ValueError(f"TrainTransform: scale_range must satisfy 0 < low <= high, got {scale_range}")
        if not 0 <= blur < np.inf:
            raise ValueError(f"TrainTransform: blur must be a sigma of at least 0, got {blur}")
        if not 0 <= jitter < 1:
            raise ValueError(f"TrainTransform: jitter must be in 0 <= jitter < 1, got {jitter}")
        if not 0 <= ignore_index <= 255:
            raise ValueError(f"TrainTransform: ignore_index must be a label in 0..255, got {ignore_index}")
        self.crop_size, self.scale_range = crop_size, (low, high)
        self.mirror, self.blur, self.jitter, self.ignore_index = mirror, blur, jitter, ignore_index

    def __call__(self, image, mask, rng):
        """One random view.

        Args:
            image: (H, W, 3) uint8 RGB.
            mask: (H, W) uint8 labels.
            rng: np.random.Generator, the only source of randomness.

        Returns:
            (crop, crop, 3) float32 normalised image, and (crop, crop) uint8 labels.
        """
        scale = rng.uniform(*self.scale_range)
        rows = _Axis(mask.shape[0], scale, self.crop_size, rng)
        columns = _Axis(mask.shape[1], scale, self.crop_size, rng)
        view = self._recoloured(_resized(image, rows, columns), rng)  # float32, 0..255

        crop = np.zeros((self.crop_size, self.crop_size, 3), np.float32)
        labels = np.full((self.crop_size, self.crop_size), self.ignore_index, np.uint8)
        crop[rows.place, columns.place] = _standardised(view)
        labels[rows.place, columns.place] = mask[rows.nearest[:, None], columns.nearest]
        if self.mirror and rng.random() < 0.5:
            return np.ascontiguousarray(crop[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
        return crop, labels

    def _recoloured(self, view, rng):
        """Blur and colour changes of real pixels, before padding: PIL image -> (h, w, 3) float32, 0..255."""
        if self.blur:
            view = view.filter(ImageFilter.GaussianBlur(rng.uniform(0, self.blur)))
        pixels = np.array(view, np.float32)
        if self.jitter:
            brightness, contrast, saturation = rng.uniform(1 - self.jitter, 1 + self.jitter, 3).astype(np.float32)
            pixels *= brightness
            grey = pixels @ LUMA
            pixels = grey[..., None] + saturation * (pixels - grey[..., None])
            pixels = grey.mean() + contrast * (pixels - grey.mean())
            pixels = pixels.clip(0, 255)
        return pixels


class _Axis:
    """Where a crop lies along one axis of the scaled image; known first, so that only its pixels are resized.

    Attributes:
        place: slice of the crop that the image fills.
        box: (start, stop) of that window in source pixels, fractions included.
        nearest: (n,) source index of each filled pixel; centres on centres, as Pillow's bilinear resize.
    """

    def __init__(self, size, scale, crop, rng):
        scaled = max(1, round(size * scale))
        slack = scaled - crop
        start = int(rng.integers(min(0, slack), max(0, slack) + 1))  # negative: padding comes first
        first, last = max(0, start), min(scaled, start + crop)
        self.place = slice(first - start, last - start)
        self.box = (first * size / scaled, last * size / scaled)
        self.nearest = (2 * np.arange(first, last) + 1) * size // (2 * scaled)


def _resized(image, rows, columns):
    """Bilinear resize of one window, low-pass filtered where it shrinks; as a crop of the resized whole."""
    size = (len(columns.nearest), len(rows.nearest))
    box = (columns.box[0], rows.box[0], columns.box[1], rows.box[1])
    return Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box)


def _standardised(pixels):
    """In place: float32 RGB in 0..255 -> zero mean, unit deviation."""
    pixels *= 1 / (255 * IMAGE_STD)
    pixels -= IMAGE_MEAN / IMAGE_STD
    return pixels
