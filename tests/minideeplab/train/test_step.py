"""One step of training, and losses that add up."""

import numpy as np
import pytest
from strategies import SIMULATED

from minideeplab import Tensor, models
from minideeplab.errors import DivergedError
from minideeplab.nn import SGD, Loss
from minideeplab.train import train_step

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")


def network(name="deeplabv3plus", **options):
    return models.build(name, num_classes=3, width=1 / 16, **options)


def batch(n=4, side=33, void=255, seed=0):
    """The first image has nearly all pixels void, the last none: a mean of means would be another number."""
    generator = np.random.default_rng(seed)
    images = generator.standard_normal((n, side, side, 3)).astype(np.float32)
    labels = generator.integers(0, 3, (n, side, side)).astype(np.uint8)
    labels[0, 1:] = void
    return images, labels


def test_a_step_is_forward_backward_update():
    one, other = network(head_width=8), network(head_width=8)
    optimisers = SGD(one, 0.5), SGD(other, 0.5)
    images, labels = batch()
    for _ in range(2):
        loss = train_step(one, optimisers[0], images, labels, lr=0.1)
        by_hand = other.loss(Tensor(images), labels)
        optimisers[1].zero_grad()
        by_hand.backward()
        optimisers[1].step(0.1)
        assert loss.item() == by_hand.item() and loss.weight == by_hand.weight == (labels != 255).sum()
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name], err_msg=name)
    assert loss.node is None and isinstance(loss, Loss)


@pytest.mark.parametrize(
    ("name", "class_weights"),
    [
        ("deeplabv3plus", None),
        ("deeplabv1-largefov", (0.5, 2.0, 1.0)),
        ("pspnet", (0.5, 2.0, 1.0)),
        ("torchvision-fcn_resnet50", None),
    ],
)
def test_losses_and_gradients_of_parts_add_up_to_those_of_the_batch(name, class_weights):
    """sum_b weight_b (loss_b, gradient_b) / sum_b weight_b, with void in some parts only, and several heads."""
    model = network(name).astype(np.float64).eval()  # batch norm and dropout look at no other image
    images, labels = batch(void=9)
    images = images.astype(np.float64)

    def gradients(part):
        for p in model.parameters():
            p.grad = None
        loss = model.loss(Tensor(images[part]), labels[part], class_weights, ignore_index=9)
        loss.backward()
        return loss, {name: p.grad for name, p in model.named_parameters()}

    whole, expected = gradients(np.s_[:])
    parts = [gradients(np.s_[i : i + 1]) for i in range(len(images))]
    weight = sum(loss.weight for loss, _ in parts)
    assert weight == pytest.approx(whole.weight, rel=1e-12) and len({loss.weight for loss, _ in parts}) > 1
    assert sum(loss.item() * loss.weight for loss, _ in parts) / weight == pytest.approx(whole.item(), rel=1e-12)
    for key, grad in expected.items():
        total = sum(loss.weight * grads[key] for loss, grads in parts) / weight
        np.testing.assert_allclose(total, grad, rtol=1e-9, atol=1e-12 * abs(grad).max(), err_msg=key)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_loss_that_is_not_finite_updates_nothing_and_names_its_cause():
    model = network(head_width=8)
    optimiser, (images, labels) = SGD(model, 0.1), batch()
    model.head.bias.data[1] = np.nan
    before = model.state_dict()
    with pytest.raises(DivergedError, match=r"the loss is nan, the first weight that is not finite is 'head\.bias'"):
        train_step(model, optimiser, images, labels)
    assert_same_state(model, before)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_images_that_are_not_finite_are_named_and_leave_no_trace():
    model = network(head_width=8)
    images, labels = batch()
    images[1, 2, 3, 0] = np.inf
    before = model.state_dict()
    with pytest.raises(DivergedError, match="the loss is nan, the images hold values that are not finite"):
        train_step(model, SGD(model, 0.1), images, labels)
    assert_same_state(model, before)


def test_a_step_that_runs_out_of_memory_leaves_no_trace(monkeypatch):
    """Batch norm has seen the batch by then; a run that is saved now and resumed must not see it twice."""
    model = network(head_width=8)
    before = model.state_dict()

    def full(*args, **options):
        raise MemoryError

    monkeypatch.setattr("minideeplab.nn.losses.cross_entropy", full)
    with pytest.raises(MemoryError):
        train_step(model, SGD(model, 0.1), *batch())
    assert_same_state(model, before)


def assert_same_state(model, before):
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_all_void_is_a_loss_of_zero_and_weight_zero():
    model = network(head_width=8)
    images, labels = batch()
    loss = train_step(model, SGD(model, 0.1), images, np.full_like(labels, 255))
    assert loss.item() == 0 and loss.weight == 0


def test_photographs_are_to_be_normalised_first():
    model = network(head_width=8)
    with pytest.raises(TypeError, match=r"give minideeplab\.data\.normalise\(images\)"):
        train_step(model, SGD(model, 0.1), np.zeros((1, 33, 33, 3), np.uint8), np.zeros((1, 33, 33), np.uint8))
