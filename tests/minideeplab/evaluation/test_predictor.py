"""The predictor: views, tiles, modes; on an untrained network, and on one that sees each pixel by itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab import Tensor, models, nn, no_grad
from minideeplab.data import normalise
from minideeplab.evaluation import ConfusionMatrix, Predictor
from minideeplab.evaluation.predictor import SMALLEST_SIDE


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def network():
    return models.build("deeplabv3plus", num_classes=4, width=0.125, head_width=16).eval()


@pytest.fixture(scope="module")
def pixelwise():
    """Scores of a pixel from that pixel alone."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=True))
    return model.initialise(0).eval()


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_one_view_is_the_network_itself(network):
    image = picture(40, 51)
    with no_grad():
        logits = network(Tensor(normalise(image)[None])).numpy()
    prediction = Predictor(network)(image)
    np.testing.assert_array_equal(prediction.scores.numpy(), logits)
    np.testing.assert_allclose(prediction.probabilities, softmax(logits[0]), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(Predictor(network).labels(image), logits[0].argmax(axis=-1))


def test_equal_views_are_averaged_to_themselves(network):
    image = picture(40, 45)
    one = Predictor(network).probabilities(image)
    np.testing.assert_allclose(Predictor(network, scales=(1, 1, 1)).probabilities(image), one, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scales", [(1,), (0.75, 1.25)])
def test_with_flip_a_mirrored_image_gives_the_mirrored_result(network, scales):
    image, predictor = picture(41, 48), Predictor(network, scales=scales, flip=True)
    mirrored = predictor.probabilities(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
    np.testing.assert_allclose(predictor.probabilities(image), mirrored, rtol=1e-5, atol=1e-6)
    assert abs(Predictor(network, scales=scales).probabilities(image) - mirrored).max() > 1e-4


@given(height=st.integers(1, 150), width=st.integers(1, 150), tile=st.integers(SMALLEST_SIDE, 70))
def test_tiles_change_nothing_where_a_pixel_depends_on_itself(pixelwise, height, width, tile):
    image = picture(height, width)
    whole = Predictor(pixelwise).probabilities(image)
    np.testing.assert_allclose(Predictor(pixelwise, tile=tile).probabilities(image), whole, rtol=1e-5, atol=1e-7)


def test_scales_of_a_pixelwise_network_blur_no_constant_image(pixelwise):
    image = np.full((50, 60, 3), 99, np.uint8)
    whole = Predictor(pixelwise).probabilities(image)
    np.testing.assert_allclose(Predictor(pixelwise, scales=(0.5, 2)).probabilities(image), whole, rtol=1e-5)


def test_probabilities_sum_to_one_whatever_the_views(network):
    for options in ({}, {"scales": (0.5, 1), "flip": True}, {"tile": 33}, {"scales": (1.5,), "tile": 40, "flip": True}):
        total = Predictor(network, **options).probabilities(picture(47, 70)).sum(axis=-1)
        np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_the_network_is_left_in_the_mode_that_it_had(network):
    network.train()
    network.backbone.eval()  # a frozen part
    before = {name: module.training for name, module in network.named_modules()}
    statistics = network.aspp.project.norm.running_mean.numpy().copy()
    prediction = Predictor(network)(picture(40, 40))
    assert {name: module.training for name, module in network.named_modules()} == before
    np.testing.assert_array_equal(network.aspp.project.norm.running_mean.numpy(), statistics)
    assert prediction.scores.node is None
    network.eval()


class Pairs:
    """A data set in memory."""

    num_classes, ignore_index = 4, 250

    def __init__(self, sizes):
        self.samples = []
        for seed, size in enumerate(sizes):
            truth = np.random.default_rng(seed).integers(0, 4, size).astype(np.uint8)
            truth[0] = self.ignore_index
            self.samples.append((picture(*size, seed), truth))

    def __len__(self):
        return len(self.samples)

    def sample(self, i):
        return self.samples[i]


def test_a_data_set_is_seen_sample_by_sample(network):
    pairs, reports = Pairs([(35, 40), (40, 33), (20, 50)]), []
    predictor = Predictor(network)
    by_hand = ConfusionMatrix(4, 250)
    for image, truth in pairs.samples:
        by_hand.update(truth, predictor.labels(image))
    counted = predictor.confusion(pairs, lambda: reports.append(None))
    np.testing.assert_array_equal(counted.counts, by_hand.counts)
    assert counted.counts.sum() == 34 * 40 + 39 * 33 + 19 * 50 and len(reports) == 3
    assert [p.number for p in predictor.over(pairs)] == [0, 1, 2]


@pytest.mark.parametrize("scales", [(), (0,), (1, -1), (np.inf,), 1, "1"])
def test_scales_that_make_no_sense(network, scales):
    with pytest.raises(ValueError, match="scales must be one or more numbers above 0"):
        Predictor(network, scales=scales)


@pytest.mark.parametrize("shape", [(40, 40), (40, 40, 4), (1, 40, 40, 3), (0, 40, 3)])
def test_images_of_another_form_are_refused(network, shape):
    with pytest.raises(ValueError, match=r"the image must be \(H, W, 3\) RGB, got shape"):
        Predictor(network)(np.zeros(shape, np.uint8))


def test_other_arguments_that_make_no_sense(network):
    for tile in (32, 65.5):
        with pytest.raises(ValueError, match=f"tile must be a whole number of at least 33 pixels, got {tile}"):
            Predictor(network, tile=tile)
    with pytest.raises(TypeError, match="must be a NumPy array, got list"):
        Predictor(network)([[0]])
    with pytest.raises(ValueError, match="unknown preset 'deeplab'"):
        Predictor(network, crf="deeplab")
    with pytest.raises(TypeError, match="uint8"):
        Predictor(network)(np.zeros((40, 40, 3), np.float32))
