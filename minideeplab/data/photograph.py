"""An image with the statistics of a photograph, drawn by code: for measurements that need no file."""

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


def photograph(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: structure of all sizes in correlated colours, an edge, and noise; always the same."""
    generator = np.random.default_rng(0)
    image = np.zeros((height, width, 3))
    for step in (128, 64, 32, 16, 8, 4, 2):
        small = generator.standard_normal((height // step + 3, width // step + 3))
        colour = np.array([1, 0.9, 0.8]) + 0.3 * generator.standard_normal(3)
        image += 3.6 * step**0.6 * zoom(small, step, order=1)[:height, :width, None] * colour
    edges = gaussian_filter(generator.standard_normal((height, width)), 25)
    image += 60 * (edges > 0)[:, :, None]
    return (image + 4 * generator.standard_normal(image.shape) + 100).clip(0, 255).astype(np.uint8)
