"""torchvision's own mobilenet_v2, where it is installed: logits in both directions, and a training step in float64."""

import numpy as np
import pytest

from minideeplab import Tensor, no_grad
from minideeplab.weights import load_pretrained, save_torchvision_npz
from minideeplab.weights.layouts import LAYOUTS

LAYOUT = next(layout for layout in LAYOUTS if layout.title == "torchvision's mobilenet_v2")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def theirs(torch, width=0.25, num_classes=7):
    """A network with drawn batch norms, so that no two channels are alike."""
    torch.manual_seed(0)
    network = pytest.importorskip("torchvision").models.mobilenet_v2(width_mult=width, num_classes=num_classes)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.6, 1.4)
                module.bias.normal_(0.2, 0.3)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return network


def images(*shape, dtype=np.float32):
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


def nchw(torch, x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def as_stored(array, name):
    """Our array in torchvision's layout."""
    if array.ndim == 4:
        stored = array.transpose(3, 2, 0, 1)
        return stored[:, :, 0, 0] if name.startswith("classifier.") else stored
    return array.transpose(2, 0, 1)[:, None] if array.ndim == 3 else array


@pytest.mark.parametrize(("width", "size"), [(0.25, (97, 64)), (0.35, (33, 40)), (1.0, (65, 65)), (1.4, (33, 33))])
def test_logits_are_those_of_torchvision(torch, tmp_path, width, size):
    """At any size, from its file; and our file is its state, bit for bit."""
    network, x = theirs(torch, width).eval(), images(2, *size, 3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = load_pretrained(tmp_path / "weights.pth")
    with torch.no_grad(), no_grad():
        expected, found = network(nchw(torch, x)).numpy(), model(Tensor(x)).numpy()[:, 0, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * abs(expected).max())
    assert model.config["width"] == width and expected.std() > 0.1 * abs(expected).max()
    save_torchvision_npz(tmp_path / "again.npz", model)
    with np.load(tmp_path / "again.npz") as file:
        for name, tensor in network.state_dict().items():
            assert name.endswith("num_batches_tracked") or (file[name] == tensor.numpy()).all(), name


def test_a_training_step_is_that_of_torchvision(torch, tmp_path):
    """Loss, each gradient and each running statistic of its features, with its linear layer on every position."""
    network = theirs(torch).double().train()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = load_pretrained(tmp_path / "weights.pth", dense=True).astype(np.float64).train()
    own = {LAYOUT.stored_name(ours): t for ours, t in [*model.named_parameters(), *model.named_buffers()]}
    for name, tensor in network.state_dict().items():  # what float32 of the file has rounded
        if not name.endswith("num_batches_tracked"):
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(as_stored(own[name].numpy(), name))))
    x, labels = images(2, 65, 97, 3, dtype=np.float64), np.random.default_rng(2).integers(0, 7, (2, 65, 97))
    labels[:, :3] = 255
    linear, functional = network.classifier[1], torch.nn.functional
    scores = functional.conv2d(network.features(nchw(torch, x)), linear.weight[:, :, None, None], linear.bias)
    enlarged = functional.interpolate(scores, size=x.shape[1:3], mode="bilinear", align_corners=True)
    expected = functional.cross_entropy(enlarged, torch.from_numpy(labels), ignore_index=255)
    expected.backward()
    loss = model.loss(Tensor(x), labels.astype(np.uint8))
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
    gradients = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
    largest = max(abs(gradient).max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        found = as_stored(own[name].grad, name)
        np.testing.assert_allclose(found, gradient, rtol=0, atol=1e-9 * abs(gradient).max() + 1e-12 * largest)
    for name, buffer in network.named_buffers():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_allclose(own[name].numpy(), buffer.numpy(), rtol=1e-9, atol=1e-12)
