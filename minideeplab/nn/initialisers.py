"""First values of parameters: functions of (generator, shape) that give an array."""

import numpy as np


def he_normal(generator, shape):
    """N(0, 2 / fan_in), fan_in = KH * KW * C (He et al. 2015, equation 10): keeps the variance through ReLUs."""
    return generator.standard_normal(shape) * np.sqrt(2 / max(1, np.prod(shape[:-1])))


def truncated_normal(std):
    """N(0, std^2) redrawn until within two standard deviations, as in DeepLab's TensorFlow code."""

    def draw(generator, shape):
        values = generator.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = generator.standard_normal(int(outside.sum()))
        return values * std

    return draw


def zeros(generator, shape):
    return np.zeros(shape)


def ones(generator, shape):
    return np.ones(shape)


def bilinear(generator, shape):
    """Weights (k, k, K, C) of a transposed convolution that enlarges each channel bilinearly by (k + 1) // 2 (FCN)."""
    k_h, k_w, k, c = shape
    weight = np.zeros(shape)
    for i in range(min(k, c)):
        weight[:, :, i, i] = np.outer(_triangle(k_h), _triangle(k_w))
    return weight


def _triangle(size):
    factor = (size + 1) // 2
    return 1 - np.abs(np.arange(size) - (size - 1) / 2) / factor
