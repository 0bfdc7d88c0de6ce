"""Pictures of scores: names as they stand, colours of the classes, no large page for large images."""

from types import SimpleNamespace

import numpy as np
import pytest

from minideeplab.data import read_image, voc_colour_map
from minideeplab.figures.colours import RIGHT, WRONG
from minideeplab.figures.scores import save_trimap_curve, save_worst

CLASSES = SimpleNamespace(class_names=("$", "a\\$b", "_c"), palette=voc_colour_map(), ignore_index=255)


def row(height, width, note="$\\frac{1}{$"):
    image = np.full((height, width, 3), 77, np.uint8)
    truth = np.ones((height, width), np.uint8)
    prediction = truth.copy()
    prediction[: height // 2] = 2
    truth[:, : width // 4] = 255
    return image, truth, prediction, note


def share(picture, colour):
    return (picture == colour).all(axis=-1).mean()


def test_the_page_of_the_worst_images_shows_what_is_wrong(tmp_path):
    save_worst(tmp_path / "worst.png", [row(40, 60), row(60, 40)], CLASSES, "the worst $")
    picture = read_image(tmp_path / "worst.png")
    for colour in (RIGHT, WRONG, voc_colour_map()[1], voc_colour_map()[2], (77, 77, 77)):
        assert share(picture, colour) > 0.01
    assert share(picture, RIGHT) == pytest.approx(share(picture, WRONG), rel=0.1)


def test_a_large_image_makes_no_large_page(tmp_path):
    save_worst(tmp_path / "worst.png", [row(10, 3000), row(3000, 2000)], CLASSES, "")
    assert max(read_image(tmp_path / "worst.png").shape) < 2000


def test_curves_of_one_and_two_and_of_a_width_without_pixels(tmp_path):
    curve = {1: 0.3, 5: 0.5, 40: 0.7}
    for curves in (
        {"$": curve},
        {"without CRF": curve, "with CRF": {1: 0.2, 5: float("nan"), 40: 0.8}},
        {"a": {3: 0.1}},
    ):
        save_trimap_curve(tmp_path / "curve.png", curves, "camvid, $")
        picture = read_image(tmp_path / "curve.png")
        assert min(picture.shape[:2]) > 300 and (picture != 255).any()
