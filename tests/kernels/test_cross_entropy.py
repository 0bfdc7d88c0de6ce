"""The cross-entropy with void pixels against float64 formulas and differences, and with logits that are enlarged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from strategies import (
    arrange,
    assert_close,
    both_dtypes,
    central_differences,
    each_backend,
    image_shapes,
    layouts,
    normal,
    seeds,
)

import kernels
from kernels.checks import check_labels

scales = st.sampled_from((0.1, 1.0, 30.0, 1e4))
FLOOR = 1e-37  # in float32 the CPU's exp ends at 2^-126, not at 0
VOID = 255


def spread(x):
    """What rounding of x - max(x) can move a logarithm by, in eps: the largest |x| and the depth below the maximum."""
    return abs(x).max(axis=-1, keepdims=True) + (x.max(axis=-1, keepdims=True) - x) + 1


@st.composite
def batches(draw, dtype):
    """logits, labels with some void, class weights or None."""
    shape, seed = draw(image_shapes()), draw(seeds)
    logits, chance, weights = normal(seed, shape, shape[:3], (shape[3],))
    labels = (abs(chance) * 1000).astype(np.int64) % shape[3]
    labels[chance > draw(st.sampled_from((9.0, 1.0, 0.0)))] = VOID
    weights = (abs(weights) + 0.1).astype(dtype) if draw(st.booleans()) else None
    return (draw(scales) * logits).astype(dtype), labels.astype(np.uint8), weights


def loss_of(logits, labels, weights):
    """Weighted mean over the valid pixels, straight from the definition in float64."""
    logits = logits.astype(np.float64)
    weights = np.ones(logits.shape[-1]) if weights is None else weights.astype(np.float64)
    total, loss = 0.0, 0.0
    for at in np.argwhere(labels != VOID):
        pixel, label = logits[tuple(at)], labels[tuple(at)]
        loss += weights[label] * (special.logsumexp(pixel) - pixel[label])
        total += weights[label]
    return (loss / total if total else 0.0), total


@each_backend
@both_dtypes
@given(data=st.data(), layout=layouts)
def test_loss_is_the_weighted_mean_over_valid_pixels(k, dtype, data, layout):
    logits, labels, weights = data.draw(batches(dtype))
    loss, total, log_normaliser = k.cross_entropy(arrange(logits, layout), labels, weights, VOID)
    expected, expected_total = loss_of(logits, labels, weights)
    assert type(loss) is float and type(total) is float and log_normaliser.dtype == dtype
    magnitude = abs(logits).max() + logits.shape[-1]
    summed = labels.size * np.finfo(np.float64).eps  # over pixels in float64, whatever the dtype
    assert_close(dtype(total), expected_total, expected_total, terms=4, floor=summed * expected_total)
    assert_close(dtype(loss), expected, magnitude + abs(expected), terms=8, floor=summed * magnitude)
    assert_close(log_normaliser, special.logsumexp(logits.astype(np.float64), axis=-1), magnitude, terms=4)


@each_backend
@both_dtypes
@given(data=st.data(), layout=layouts)
def test_gradient_is_softmax_minus_onehot(k, dtype, data, layout):
    logits, labels, weights = data.draw(batches(dtype))
    _, total, log_normaliser = k.cross_entropy(logits, labels, weights, VOID)
    arguments = (labels, log_normaliser, total, weights, VOID, 3.0)
    grad = k.cross_entropy_grad(arrange(logits, layout), *arguments)
    valid = labels != VOID
    onehot = np.eye(logits.shape[-1])[np.where(valid, labels, 0)]
    factor = np.where(valid, 1.0 if weights is None else weights[np.where(valid, labels, 0)].astype(np.float64), 0.0)
    factor = (3 * factor / total if total else 0 * factor)[..., None]
    wide = logits.astype(np.float64)
    assert grad.dtype == dtype and not grad[~valid].any()
    p = special.softmax(wide, axis=-1)
    magnitude = factor * (onehot + p * (abs(wide).max() + spread(wide) + logits.shape[-1]))
    assert_close(grad, factor * (p - onehot), magnitude, terms=8, floor=factor * FLOOR)


@each_backend
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_by_differences(k, weighted):
    """In float64, where a step of 1e-6 is exact to about 1e-9."""
    logits, weights = normal(2, (1, 3, 3, 4), (4,))
    weights = abs(weights) + 0.5 if weighted else None
    labels = np.array([[[0, 1, 2], [3, VOID, 0], [1, 1, VOID]]], np.uint8)
    _, total, log_normaliser = k.cross_entropy(logits, labels, weights, VOID)
    grad = k.cross_entropy_grad(logits, labels, log_normaliser, total, weights, VOID, 1.0)
    exact = central_differences(lambda moved: k.cross_entropy(moved, labels, weights, VOID)[0], logits)
    np.testing.assert_allclose(grad, exact, rtol=0, atol=1e-8)


@each_backend
@both_dtypes
@given(data=st.data())
def test_void_pixels_do_not_matter(k, dtype, data):
    """Whatever the logits of void pixels are, NaN included, the loss has the same bits."""
    logits, labels, weights = data.draw(batches(dtype))
    other = np.where((labels == VOID)[..., None], dtype(np.nan), logits)
    assert k.cross_entropy(other, labels, weights, VOID)[:2] == k.cross_entropy(logits, labels, weights, VOID)[:2]


@each_backend
def test_void_pixels_have_no_gradient_even_where_the_logits_are_nan(k):
    logits = normal(1, (1, 2, 2, 3))
    labels = np.array([[[0, VOID], [1, 2]]], np.uint8)
    logits[0, 0, 1] = np.nan
    _, total, log_normaliser = k.cross_entropy(logits, labels, None, VOID)
    grad = k.cross_entropy_grad(logits, labels, log_normaliser, total, None, VOID, 1.0)
    np.testing.assert_array_equal(grad[0, 0, 1], np.zeros(3))


@each_backend
@both_dtypes
def test_nothing_but_void(k, dtype):
    """Loss 0, gradient 0, no division by 0."""
    logits, labels = normal(1, (2, 3, 3, 5), dtype=dtype), np.full((2, 3, 3), VOID, np.uint8)
    loss, total, log_normaliser = k.cross_entropy(logits, labels, None, VOID)
    assert (loss, total) == (0.0, 0.0)
    grad = k.cross_entropy_grad(logits, labels, log_normaliser, total, None, VOID, 1.0)
    np.testing.assert_array_equal(grad, np.zeros_like(logits))


@each_backend
@both_dtypes
def test_huge_logits_stay_finite(k, dtype):
    """Logits of +-1e4: the loss of a pixel that is right is 0, of one that is wrong 2e4, and nothing overflows."""
    logits = np.full((1, 1, 2, 3), -1e4, dtype)
    logits[..., 1] = 1e4
    labels = np.array([[[1, 0]]], np.uint8)
    loss, total, log_normaliser = k.cross_entropy(logits, labels, None, VOID)
    assert loss == 1e4 and total == 2
    grad = k.cross_entropy_grad(logits, labels, log_normaliser, total, None, VOID, 1.0)
    assert_close(grad, np.array([[[[0, 0, 0], [-0.5, 0.5, 0]]]]), 0.0, 0, floor=FLOOR)


@each_backend
def test_labels_of_other_integers_and_another_void(k):
    logits = normal(4, (1, 4, 4, 3), dtype=np.float32)
    labels = np.arange(16).reshape(1, 4, 4) % 4 - 1  # int64, -1 for void
    narrow = np.where(labels < 0, VOID, labels).astype(np.uint8)
    (loss, total, log_normaliser), same = (
        k.cross_entropy(logits, labels, None, -1),
        k.cross_entropy(logits, narrow, None, VOID),
    )
    assert (loss, total) == same[:2]
    np.testing.assert_array_equal(
        k.cross_entropy_grad(logits, labels, log_normaliser, total, None, -1, 1.0),
        k.cross_entropy_grad(logits, narrow, log_normaliser, total, None, VOID, 1.0),
    )


# -------------------------------------------------------------------- enlarged logits


@st.composite
def enlargements(draw, dtype):
    """small logits, labels inside the enlarged ones, class weights or None, size."""
    logits, _, weights = draw(batches(dtype))
    size = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    h, w = (draw(st.integers(max(1, side - 7), side)) for side in size)
    chance = normal(draw(seeds), (len(logits), h, w))
    labels = (abs(chance) * 1000).astype(np.int64) % logits.shape[3]
    labels[chance > draw(st.sampled_from((9.0, 1.0)))] = VOID
    return logits, labels.astype(np.uint8), weights, size


@each_backend
@both_dtypes
@given(data=st.data(), layout=layouts)
def test_enlarged_logits_are_those_of_resize_and_crop(k, dtype, data, layout):
    """Loss, normaliser and gradient are those of the three steps one after the other."""
    logits, labels, weights, size = data.draw(enlargements(dtype))
    h, w = labels.shape[1:]
    large = k.crop(k.resize_bilinear(logits, *size, True), 0, 0, h, w)
    loss, total, log_normaliser = k.cross_entropy(arrange(logits, layout), labels, weights, VOID, size)
    expected, expected_total, expected_normaliser = k.cross_entropy(large, labels, weights, VOID)
    magnitude = abs(logits).max() + logits.shape[-1]
    assert_close(dtype(loss), expected, magnitude + abs(expected), terms=8)
    assert_close(dtype(total), expected_total, expected_total, terms=8)
    assert_close(log_normaliser, expected_normaliser, magnitude, terms=8)

    saved = labels, log_normaliser, total, weights, VOID
    grad = k.cross_entropy_grad(arrange(logits, layout), *saved, 3.0, size)
    apart = k.cross_entropy_grad(large, *saved, 3.0)
    apart = k.pad(apart, 0, size[0] - h, 0, size[1] - w)
    expected_grad = k.resize_bilinear_grad(apart, *logits.shape[1:3], True)
    assert grad.shape == logits.shape and grad.dtype == dtype
    collected = k.resize_bilinear_grad(abs(apart), *logits.shape[1:3], True)
    assert_close(grad, expected_grad, collected * (magnitude + max(size)), terms=16, floor=FLOOR * max(size) ** 2)


@each_backend
@both_dtypes
def test_what_only_void_pixels_read_does_not_matter(k, dtype):
    """A NaN among the small logits, and all pixels that read it void: the loss and all gradients are finite."""
    logits = normal(3, (1, 5, 5, 3), dtype=dtype)
    labels = (np.arange(17 * 17).reshape(1, 17, 17) % 3).astype(np.uint8)
    labels[:, :4, :4] = VOID  # enlarged fourfold, (0, 0) is read by rows and columns 0 .. 3
    logits[0, 0, 0] = np.nan
    loss, total, log_normaliser = k.cross_entropy(logits, labels, None, VOID, (17, 17))
    grad = k.cross_entropy_grad(logits, labels, log_normaliser, total, None, VOID, 1.0, (17, 17))
    assert np.isfinite(loss) and np.isfinite(grad).all() and not grad[0, 0, 0].any()


@each_backend
def test_nothing_but_void_enlarged(k):
    logits, labels = normal(1, (1, 3, 3, 5)), np.full((1, 5, 4), VOID, np.uint8)
    loss, total, log_normaliser = k.cross_entropy(logits, labels, None, VOID, (5, 5))
    grad = k.cross_entropy_grad(logits, labels, log_normaliser, total, None, VOID, 1.0, (5, 5))
    assert (loss, total) == (0.0, 0.0)
    np.testing.assert_array_equal(grad, np.zeros_like(logits))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_loss_of_many_pixels_is_summed_in_float64(backend):
    """300000 pixels of one loss: their mean is it, to float32's precision; a float32 sum would be off by 1e-4."""
    k, logits = kernels.load(backend), np.zeros((1, 300, 1000, 3), np.float32)
    weights = np.full(3, 0.1, np.float32)
    loss, total, _ = k.cross_entropy(logits, np.zeros((1, 300, 1000), np.uint8), weights, VOID)
    assert loss == pytest.approx(np.log(3), rel=3e-7)
    assert total == pytest.approx(300_000 * float(weights[0]), rel=1e-12)


@each_backend
def test_the_gradient_of_enlarged_logits_by_differences(k):
    logits = normal(5, (2, 3, 4, 3))
    labels = (np.arange(2 * 6 * 9).reshape(2, 6, 9) % 4).astype(np.uint8)
    labels[labels == 3] = VOID
    weights, size = np.array([0.5, 1.0, 2.0]), (7, 10)
    _, total, log_normaliser = k.cross_entropy(logits, labels, weights, VOID, size)
    grad = k.cross_entropy_grad(logits, labels, log_normaliser, total, weights, VOID, 1.0, size)
    exact = central_differences(lambda moved: k.cross_entropy(moved, labels, weights, VOID, size)[0], logits)
    np.testing.assert_allclose(grad, exact, rtol=0, atol=1e-8)


@each_backend
@pytest.mark.parametrize("size", [(9.0, 9.0), (9,), (9, 9, 9), 9, [9, 9]])
def test_a_size_is_a_tuple_of_two_ints(k, size):
    with pytest.raises(TypeError, match=r"size must be a tuple of two ints, \(height, width\), got "):
        k.cross_entropy(LOGITS, LABELS, None, VOID, size)


@each_backend
@pytest.mark.parametrize("size", [(3, 2), (2, 3), (0, 3)])
def test_labels_must_lie_inside_the_enlarged_logits(k, size):
    with pytest.raises(ValueError, match=r"labels of shape \(2, 3, 3\) are not inside logits enlarged to \dx\d"):
        k.cross_entropy(LOGITS[:, :2], LABELS, None, VOID, size)


# -------------------------------------------------------------------- errors

LOGITS, LABELS = np.zeros((2, 3, 3, 4), np.float32), np.zeros((2, 3, 3), np.uint8)


def with_label(value, dtype=np.int64):
    labels = LABELS.astype(dtype)
    labels[1, 2, 0] = value
    return labels


REFUSED = {
    "a label too large": (
        (LOGITS, with_label(4), None),
        ValueError,
        r"label 4 at \(n, row, column\) = \(1, 2, 0\) is out of range: valid are 0\.\.3 and 255",
    ),
    "a label below 0": ((LOGITS, with_label(-1), None), ValueError, r"label -1 at .* \(1, 2, 0\)"),
    "float labels": ((LOGITS, LABELS.astype(np.float32), None), TypeError, "labels must be an integer .* got float32"),
    "big-endian labels": ((LOGITS, LABELS.astype(">i2"), None), TypeError, "labels must be an integer array, got >i2"),
    "a list": ((LOGITS, LABELS.tolist(), None), TypeError, "labels must be an integer array, got list"),
    "another size": ((LOGITS, LABELS[:, 1:], None), ValueError, r"labels must have shape \(2, 3, 3\), got \(2, 2, 3\)"),
    "integer logits": ((LOGITS.astype(int), LABELS, None), TypeError, "logits must be float32 or float64, got int64"),
    "weights": ((LOGITS, LABELS, np.ones(3, np.float32)), ValueError, r"class_weights must have shape \(4,\), got"),
    "weights' dtype": ((LOGITS, LABELS, np.ones(4)), TypeError, "arrays must share one .* class_weights float64"),
}  # fmt: skip


@each_backend
@pytest.mark.parametrize("case", REFUSED)
def test_errors_name_the_argument_and_the_place(k, case):
    arguments, error, message = REFUSED[case]
    with pytest.raises(error, match=f"cross_entropy: {message}"):
        k.cross_entropy(*arguments, VOID)


def test_void_is_no_error():
    check_labels(LOGITS, with_label(VOID), None, VOID)
