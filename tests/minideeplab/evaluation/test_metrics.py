"""The confusion matrix against counts by hand and against the definition."""

import numpy as np
import pytest

from minideeplab.evaluation.metrics import ConfusionMatrix

TRUTH = np.array([[0, 0, 0, 1], [1, 1, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 1, 1], [1, 0, 1, 2]], np.uint8)


def matrix_of(truth, prediction, classes=4):
    confusion = ConfusionMatrix(classes)
    confusion.update(truth, prediction)
    return confusion


def test_counts_have_truth_in_rows_and_leave_void_out():
    confusion = matrix_of(TRUTH, PREDICTION)
    assert confusion.counts.dtype == np.int64
    np.testing.assert_array_equal(confusion.counts, [[2, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])


def test_metrics_by_hand():
    confusion = matrix_of(TRUTH, PREDICTION)
    np.testing.assert_allclose(confusion.iou(), [2 / 4, 2 / 5, 0, np.nan])
    np.testing.assert_allclose(confusion.mean_iou(), (2 / 4 + 2 / 5 + 0) / 3)
    np.testing.assert_allclose(confusion.class_accuracy(), [2 / 3, 2 / 3, 0, np.nan])
    np.testing.assert_allclose(confusion.truth_share(), [3 / 7, 3 / 7, 1 / 7, 0])
    assert confusion.pixel_accuracy() == 4 / 7
    assert confusion.classes_present() == 3
    assert confusion.largest_prediction() == (1, 4 / 7)
    np.testing.assert_allclose(confusion.mean_accuracy(), (2 / 3 + 2 / 3 + 0) / 3)
    np.testing.assert_allclose(confusion.frequency_weighted_iou(), 3 / 7 * 2 / 4 + 3 / 7 * 2 / 5)


def test_a_class_predicted_but_never_true_counts_as_zero():
    confusion = matrix_of(np.zeros(4, np.uint8), np.array([0, 0, 0, 3], np.uint8))
    np.testing.assert_allclose(confusion.iou(), [3 / 4, np.nan, np.nan, 0])
    assert confusion.mean_iou() == 3 / 8


def test_random_labels_against_the_set_definition():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 40, 30)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = 255
    for label, iou in enumerate(matrix_of(truth, prediction, 5).iou()):
        true, predicted = truth == label, (prediction == label) & (truth != 255)
        assert iou == (true & predicted).sum() / (true | predicted).sum()


def test_two_updates_agree_with_one():
    parts = matrix_of(TRUTH[:1], PREDICTION[:1])
    parts.update(TRUTH[1:], PREDICTION[1:])
    np.testing.assert_array_equal(parts.counts, matrix_of(TRUTH, PREDICTION).counts)


def test_void_only_has_no_score_and_no_warning(recwarn):
    confusion = matrix_of(np.full(3, 255, np.uint8), np.zeros(3, np.uint8))
    assert np.isnan(confusion.mean_iou()) and np.isnan(confusion.pixel_accuracy())
    assert np.isnan(confusion.mean_accuracy()) and np.isnan(confusion.frequency_weighted_iou())
    assert "n/a" in confusion.summary()
    assert not recwarn.list


def test_table_names_every_class_and_prints_absent_ones_as_such():
    lines = matrix_of(TRUTH, PREDICTION).table(["sky", "road", "car", "bicyclist"]).splitlines()
    assert lines[1].split() == ["sky", "50.00", "66.67", "42.86"]
    assert lines[4].split() == ["bicyclist", "n/a", "n/a", "0.00"]
    assert lines[-1].split() == "mean 30.00 44.44 (IoU over 3, accuracy over 3 of 4 classes)".split()
    with pytest.raises(ValueError, match="1 names for 4 classes"):
        matrix_of(TRUTH, PREDICTION).table(["sky"])


@pytest.mark.parametrize(
    ("truth", "prediction", "error", "message"),
    [
        (TRUTH, PREDICTION + 2, ValueError, r"prediction holds the label 4, valid are 0\.\.3"),
        (TRUTH.astype(int), PREDICTION.astype(int) - 1, ValueError, "prediction holds the label -1"),
        (TRUTH + 3, PREDICTION, ValueError, "truth holds the label 5"),
        (TRUTH, PREDICTION[:1], ValueError, r"truth is \(2, 4\), prediction is \(1, 4\)"),
        (TRUTH, PREDICTION.astype(np.float32), TypeError, "prediction has dtype float32"),
    ],
)
def test_wrong_labels_are_refused(truth, prediction, error, message):
    with pytest.raises(error, match=message):
        matrix_of(truth, prediction)


def test_no_classes():
    with pytest.raises(ValueError, match="num_classes=0"):
        ConfusionMatrix(0)


def voc_evaluation(pairs, classes):
    """The devkit's evaluation (VOCevalseg.m), in ten lines: one histogram of the whole set, then IoU of each class."""
    histogram = np.zeros((classes, classes))
    for truth, prediction in pairs:
        counted = truth < 255
        places = truth[counted].astype(int) * classes + prediction[counted]
        histogram += np.bincount(places, minlength=classes**2).reshape(classes, classes)
    accuracies = []
    for j in range(classes):
        accuracies.append(histogram[j, j] / (histogram[j].sum() + histogram[:, j].sum() - histogram[j, j]))
    return np.array(accuracies), np.mean(accuracies)


def test_a_set_of_images_has_the_score_of_the_devkit():
    rng, pairs, confusion = np.random.default_rng(3), [], ConfusionMatrix(21)
    for _ in range(5):
        truth, prediction = rng.integers(0, 21, (2, 20, 30)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.1] = 255
        prediction = np.where(rng.random(truth.shape) < 0.7, truth % 255 % 21, prediction).astype(np.uint8)
        pairs.append((truth, prediction))
        confusion.update(truth, prediction)
    accuracies, mean = voc_evaluation(pairs, 21)
    np.testing.assert_allclose(confusion.iou(), accuracies, rtol=1e-14)
    np.testing.assert_allclose(confusion.mean_iou(), mean, rtol=1e-14)
