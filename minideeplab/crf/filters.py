"""Gaussian filters between all pairs of pixels, normalised: by lattice, by separable convolution, or exactly.

Each stands for the matrix A = diag(after) G diag(before), G[i, j] = exp(-|f_i - f_j|^2 / 2), with n = G 1:

    normalisation    before      after
    none             1           1          symmetric
    before           1 / n       1          keeps sums
    after            1           1 / n      keeps constants; Krähenbühl & Koltun 2011, DeepLab, CRF as RNN
    symmetric        n^-1/2      n^-1/2     symmetric; Krähenbühl & Koltun 2013, pydensecrf

The pixel itself is one of its neighbours, as in the authors' code; the paper's sums leave it out.
"""

import functools
import math
import time

import numpy as np

import kernels
from kernels.geometry import Window
from kernels.lattice import alpha
from minideeplab.crf.presets import NORMALISATIONS

_SMALLEST = 1e-20  # of a normaliser, as in the authors' code
_MOST_KEPT = 1 << 21  # pixels of an image whose `position_filter` is kept, a little more than 1920 x 1080


class GaussianFilter:
    """Base of the filters: a subclass has `_filter(values, transpose)`, G x without normalisation, and `_own_weight()`.

    Attributes:
        before, after: (N,), see the module; normaliser: n, (N,); all in host memory.
        device: where the values must lie that it filters.
    """

    device = "cpu"

    def _normalise(self, n_pixels, dtype, normalisation):
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, got {normalisation!r}")
        self.n_pixels, self.dtype = n_pixels, np.dtype(dtype)
        k, ones = kernels.load(self.device), np.ones(n_pixels, dtype)
        self.normaliser = ones
        if normalisation != "none":
            self.normaliser = k.to_numpy(self._filter(k.full((n_pixels, 1), 1, dtype), False)).reshape(-1)
        inverse = 1 / (self.normaliser + ones.dtype.type(_SMALLEST))
        self.before = {"before": inverse, "symmetric": np.sqrt(inverse)}.get(normalisation, ones)
        self.after = {"after": inverse, "symmetric": np.sqrt(inverse)}.get(normalisation, ones)
        factors = (None if factor is ones else k.from_numpy(factor[:, None]) for factor in (self.before, self.after))
        self._before, self._after = factors  # (N, 1) on the device, None for ones

    def apply(self, values):
        """A x for x (N, K) of the filter's dtype, on its device."""
        self._check(values)
        return self._scaled(self._after, self._filter(self._scaled(self._before, values), False))

    def apply_transposed(self, values):
        """A^T x for x (N, K) of the filter's dtype, on its device."""
        self._check(values)
        return self._scaled(self._before, self._filter(self._scaled(self._after, values), True))

    def _check(self, values):
        device = kernels.device_of(values)
        if device != self.device:
            raise ValueError(f"values lie on {device}, the filter on {self.device}; choose one device")
        if len(values.shape) != 2 or values.shape[0] != self.n_pixels:
            raise ValueError(f"values must be ({self.n_pixels}, K), a row for each pixel, got shape {values.shape}")
        if values.dtype != self.dtype:
            raise TypeError(f"values are {values.dtype}, the filter {self.dtype}; give it features of {values.dtype}")

    def _scaled(self, factor, values):
        """diag(factor) x."""
        return values if factor is None else kernels.load(self.device).multiply(factor, values)

    def own_weight(self):
        """The diagonal of A, (N,)."""
        return self.before * self.after * self._own_weight()

    def _own_weight(self):
        return self.dtype.type(1)


class LatticeFilter(GaussianFilter):
    """By splat, blur and slice on a permutohedral lattice: O(N d) for any d, but only close to a Gaussian.

    Args:
        features: (N, d) floats, each dimension divided by its standard deviation.
        normalisation: see the module; device: "cpu" or "cuda".

    Raises:
        ValueError: no features, more than 19 dimensions, values that are not finite or beyond 2^24. TypeError: features
            that are not float32 or float64.

    Source: Adams, Baek, Davis 2010.
    """

    def __init__(self, features, normalisation="symmetric", device="cpu"):
        self.device, self._k = device, _backend(device)
        self.lattice = self._k.build_lattice(kernels.to_device(features, device))
        self._normalise(len(features), features.dtype, normalisation)

    def _filter(self, values, transpose):
        k, lattice = self._k, self.lattice  # its weights for splat and slice differ by one factor: the blur decides
        return k.slice_lattice(lattice, k.blur(lattice, k.splat(lattice, values), reverse=transpose))

    def _own_weight(self):
        """alpha sum_{a, b} weight_a weight_b between(a, b), over the d + 1 corners of the simplex around a pixel.

        The blur leads from corner a to corner b by |a - b| steps forward or by d + 1 - |a - b| steps back. Each step
        halves the value. Vertices that are missing on the way are counted as if they were there.
        """
        weights = self._k.to_numpy(self.lattice.slice_weight)
        corners = np.arange(weights.shape[1])
        steps = abs(corners[:, None] - corners)
        between = 2.0**-steps + 2.0 ** (steps - len(corners)) + (steps == 0) * 2.0 ** -len(corners)
        own = ((weights @ between.astype(weights.dtype)) * weights).sum(axis=1)
        return own / self.dtype.type(alpha(len(corners) - 1))

    def statistics(self):
        """Size and occupancy of the lattice, for those who choose standard deviations.

        Returns:
            vertices; pixels_per_vertex: below about 10 the lattice is too fine for the image, and slow;
            smallest_normaliser, largest_normaliser: of n, the summed weight of all pixels on one, itself included. It
            is 1 at least for an exact Gaussian. The lattice loses some where neighbouring vertices are missing;
            bytes: of the lattice.
        """
        vertices = self.lattice.n_vertices
        return {
            "vertices": vertices,
            "pixels_per_vertex": self.n_pixels * self.lattice.vertex.shape[1] / vertices,
            "smallest_normaliser": float(self.normaliser.min()),
            "largest_normaliser": float(self.normaliser.max()),
            "bytes": sum(a.nbytes for a in (*self.lattice[:5], *self.lattice.neighbours)),
        }

    def predict_seconds(self, labels, iterations=10):
        """Seconds that this filter would take in inference: one run with as many labels is measured now."""
        values = self._k.zeros((self.n_pixels, labels), self.dtype)
        self._filter(values, False)  # compiles
        self._k.synchronize()
        began = time.perf_counter()
        self._filter(values, False)
        self._k.synchronize()
        return iterations * (time.perf_counter() - began)


def position_filter(height, width, sigma, normalisation="symmetric", dtype=np.float32, device="cpu"):
    """The `LatticeFilter` of `position_features`, which no image changes: those of the last two sizes are kept.

    It is shared: nothing may write into its arrays. `position_filter.release()` forgets what is kept.

    Cost: memory, 67 bytes a pixel in float32 for sigma 3 (13 MB for 500 x 375), while it is kept. Images of more than
        2^21 pixels keep nothing.
    """
    across, down = _positive("sigma of the position", sigma, 2).tolist()
    make = _kept_filter if height * width <= _MOST_KEPT else _kept_filter.__wrapped__
    return make(height, width, (across, down), normalisation, np.dtype(dtype), device)


@functools.lru_cache(2)
def _kept_filter(height, width, sigma, normalisation, dtype, device):
    return LatticeFilter(position_features(height, width, sigma, dtype), normalisation, device)


position_filter.release = _kept_filter.cache_clear


class SeparableFilter(GaussianFilter):
    """By two convolutions along rows and columns, for positions alone; taps up to four standard deviations.

    Args:
        height, width: of the image; sigma: standard deviation in pixels, one number or (horizontal, vertical).
        normalisation: see the module; device: "cpu" or "cuda".
    """

    def __init__(self, height, width, sigma, normalisation="symmetric", dtype=np.float32, device="cpu"):
        self.device, self._size, self._k = device, (height, width), _backend(device)
        across, down = _positive("sigma of the position", sigma, 2)
        self._taps = [_taps(down, height, dtype), _taps(across, width, dtype)]
        self._normalise(height * width, dtype, normalisation)

    def _filter(self, values, transpose):
        k, labels = self._k, values.shape[1]
        x = k.reshape(values, (1, *self._size, labels))
        for axis, taps in enumerate(self._taps):
            shape = (len(taps), 1, labels) if axis == 0 else (1, len(taps), labels)
            weight = k.from_numpy(np.repeat(taps, labels).reshape(shape))
            x = k.depthwise_conv2d(x, weight, Window.depthwise(x.shape, shape, padding="same"))
        return k.reshape(x, values.shape)


class ExactFilter(GaussianFilter):
    """By the matrix itself, in float64: the oracle, for a few thousand pixels.

    Args:
        features: (N, d), as in `LatticeFilter`.
    """

    def __init__(self, features, normalisation="symmetric"):
        features = np.asarray(features, np.float64)
        self.matrix = kernels.load("reference").exact_gaussian(features, np.eye(len(features)))
        self._normalise(len(features), np.float64, normalisation)

    def _filter(self, values, transpose):
        return self.matrix @ values


def _backend(device):
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, got {device!r}")
    return kernels.load(device)


def _taps(sigma, side, dtype):
    radius = min(math.ceil(4 * sigma), side - 1)
    return np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(dtype)


def position_features(height, width, sigma, dtype=np.float32):
    """(H W, 2): column and row of each pixel over their standard deviations.

    Args:
        sigma: in pixels, one number or (horizontal, vertical); dtype: np.float32 or np.float64.

    Raises:
        ValueError: an empty image, sigma not positive.
    """
    features = np.empty((height, width, 2), dtype)
    _place(features, _positive("sigma of the position", sigma, 2))
    return features.reshape(-1, 2)


def _place(features, sigma):
    """Column and row over their standard deviations, into the first two of the features (H, W, d)."""
    height, width, _ = features.shape
    if min(height, width) < 1:
        raise ValueError(f"the image is empty: {height} x {width} pixels")
    scalar = features.dtype.type
    features[:, :, 0] = np.arange(width, dtype=scalar) / scalar(sigma[0])
    features[:, :, 1] = (np.arange(height, dtype=scalar) / scalar(sigma[1]))[:, None]


def bilateral_features(image, sigma_xy, sigma_colour, dtype=np.float32):
    """(H W, 2 + C): as `position_features`, then each channel over its standard deviation.

    Args:
        image: (H, W) or (H, W, C) numbers.
        sigma_xy: in pixels; sigma_colour: in units of the image, one number or C.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.dtype.kind not in "uifb":
        raise ValueError(f"the image must be numbers (H, W) or (H, W, C), got {image.dtype} of shape {image.shape}")
    height, width, channels = image.shape
    features = np.empty((height, width, 2 + channels), dtype)
    _place(features, _positive("sigma of the position", sigma_xy, 2))
    for channel, sigma in enumerate(_positive("sigma of the colour", sigma_colour, channels).astype(dtype)):
        features[:, :, 2 + channel] = image[:, :, channel].astype(dtype) / sigma
    return features.reshape(height * width, -1)


def _positive(name, sigma, count):
    """(count,) float64 of one number or `count` of them."""
    values = np.asarray(sigma, np.float64)
    if values.shape not in ((), (count,)):
        raise ValueError(f"{name}: give one number or {count}, got {sigma!r}")
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"{name} must be positive, got {sigma!r}")
    return np.broadcast_to(values, count)
