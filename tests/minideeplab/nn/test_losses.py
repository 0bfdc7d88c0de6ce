"""Cross-entropy against its formula, with void pixels and class weights."""

import numpy as np
import pytest

from minideeplab import Tensor
from minideeplab.nn.losses import cross_entropy, thinned

LABELS = np.array([[[0, 1, 255], [2, 2, 1]]], np.uint8)


def logits(dtype=np.float64, shape=(1, 2, 3, 3)):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype), requires_grad=True)


def negative_log_probability(x, labels):
    """-log softmax(x)[label] of each pixel that is not void."""
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    seen = labels != 255
    return -np.log(p[seen][np.arange(seen.sum()), labels[seen]])


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_the_mean_leaves_void_out(dtype, rtol):
    x = logits(dtype)
    loss = cross_entropy(x, LABELS)
    assert (loss.shape, loss.dtype) == ((), dtype)
    assert loss.item() == pytest.approx(negative_log_probability(x.data, LABELS).mean(), rel=rtol)


def test_class_weights_make_a_weighted_mean():
    x, weights = logits(), [0.5, 2.0, 3.0]
    each = np.array(weights)[LABELS[LABELS != 255]]
    expected = (each * negative_log_probability(x.data, LABELS)).sum() / each.sum()
    assert cross_entropy(x, LABELS, class_weights=weights).item() == pytest.approx(expected, rel=1e-12)


def test_equal_logits_cost_the_logarithm_of_the_classes():
    x = Tensor(np.zeros((2, 3, 4, 21)))
    assert cross_entropy(x, np.full((2, 3, 4), 7)).item() == pytest.approx(np.log(21), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_the_kind_of_integer_does_not_matter(dtype):
    assert cross_entropy(logits(), LABELS.astype(dtype)).item() == cross_entropy(logits(), LABELS).item()


def test_void_pixels_have_no_gradient_and_others_sum_to_zero():
    x = logits()
    cross_entropy(x, LABELS).backward()
    assert (x.grad[LABELS == 255] == 0).all()
    assert (x.grad[LABELS != 255] != 0).all()
    np.testing.assert_allclose(x.grad.sum(-1), 0, atol=1e-15)  # softmax does not see a shift of all logits


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
def test_a_batch_of_void_only_costs_nothing(weights):
    x = logits()
    loss = cross_entropy(x, np.full_like(LABELS, 255), class_weights=weights)
    loss.backward()
    assert loss.item() == 0
    np.testing.assert_array_equal(x.grad, np.zeros(x.shape))


def test_weights_that_leave_no_pixel_cost_nothing():
    x = logits()
    loss = cross_entropy(x, np.zeros_like(LABELS), class_weights=[0.0, 1.0, 1.0])
    loss.backward()
    assert loss.item() == 0
    np.testing.assert_array_equal(x.grad, np.zeros(x.shape))


def test_another_void_label():
    x = logits()
    expected = cross_entropy(x, LABELS).item()
    assert cross_entropy(x, np.where(LABELS == 255, 77, LABELS), ignore_index=77).item() == expected


def test_a_label_out_of_range_is_named_with_its_place():
    labels = LABELS.copy()
    labels[0, 1, 2] = 9
    with pytest.raises(ValueError, match=r"label 9 at \(n, row, column\) = \(0, 1, 2\).* valid are 0..2 and 255"):
        cross_entropy(logits(), labels)


@pytest.mark.parametrize("labels", [np.zeros((1, 3, 2), np.uint8), np.zeros((2, 3), np.uint8)])
def test_labels_must_have_the_logits_pixels(labels):
    with pytest.raises(ValueError, match=r"labels must have shape \(1, 2, 3\)"):
        cross_entropy(logits(), labels)


def test_one_weight_for_each_class():
    with pytest.raises(ValueError, match=r"class_weights must have shape \(3,\), got \(2,\)"):
        cross_entropy(logits(), LABELS, class_weights=[1.0, 2.0])


@pytest.mark.parametrize(("shape", "size"), [((2, 17, 9), (3, 2)), ((1, 16, 10), (3, 4)), ((1, 5, 33), (1, 5))])
def test_every_eighth_label_and_void_beyond(shape, size):
    labels = np.random.default_rng(0).integers(0, 5, shape).astype(np.int32)
    small = thinned(labels, 8, size, ignore_index=11)
    assert small.shape == (shape[0], *size) and small.dtype == labels.dtype
    for n, p, q in np.ndindex(small.shape):
        inside = 8 * p < shape[1] and 8 * q < shape[2]
        assert small[n, p, q] == (labels[n, 8 * p, 8 * q] if inside else 11)
