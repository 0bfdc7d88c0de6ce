"""Scores beside those of other programs: `pip install -e ".[oracles]"` has them."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from minideeplab.data.cityscapes import CITYSCAPES_CLASSES
from minideeplab.evaluation import ConfusionMatrix

# trainId -> labelId
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def pairs(classes, count=4, void=255):
    """Truth with void and prediction, in patches, right in two of three pixels."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        truth, noise = rng.integers(0, classes, (2, 8, 16)).repeat(6, axis=1).repeat(6, axis=2)
        prediction = np.where(rng.random(truth.shape) < 0.67, truth, noise)
        yield np.where(rng.random(truth.shape) < 0.1, void, truth).astype(np.uint8), prediction.astype(np.uint8)


def confusion(classes):
    matrix = ConfusionMatrix(classes)
    for truth, prediction in pairs(classes):
        matrix.update(truth, prediction)
    return matrix


def test_voc_scores_are_those_of_torchmetrics():
    classification = pytest.importorskip("torchmetrics.classification", reason="torchmetrics is not installed")
    import torch

    options = {"num_classes": 21, "ignore_index": 255}
    theirs = {
        "iou": classification.MulticlassJaccardIndex(average="none", **options),
        "mean_iou": classification.MulticlassJaccardIndex(average="macro", **options),
        "frequency_weighted_iou": classification.MulticlassJaccardIndex(average="weighted", **options),
        "class_accuracy": classification.MulticlassRecall(average="none", **options),
        "mean_accuracy": classification.MulticlassRecall(average="macro", **options),
        "pixel_accuracy": classification.MulticlassAccuracy(average="micro", **options),
    }
    for truth, prediction in pairs(21):
        for metric in theirs.values():
            metric.update(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    ours = confusion(21)
    for name, metric in theirs.items():
        np.testing.assert_allclose(getattr(ours, name)(), metric.compute().numpy(), rtol=2e-6, err_msg=name)


def test_cityscapes_scores_are_those_of_its_scripts(tmp_path, monkeypatch):
    scripts = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", reason="cityscapesscripts is not installed"
    )
    numbers = np.zeros(256, np.uint8)  # labelId 0, "unlabeled", for void
    numbers[:19] = LABEL_IDS
    files = {"truth": [], "prediction": []}
    for place, both in enumerate(pairs(19)):
        for name, labels in zip(files, both, strict=True):
            path = tmp_path / f"city_00000{place}_000019_{name}.png"
            Image.fromarray(numbers[labels]).save(path)
            files[name].append(str(path))
    args = scripts.args
    monkeypatch.setattr(args, "evalInstLevelScore", False)
    monkeypatch.setattr(args, "quiet", True)
    monkeypatch.setattr(args, "JSONOutput", True)
    monkeypatch.setattr(args, "exportFile", str(tmp_path / "scores.json"))
    scripts.evaluateImgLists(files["prediction"], files["truth"], args)
    theirs, ours = json.loads((tmp_path / "scores.json").read_text()), confusion(19)
    for label, name in enumerate(CITYSCAPES_CLASSES):
        assert math.isclose(theirs["classScores"][name], ours.iou()[label], rel_tol=1e-12), name
    assert math.isclose(theirs["averageScoreClasses"], ours.mean_iou(), rel_tol=1e-12)
