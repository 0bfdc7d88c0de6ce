"""One step of training, and losses that add up."""

import numpy as np
import pytest
from strategies import SIMULATED

from minideeplab import Tensor, models
from minideeplab.errors import DivergedError
from minideeplab.nn import SGD, Loss, cross_entropy, hard_pixels
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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deeplabv3plus", {}),
        ("deeplabv1-largefov", {"class_weights": (0.5, 2.0, 1.0)}),
        ("pspnet", {"class_weights": (0.5, 2.0, 1.0), "hard_share": 0.3}),
        ("torchvision-fcn_resnet50", {"hard_share": 0.5}),
    ],
)
@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_in_parts_is_the_step_of_the_batch(name, options, parts):
    """With frozen batch norm and without dropout, whatever share of each part is void."""
    whole, cut = network(name).astype(np.float64), network(name).astype(np.float64)
    images, labels = batch(void=9)
    losses = []
    for model, number in ((whole, 1), (cut, parts)):
        model.eval()
        step = dict(lr=0.1, ignore_index=9, parts=number, **options)
        losses.append(train_step(model, SGD(model, 0.1), images.astype(np.float64), labels, **step))
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-12)
    assert losses[1].weight == pytest.approx(losses[0].weight, rel=1e-12)
    for (key, one), other in zip(whole.state_dict().items(), cut.state_dict().values(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-11, err_msg=key)


def test_parts_of_void_have_no_weight():
    model = network(head_width=8).eval()
    images, labels = batch()
    labels[:2] = 255
    alone = model.loss(Tensor(images[2:]), labels[2:])
    loss = train_step(model, SGD(model, 0.1), images, labels, parts=2)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6) and loss.weight == alone.weight
    loss = train_step(model, SGD(model, 0.1), images, np.full_like(labels, 255), parts=2)
    assert loss.item() == 0 and loss.weight == 0
    assert all(np.isfinite(p.data).all() for p in model.parameters())


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_part_that_fails_leaves_no_trace_of_those_before():
    model = network(head_width=8)
    images, labels = batch()
    images[3, 2, 3, 0] = np.inf
    before = model.state_dict()
    with pytest.raises(DivergedError, match="the loss is nan, the images hold values that are not finite"):
        train_step(model, SGD(model, 0.1), images, labels, parts=4)
    assert_same_state(model, before)


@pytest.mark.parametrize("parts", [0, 3, 8])
def test_parts_divide_the_batch(parts):
    model = network(head_width=8)
    with pytest.raises(ValueError, match=f"parts must divide the batch of 4, got {parts}"):
        train_step(model, SGD(model, 0.1), *batch(), parts=parts)


@pytest.mark.parametrize(
    ("name", "second"), [("pspnet", 0.4), ("torchvision-fcn_resnet50", 0.5), ("deeplabv3plus", None)]
)
def test_hard_pixels_of_all_heads_are_those_of_the_first(name, second):
    """One weight then holds for the sum of the heads, with class weights, too."""
    model, (images, labels), weights = network(name).eval(), batch(n=2), (0.5, 2.0, 1.0)
    loss = model.loss(Tensor(images), labels, weights, 255, 0.25)
    heads = model.heads(Tensor(images))
    kept = hard_pixels(heads[0], labels, 0.25, 255, weights)
    each = [cross_entropy(head, kept, 255, weights) for head in heads]
    assert len(each) == (2 if second else 1)
    assert loss.item() == pytest.approx(each[0].item() + (second * each[1].item() if second else 0), rel=1e-5)
    assert loss.weight == each[0].weight


def test_hard_pixels_of_every_eighth_label():
    """DeepLab v1: 5 x 5 labels, of which the first image has a line."""
    model, (images, labels) = network("deeplabv1-largefov").eval(), batch(n=2)
    whole, hard = (model.loss(Tensor(images), labels, hard_share=share) for share in (1.0, 0.4))
    assert (whole.weight, hard.weight) == (5 + 25, 2 + 10) and hard.item() > whole.item()


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
