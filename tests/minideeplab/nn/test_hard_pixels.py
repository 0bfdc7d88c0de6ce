"""Hard pixels against their definition: a full sort in float64 over logits that are enlarged by NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SIMULATED, normal, seeds

import kernels
from minideeplab import Tensor
from minideeplab.nn import cross_entropy, hard_pixels

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
VOID = 255


def losses_of(logits, labels, size, class_weights):
    """w[label] * -log softmax(logits)[label] at each pixel, 0 at void ones."""
    if size is not None:
        logits = kernels.load("reference").resize_bilinear(logits, *size, True)
        logits = logits[:, : labels.shape[1], : labels.shape[2]]
    label = np.where(labels == VOID, 0, labels)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weights = np.ones(logits.shape[-1]) if class_weights is None else np.asarray(class_weights)
    return np.where(labels == VOID, 0, weights[label] * -np.log(np.take_along_axis(p, label[..., None], -1)[..., 0]))


@st.composite
def batches(draw):
    """logits (2, h, w, 3), labels (2, H, W) with void, size or None, class weights or None, all distinct losses."""
    seed, h, w = draw(seeds), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    size = draw(st.sampled_from((None, (4 * h - 3, 4 * w - 3), (2 * h, 3 * w))))
    height, width = size or (h, w)
    height, width = max(1, height - draw(st.integers(0, 2))) if size else height, width
    logits, chance = normal(seed, (2, h, w, 3), (2, height, width))
    labels = (abs(chance) * 1000).astype(np.uint8) % 3
    labels[chance > draw(st.sampled_from((9.0, 0.5, -9.0)))] = VOID
    return logits, labels, size, draw(st.sampled_from((None, (0.5, 2.0, 1.25))))


@given(batch=batches(), share=st.floats(0.01, 0.99))
def test_they_are_those_with_the_largest_loss_of_each_image(batch, share):
    logits, labels, size, class_weights = batch
    kept = hard_pixels(Tensor(logits), labels, share, VOID, class_weights, size)
    losses = losses_of(logits, labels, size, class_weights)
    assert kept.dtype == labels.dtype and kept.shape == labels.shape
    for n in range(2):
        chosen, labelled = kept[n] != VOID, labels[n] != VOID
        assert (kept[n][chosen] == labels[n][chosen]).all() and not (chosen & ~labelled).any()
        assert chosen.sum() == (max(1, round(share * labelled.sum())) if labelled.any() else 0)
        least, greatest = losses[n][chosen].min(initial=math.inf), losses[n][labelled & ~chosen].max(initial=-math.inf)
        assert least >= greatest - 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [None, (9, 13)])
def test_of_equal_losses_the_first_in_reading_order_are_kept(dtype, size):
    logits, labels = np.zeros((1, 3, 4, 3), dtype), np.zeros((1, *(size or (3, 4))), np.uint8)
    labels[0, 0, :2] = VOID
    kept = hard_pixels(Tensor(logits), labels, 0.25, VOID, None, size)
    count = round(0.25 * (labels.size - 2))
    assert np.flatnonzero(kept != VOID).tolist() == list(range(2, 2 + count))


@pytest.mark.parametrize("class_weights", [None, (0.5, 2.0, 1.0)])
def test_the_loss_over_them_is_the_mean_of_the_largest(class_weights):
    logits, chance = normal(3, (2, 3, 4, 3), (2, 9, 13))
    labels = (abs(chance) * 1000).astype(np.int64) % 3
    labels[0, :4] = VOID
    kept = hard_pixels(Tensor(logits), labels, 0.2, VOID, class_weights, (9, 13))
    loss = cross_entropy(Tensor(logits), kept, VOID, class_weights, (9, 13))
    largest, weight = 0.0, 0.0
    for each, label in zip(losses_of(logits, labels, (9, 13), class_weights), labels, strict=True):
        order = np.argsort(-each[label != VOID])[: round(0.2 * (label != VOID).sum())]
        largest += each[label != VOID][order].sum()
        weight += (np.ones(3) if class_weights is None else np.array(class_weights))[label[label != VOID][order]].sum()
    assert loss.item() == pytest.approx(largest / weight, rel=1e-12)
    assert loss.weight == pytest.approx(weight, rel=1e-12)


def test_a_pixel_whose_loss_is_not_a_number_is_kept():
    """Else a network that diverges would seem to be well."""
    logits = np.zeros((1, 2, 5, 3))
    logits[0, 1, 3] = np.nan
    kept = hard_pixels(Tensor(logits), np.zeros((1, 2, 5), np.uint8), 0.1)
    assert np.argwhere(kept != VOID).tolist() == [[0, 1, 3]]


@pytest.mark.parametrize("share", [0, 1, -0.5, math.nan])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(ValueError, match=rf"hard_pixels: share must be between 0 and 1, got {share}"):
        hard_pixels(Tensor(np.zeros((1, 2, 2, 3))), np.zeros((1, 2, 2), np.uint8), share)
