"""Mean-field inference as the last layers of a network, learned with it.

Source: Zheng et al. 2015, "Conditional Random Fields as Recurrent Neural Networks" (arXiv 1502.03240), section 4.
"""

import numpy as np

from minideeplab.autograd import ops, precision
from minideeplab.autograd.function import Function
from minideeplab.crf.filters import LatticeFilter, bilateral_features, position_filter
from minideeplab.crf.presets import preset_of
from minideeplab.crf.refinement import warn_of_range
from minideeplab.crf.rows import concat_rows, split_rows
from minideeplab.nn import Module, Parameter


class FilterEach(Function):
    """y[n] = A_n x[n]: each image of a batch through its own filter. The adjoint is the transposed filter."""

    def forward(self, x, *, filters):
        self.filters = filters
        return self._each(x, [gaussian.apply for gaussian in filters])

    def backward(self, grad):
        return (self._each(grad, [gaussian.apply_transposed for gaussian in self.filters]),)

    def _each(self, x, functions):
        n, h, w, labels = x.shape
        images = split_rows(self.k, self.k.reshape(x, (n * h * w, labels)), [h * w] * n)
        filtered = [f(image) for f, image in zip(functions, images, strict=True)]
        return self.k.reshape(concat_rows(self.k, filtered), x.shape)


def filter_each(x, filters):
    """x (N, H, W, K) -> the same, image n by filters[n]; exact in x, the filters' features are constants.

    Raises:
        ValueError: as many filters as images are needed, each on the device of x. TypeError: filters of another dtype.
    """
    if len(filters) != x.shape[0]:
        raise ValueError(f"filter_each: {x.shape[0]} images need as many filters, got {len(filters)}")
    return FilterEach.apply(x, filters=filters)


def constant(value):
    """An initialiser: the same number everywhere."""
    return lambda generator, shape: np.full(shape, value)


def minus_identity(generator, shape):
    """An initialiser: equal labels attract, different ones neither attract nor repel (Potts)."""
    return -np.eye(shape[-1]).reshape(shape)


class CRFLayer(Module):
    """Logits (N, H, W, K) and images (N, H, W, 3) -> logits after mean-field steps with learned weights.

        L(l) <- U(l) - sum_l' mu(l', l) sum_m w_m(l') (A_m softmax(L))(l'), U the logits that came in

    Learned are w, one weight for each label and kernel, and mu, a cost that begins as -I. Their derivatives and those
    of the logits are exact. Positions, colours and their standard deviations are constants.

    Args:
        num_classes: K >= 2; preset: standard deviations, normalisation and first weights, see presets.py.
        iterations: 5 in training, as the paper; set the attribute to 10 for testing.

    Raises:
        ValueError: num_classes or iterations that make no sense, logits and images that do not fit.

        crf = CRFLayer(21)
        refined = crf(network(x), images)  # images as photographs have them, (N, H, W, 3) of 0..255, not normalised
        loss = cross_entropy(refined, labels)
    """

    def __init__(self, num_classes, preset="crfasrnn", iterations=5):
        if num_classes < 2:
            raise ValueError(
                f"CRFLayer: needs 2 classes or more, got {num_classes}; for one class and its background take 2 and the"
                " logits (0, x), x those of the class"
            )
        if iterations < 0:
            raise ValueError(f"CRFLayer: iterations must be 0 or more, got {iterations}")
        self.preset, self.iterations = preset_of(preset), iterations
        self.smooth_weight = Parameter((num_classes,), constant(self.preset.smooth_weight), decays=False)
        self.bilateral_weight = Parameter((num_classes,), constant(self.preset.bilateral_weight), decays=False)
        self.compatibility = Parameter((1, 1, num_classes, num_classes), minus_identity, decays=False)
        self.initialise(0)

    def forward(self, logits, images):
        """images: (N, H, W, C) array in units of the preset, colours of 0 .. 255."""
        images, preset, logits = np.asarray(images), self.preset, ops.to_float32(logits)
        if images.ndim != 4 or images.shape[:3] != logits.shape[:3]:
            raise ValueError(f"CRFLayer: images must be (N, H, W, C) as the logits {logits.shape}, got {images.shape}")
        if logits.shape[3] != self.smooth_weight.shape[0]:
            raise ValueError(f"CRFLayer: logits {logits.shape} are not of {self.smooth_weight.shape[0]} classes")
        warn_of_range(images, preset.srgb)
        _, height, width, _ = logits.shape
        dtype = logits.dtype.type
        norm, device = preset.normalisation, logits.device
        place = position_filter(height, width, preset.smooth_sxy, norm, dtype, device)
        looks = [bilateral_features(image, preset.sxy, preset.srgb, dtype) for image in images]
        looks = [LatticeFilter(features, norm, device) for features in looks]
        refined = logits
        with precision("float32"):
            for _ in range(self.iterations):
                q = ops.softmax(refined)
                message = self.smooth_weight * filter_each(q, [place] * len(images))
                message = message + self.bilateral_weight * filter_each(q, looks)
                refined = logits - ops.conv2d(message, self.compatibility)
        return refined
