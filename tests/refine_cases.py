"""A small photograph of two surfaces, its labels, and scores, for tests of `refine` and of the command."""

import numpy as np
from scipy.special import softmax
from strategies import normal

H, W, K = 18, 23, 4
TRUTH = (np.arange(W) >= 11).astype(np.uint8)[None].repeat(H, axis=0)
IMAGE = (np.where(TRUTH[..., None] == 1, (40, 80, 200), (200, 120, 60)) + normal(0, (H, W, 3)) * 4).astype(np.uint8)
LOGITS = 2 * normal(1, (H, W, K), dtype=np.float32)
PROBABILITIES = softmax(LOGITS, axis=2)


def noisy_labels(share=0.25):
    return np.where(np.random.default_rng(2).random((H, W)) < share, 1 - TRUTH, TRUTH)
