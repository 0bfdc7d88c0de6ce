"""The confusion matrix against the count of each pair of labels, and its refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrange, each_backend, layouts, seeds

integers = st.sampled_from((np.uint8, np.int32, np.int64, np.uint64))


@each_backend
@given(st.integers(1, 7), st.lists(st.integers(0, 5), min_size=1, max_size=3), integers, integers, seeds, layouts)
def test_counts_are_those_of_the_pairs(k, n_classes, shape, truth_type, prediction_type, seed, layout):
    rng = np.random.default_rng(seed)
    truth, prediction = (rng.integers(0, n_classes, shape) for _ in range(2))
    truth[rng.random(shape) < 0.2] = 255
    truth, prediction = arrange(truth.astype(truth_type), layout), arrange(prediction.astype(prediction_type), layout)
    counts = k.confusion_matrix(truth, prediction, n_classes, 255)
    assert counts.dtype == np.int64
    for t in range(n_classes):
        for p in range(n_classes):
            assert counts[t, p] == ((truth == t) & (prediction == p)).sum()


@each_backend
def test_a_void_label_may_be_negative_or_a_class(k):
    truth, prediction = np.array([-1, 0, 1, 1]), np.array([0, 0, 1, 0])
    np.testing.assert_array_equal(k.confusion_matrix(truth, prediction, 2, -1), [[1, 0], [1, 1]])
    np.testing.assert_array_equal(k.confusion_matrix(truth[1:], prediction[1:], 2, 0), [[0, 0], [1, 1]])


LABELS = np.array([[0, 1, 2], [2, 255, 1]], np.uint8)


@each_backend
@pytest.mark.parametrize(
    ("truth", "prediction", "error", "message"),
    [
        (LABELS, LABELS, ValueError, r"prediction holds the label 255, valid are 0\.\.2"),
        (LABELS.astype(int) - 1, LABELS % 3, ValueError, "truth holds the label -1"),
        (LABELS + 1, LABELS % 3, ValueError, "truth holds the label 3"),
        (LABELS, LABELS[:1], ValueError, r"truth is \(2, 3\), prediction is \(1, 3\)"),
        (LABELS, LABELS.astype(np.float32), TypeError, "prediction has dtype float32, expected an integer type"),
    ],
)
def test_wrong_labels_are_refused(k, truth, prediction, error, message):
    with pytest.raises(error, match=f"confusion_matrix: {message}"):
        k.confusion_matrix(truth, prediction, 3, 255)
