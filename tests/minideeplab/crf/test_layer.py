"""The CRF as layers of a network: derivatives against differences, values against the field's inference."""

import numpy as np
import pytest
from strategies import SIMULATED, normal

from minideeplab import Tensor, ops
from minideeplab.autograd.function import no_grad
from minideeplab.autograd.gradcheck import check_adjoint, check_direction, gradcheck
from minideeplab.crf import (
    PRESETS,
    CRFLayer,
    DenseField,
    LatticeFilter,
    SeparableFilter,
    bilateral_features,
    filter_each,
    position_features,
)
from minideeplab.nn import Module
from minideeplab.nn.losses import cross_entropy
from minideeplab.nn.optim import SGD

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
N, H, W, K = 2, 4, 5, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (N, H, W, 3)).astype(np.uint8)
LOGITS = normal(1, (N, H, W, K))
LABELS = np.random.default_rng(2).integers(0, K, (N, H, W)).astype(np.uint8)


def layer(dtype=np.float64, drawn=True, **options):
    """With weights that are all different, so that no derivative vanishes by symmetry."""
    crf = CRFLayer(K, **{"iterations": 2, **options}).astype(dtype)
    if drawn:
        for seed, parameter in enumerate(crf.parameters()):
            parameter.data = (0.5 * normal(10 + seed, parameter.shape)).astype(dtype)
    return crf


# -------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("preset", ["crfasrnn", "pydensecrf"])
def test_the_derivative_of_the_logits(preset):
    crf = layer(preset=preset)
    gradcheck(lambda logits: crf(logits, IMAGES), LOGITS, names=["logits"])


@pytest.mark.parametrize("name", ["smooth_weight", "bilateral_weight", "compatibility"])
def test_the_derivative_of_each_parameter(name):
    crf = layer(preset="pydensecrf")

    def with_parameter(value):
        setattr(crf, name, value)
        return crf(Tensor(LOGITS), IMAGES)

    gradcheck(with_parameter, getattr(crf, name).numpy().copy(), names=[name])


def test_the_derivative_of_a_loss_along_all_parameters():
    crf = layer(preset="pydensecrf", iterations=5)
    assert set(dict(crf.named_parameters())) == {"smooth_weight", "bilateral_weight", "compatibility"}
    check_direction(lambda: cross_entropy(crf(Tensor(LOGITS), IMAGES), LABELS), crf)


@pytest.mark.parametrize("normalisation", ["none", "before", "after", "symmetric"])
def test_the_adjoint_of_filters_is_the_transposed_filter(normalisation):
    filters = [
        LatticeFilter(bilateral_features(IMAGES[0], 3, 60, np.float64), normalisation),
        SeparableFilter(H, W, (1, 2), normalisation, np.float64),
    ]
    check_adjoint(lambda x: filter_each(x, filters), LOGITS)
    gradcheck(lambda x: filter_each(x, filters), LOGITS, step=1)


# -------------------------------------------------------------------- values


def test_each_image_goes_through_its_own_filter():
    filters = [LatticeFilter(bilateral_features(image, 3, 60, np.float64)) for image in IMAGES]
    actual = filter_each(Tensor(LOGITS), filters).numpy()
    for image, gaussian, x in zip(actual, filters, LOGITS, strict=True):
        np.testing.assert_array_equal(image.reshape(-1, K), gaussian.apply(x.reshape(-1, K)))
    assert abs(filter_each(Tensor(LOGITS), filters[::-1]).numpy() - actual).max() > 1e-3


def edges_of(image, preset, weights=None, dtype=np.float64):
    """Smoothness, then appearance, as the layer's `smooth_weight` and `bilateral_weight`."""
    smooth, bilateral = weights or (PRESETS[preset].smooth_weight, PRESETS[preset].bilateral_weight)
    numbers = PRESETS[preset]
    place = LatticeFilter(position_features(H, W, numbers.smooth_sxy, dtype), numbers.normalisation)
    looks = LatticeFilter(bilateral_features(image, numbers.sxy, numbers.srgb, dtype), numbers.normalisation)
    return [(place, smooth), (looks, bilateral)]


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_new_layer_is_the_inference_of_its_preset(preset, dtype):
    crf = layer(dtype, drawn=False, preset=preset, iterations=10)
    with no_grad():
        refined = crf(Tensor(LOGITS.astype(dtype)), IMAGES)
        q = ops.softmax(refined).numpy()
    assert refined.dtype == dtype
    for image, logits, found in zip(IMAGES, LOGITS, q, strict=True):
        field = DenseField(-logits.reshape(-1, K).astype(dtype), edges_of(image, preset, dtype=dtype))
        expected = field.infer(10).reshape(H, W, K)
        np.testing.assert_allclose(found, expected, atol=1e-10 if dtype == np.float64 else 1e-3)


def test_five_iterations_are_the_default_and_the_number_can_change():
    crf = CRFLayer(K).astype(np.float64)
    assert crf.iterations == 5
    expected = [layer(drawn=False, iterations=iterations)(Tensor(LOGITS), IMAGES).numpy() for iterations in (5, 10)]
    np.testing.assert_array_equal(crf(Tensor(LOGITS), IMAGES).numpy(), expected[0])
    crf.iterations = 10
    np.testing.assert_array_equal(crf(Tensor(LOGITS), IMAGES).numpy(), expected[1])
    crf.iterations = 0
    np.testing.assert_array_equal(crf(Tensor(LOGITS), IMAGES).numpy(), LOGITS)


def test_weights_of_each_label_multiply_its_message():
    """With symmetric mu one step is that of a field whose costs are mu diag(w)."""
    crf = layer(preset="pydensecrf", iterations=1)
    mu = crf.compatibility.numpy()[0, 0]
    crf.compatibility.data = ((mu + mu.T) / 2)[None, None]
    mu = (mu + mu.T) / 2
    weights = [mu * weight.numpy() for weight in (crf.smooth_weight, crf.bilateral_weight)]
    q = ops.softmax(crf(Tensor(LOGITS), IMAGES)).numpy()
    for image, logits, found in zip(IMAGES, LOGITS, q, strict=True):
        field = DenseField(-logits.reshape(-1, K), edges_of(image, "pydensecrf", weights))
        np.testing.assert_allclose(found.reshape(-1, K), field.infer(1), atol=1e-12)


# -------------------------------------------------------------------- training and refusals


class Classifier(Module):
    """Logits that are given, then a CRF: all that can be learned is the CRF's."""

    def __init__(self):
        self.crf = CRFLayer(K, "pydensecrf", iterations=3)

    def forward(self, logits):
        return self.crf(logits, IMAGES)


def test_training_lowers_the_loss_and_moves_every_parameter():
    model = Classifier().astype(np.float64)
    first = {name: value.copy() for name, value in model.state_dict().items()}
    optimiser, losses = SGD(model, lr=0.02, momentum=0), []
    for _ in range(8):
        optimiser.zero_grad()
        loss = cross_entropy(model(Tensor(LOGITS)), LABELS)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert (np.diff(losses) < 0).all() and losses[-1] < 0.9 * losses[0]
    assert all((model.state_dict()[name] != value).any() for name, value in first.items())


def test_learned_weights_are_saved_and_loaded():
    trained, fresh = layer(preset="pydensecrf"), layer(drawn=False, preset="pydensecrf")
    before = fresh(Tensor(LOGITS), IMAGES).numpy()
    fresh.load_state_dict(trained.state_dict())
    np.testing.assert_array_equal(fresh(Tensor(LOGITS), IMAGES).numpy(), trained(Tensor(LOGITS), IMAGES).numpy())
    assert abs(before - trained(Tensor(LOGITS), IMAGES).numpy()).max() > 0.1


@pytest.mark.parametrize(
    ("images", "shape"),
    [(IMAGES[:1], r"\(1, 4, 5, 3\)"), (IMAGES[0], r"\(4, 5, 3\)"), (IMAGES[:, :, :-1], r"\(2, 4, 4, 3\)")],
)
def test_images_that_do_not_fit_the_logits_are_refused(images, shape):
    expected = r"images must be \(N, H, W, C\) as the logits \(2, 4, 5, 3\), got "
    with pytest.raises(ValueError, match=expected + shape):
        layer()(Tensor(LOGITS), images)


def test_classes_and_iterations_that_make_no_sense_are_refused():
    for classes in (0, 1):
        with pytest.raises(ValueError, match=rf"needs 2 classes or more, got {classes}; .* logits \(0, x\)"):
            CRFLayer(classes)
    with pytest.raises(ValueError, match="iterations must be 0 or more, got -1"):
        CRFLayer(K, "crfasrnn", -1)
    with pytest.raises(ValueError, match=r"logits \(2, 4, 5, 2\) are not of 3 classes"):
        layer()(Tensor(LOGITS[..., :2].copy()), IMAGES)


def test_images_that_a_network_takes_are_warned_about():
    with pytest.warns(UserWarning, match="no edge will be seen"):
        layer(preset=PRESETS["crfasrnn"])(Tensor(LOGITS), (IMAGES / 255 - 0.45) / 0.22)


def test_unknown_presets_and_missing_filters_are_refused():
    with pytest.raises(ValueError, match="unknown preset 'deeplab'; there are deeplab-v1"):
        CRFLayer(K, "deeplab")
    with pytest.raises(ValueError, match="2 images need as many filters, got 1"):
        filter_each(Tensor(LOGITS), [SeparableFilter(H, W, 1, "none", np.float64)])
