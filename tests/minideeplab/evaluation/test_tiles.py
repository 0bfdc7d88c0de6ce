"""Tiles: where they lie, that they change nothing where nothing beyond them is seen, and their memory."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab import nn
from minideeplab.cost import cost_of
from minideeplab.evaluation import Predictor
from minideeplab.evaluation.predictor import SMALLEST_SIDE
from minideeplab.evaluation.tiles import LARGEST_WHOLE, SIDE, side_of, starts
from minideeplab.models.segmenter import Segmenter


class Small(Segmenter):
    """Sees little: two strided 3x3, enlarged by 4."""

    output_stride = 4

    def __init__(self):
        self.first = nn.Conv2d(3, 6, 3, stride=2, bias=True)
        self.second = nn.Conv2d(6, 4, 3, stride=2, bias=True)

    def small_logits(self, x):
        return self.second(self.first(x))


FIELD = cost_of(Small(), 65).receptive_field


@pytest.fixture(scope="module")
def small():
    return Small().initialise(0).eval()


@pytest.fixture(scope="module")
def pixelwise():
    """Scores of a pixel from that pixel alone."""
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=True)).initialise(0).eval()


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(side=st.integers(1, 3000), tile=st.integers(SMALLEST_SIDE, 700), stride=st.sampled_from([1, 8, 16, 32, 256]))
def test_tiles_cover_a_side_and_overlap_by_a_third(side, tile, stride):
    begins = starts(side, tile, stride)
    steps = np.diff(begins)
    assert begins[0] == 0 and begins[-1] < side and max(0, side - tile) <= begins[-1]
    assert all(0 < step <= max(2 / 3 * tile, stride) and step <= tile for step in steps)
    if stride < tile:
        assert all(begin % stride == 0 for begin in begins) and begins[-1] < max(1, side - tile + stride)


def away_from_seams(side, tile, stride):
    """Positions that lie farther than half the field from the inner borders of all tiles that hold them."""
    away = np.ones(side, bool)
    for begin in starts(side, tile, stride):
        end = min(begin + tile, side)
        if begin > 0:
            away[begin : begin + FIELD // 2 + 1] = False
        if end < side:
            away[end - FIELD // 2 - 1 : end] = False
    return away


@pytest.mark.parametrize("options", [{}, {"fusion": "max"}, {"flip": True}], ids=["plain", "maximum", "mirrored"])
@pytest.mark.parametrize("size", [(97, 161), (100, 75), (40, 203)])
def test_tiles_equal_the_whole_image_away_from_seams(small, size, options):
    """With a mirrored view the grid of the network begins at the right: there only sizes of 4 k + 1 are aligned."""
    image = picture(*size)
    if "flip" in options:
        image = image[:, : (size[1] - 1) // 4 * 4 + 1]
    tiled = Predictor(small, tile=65, **options)(image)
    whole = Predictor(small, tile=None, **options)(image)
    rows, columns = (away_from_seams(side, 65, 4) for side in image.shape[:2])
    if "flip" in options:
        columns &= columns[::-1]
    away = rows[:, None] & columns
    assert 0.2 < away.mean() < 1
    difference = abs(tiled.probabilities - whole.probabilities).max(axis=-1)
    assert difference[away].max() < 2e-6 < 1e-3 < difference[~away].max()
    np.testing.assert_array_equal(tiled.labels, tiled.scores.numpy().argmax(axis=-1))


@pytest.mark.parametrize("fusion", ["mean", "max"])
@pytest.mark.parametrize("size", [(150, 61), (64, 129), (33, 200)])
def test_views_in_tiles_are_those_of_the_whole_image(pixelwise, size, fusion):
    """Scaled and mirrored views, some of them in tiles and some not, of a network that sees each pixel by itself."""
    image, options = picture(*size), {"scales": (0.4, 1, 1.7), "flip": True, "fusion": fusion}
    whole, tiled = (Predictor(pixelwise, tile=tile, **options)(image) for tile in (None, 70))
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, rtol=1e-4, atol=1e-5)


def test_rows_of_probabilities_are_the_probabilities_and_leave_the_labels(small):
    image = picture(150, 90)
    for fusion in ("mean", "max"):
        prediction, other = (Predictor(small, tile=65, fusion=fusion)(image) for _ in range(2))
        tops, rows = zip(*prediction.probability_rows(), strict=True)
        assert tops == (0, 64, 128) and "scores" not in vars(prediction)
        np.testing.assert_allclose(np.concatenate(rows), other.probabilities, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(vars(prediction)["plain_labels"], other.labels)


def test_large_images_are_tiled_by_themselves():
    side = int(LARGEST_WHOLE**0.5)
    assert side_of("auto", side, side) is None and side_of("auto", side + 1, side + 1) == SIDE
    assert side_of(None, 9999, 9999) is None and side_of(65, 65, 65) is None and side_of(65, 2, 66) == 65


MEASURED = """
import resource
import numpy as np
from minideeplab import models
from minideeplab.data.photograph import photograph
from minideeplab.evaluation import Predictor
model = models.build("deeplabv3plus", backbone="resnet18", num_classes=21, width=0.25, head_width=64).eval()
image = np.tile(photograph(500, 500), (8, 12, 1))
labels = Predictor(model).labels(image)
assert labels.shape == image.shape[:2]
print(image.shape[0] * image.shape[1] / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
def test_24_megapixels_take_less_than_2_gb():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    megapixels, gigabytes = map(float, done.stdout.split())
    assert megapixels == 24 and gigabytes < 2


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_the_confidence_is_found_in_the_pass_of_the_labels(small, fusion, monkeypatch):
    """Whoever sees a validation may ask for it, and holds no scores of an image in tiles."""
    image, truth = picture(150, 90), np.zeros((150, 90), np.uint8)
    dataset = _One(image, truth)
    passes, seen, rows = [], [], Predictor.rows
    monkeypatch.setattr(Predictor, "rows", lambda *arguments: passes.append(1) or rows(*arguments))
    Predictor(small, tile=65, fusion=fusion).confusion(
        dataset, see=lambda prediction, confusion: seen.append(prediction)
    )
    assert len(passes) == 1 and seen[0].in_tiles
    confidence, labels = seen[0].confidence, seen[0].labels
    assert len(passes) == 1
    probabilities = seen[0].probabilities
    np.testing.assert_allclose(confidence, probabilities.max(axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(labels[0], probabilities.argmax(axis=-1))
    whole = Predictor(small, tile=None)(image)
    np.testing.assert_allclose(whole.confidence, whole.probabilities.max(axis=-1), rtol=1e-5)


class _One:
    """A data set of one image."""

    num_classes, ignore_index = 4, 255

    def __init__(self, image, truth):
        self.image, self.truth = image, truth

    def __len__(self):
        return 1

    def sample(self, number):
        return self.image, self.truth
