"""The scores of a set of images: of the whole, of each class, of each image."""

import json
import math

import numpy as np
import pytest

from minideeplab.evaluation import ConfusionMatrix, boundary_f1, trimap
from minideeplab.evaluation.scores import Scores, bands_of

NAMES, VOID, WIDTHS = ("sky", "road", "car"), 9, (1, 3)


def samples(count=4):
    rng = np.random.default_rng(0)
    for _ in range(count):
        truth, noise = rng.integers(0, 2, (2, 5, 6)).repeat(5, axis=1).repeat(5, axis=2).astype(np.uint8)
        yield np.where(rng.random(truth.shape) < 0.1, VOID, truth).astype(np.uint8), noise


@pytest.fixture(scope="module")
def scores():
    scores = Scores(NAMES, VOID, WIDTHS, with_boundary_f1=True)
    for number, (truth, labels) in enumerate(samples()):
        scores.add(f"image {number}", number, truth, labels[None], bands_of(truth, WIDTHS, VOID))
    return scores


def test_counts_are_those_of_the_pixels(scores):
    whole, bands = ConfusionMatrix(3, VOID), {width: ConfusionMatrix(3, VOID) for width in WIDTHS}
    for truth, labels in samples():
        whole.update(truth, labels)
        for width, band in bands.items():
            band.update(trimap(truth, width, VOID), labels)
    np.testing.assert_array_equal(scores.confusion.counts, whole.counts)
    assert scores.trimap() == {width: band.mean_iou() for width, band in bands.items()}


def test_an_image_is_scored_over_its_own_classes(scores):
    for score, (truth, labels) in zip(scores.images, samples(), strict=True):
        counted = truth != VOID
        ious = []
        for label in range(2):  # no pixel of the third class: it counts nowhere
            true, predicted = (truth == label) & counted, (labels == label) & counted
            ious.append((true & predicted).sum() / (true | predicted).sum())
        assert math.isclose(score.mean_iou, np.mean(ious)) and score.classes_present == 2
        assert math.isclose(score.pixel_accuracy, (truth == labels)[counted].mean())
    assert math.isclose(scores.image_mean_iou(), np.mean([score.mean_iou for score in scores.images]))
    worst = scores.worst(3)
    assert [score.mean_iou for score in worst] == sorted(score.mean_iou for score in scores.images)[:3]


def test_boundary_f1_is_the_mean_over_images_then_over_classes(scores):
    found = np.array([boundary_f1(truth, labels, 3, VOID) for truth, labels in samples()])
    np.testing.assert_allclose(scores.class_boundary_f1()[:2], found[:, :2].mean(axis=0))
    assert math.isnan(scores.class_boundary_f1()[2])
    assert math.isclose(scores.mean_boundary_f1(), found[:, :2].mean(axis=0).mean())
    assert "boundary F1" in scores.details() and "(2 of 3 classes with a boundary)" in scores.details()


def test_images_without_labels_have_no_score_and_are_not_the_worst():
    scores = Scores(NAMES, VOID, with_boundary_f1=True)
    truth = np.full((4, 5), VOID, np.uint8)
    score = scores.add("void", 0, truth, np.zeros((1, 4, 5), np.uint8), {})
    assert math.isnan(score.mean_iou) and score.classes_present == 0 and scores.worst(3) == []
    assert scores.as_dict()["per_image"][0]["mean_iou"] is None and "n/a" in scores.details()


def test_tables_and_json_hold_what_the_scores_say(scores):
    content = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert content["mean_accuracy"] == scores.confusion.mean_accuracy()
    assert content["frequency_weighted_iou"] == scores.confusion.frequency_weighted_iou()
    assert content["class_boundary_f1"][2] is None and content["per_image"][1]["id"] == "image 1"
    heading, *rows = scores.class_rows()
    assert heading == ["label", "class", "iou", "accuracy", "truth_pixels", "predicted_pixels", "boundary_f1"]
    assert [row[1] for row in rows] == list(NAMES) and rows[2][2:] == [None, None, 0, 0, None]
    assert sum(row[4] for row in rows) == scores.confusion.counts.sum() == sum(row[5] for row in rows)
    heading, *rows = scores.image_rows()
    assert heading == ["id", "mean_iou", "classes_present", "pixel_accuracy", "boundary_f1"]
    assert rows[3][1] == scores.images[3].mean_iou and len(rows) == 4
    plain = Scores(NAMES, VOID)
    assert plain.class_rows()[0][-1] == "predicted_pixels" and "boundary_f1" not in plain.as_dict()


def test_parts_of_a_set_add_up_to_the_same_numbers(scores):
    parts = [Scores(NAMES, VOID, WIDTHS, with_boundary_f1=True) for _ in range(3)]
    for number, (truth, labels) in enumerate(samples()):
        part = parts[number % 2]  # the third has none
        part.add(f"image {number}", number, truth, labels[None], bands_of(truth, WIDTHS, VOID))
    for part in parts[1:]:
        parts[0].take_in(part)
    assert parts[0].as_dict() | {"class_boundary_f1": None} == scores.as_dict() | {"class_boundary_f1": None}
    np.testing.assert_array_equal(parts[0].class_boundary_f1(), scores.class_boundary_f1())
    assert parts[0].trimap() == scores.trimap() and parts[0].image_rows() == scores.image_rows()
