"""A step of training of MobileNetV3's networks against torchvision's: loss, gradients, running statistics."""

import numpy as np
import pytest

from minideeplab import Tensor, models
from minideeplab.nn import Dropout
from minideeplab.nn.losses import cross_entropy
from minideeplab.weights import load_pretrained, save_torchvision_npz
from minideeplab.weights.layouts import LAYOUTS

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

CASES = {  # our name: torchvision's network
    "mobilenet_v3_large": lambda: torchvision.models.mobilenet_v3_large(weights=None, num_classes=5),
    "torchvision-deeplabv3_mobilenet_v3_large": lambda: torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5, aux_loss=True
    ),
    "torchvision-lraspp_mobilenet_v3_large": lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    ),
}


def drawn(net):
    """torchvision's network in float64 without dropout, with statistics that are not those of the start."""
    torch.manual_seed(0)
    for module in net.double().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.normal_(0.9, 0.1)
            module.bias.data.normal_(0.1, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
        if isinstance(module, torch.nn.Linear):
            module.weight.data.normal_(0, module.in_features**-0.5)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net


def ours_of(array, shape):
    """PyTorch's (K, C, KH, KW), (C, 1, KH, KW) or (K, C) as our array of that shape."""
    if len(shape) == 4:
        return array.reshape(shape[3], shape[2], shape[0], shape[1]).transpose(2, 3, 1, 0)
    return array[:, 0].transpose(1, 2, 0) if len(shape) == 3 else array


@pytest.fixture(params=CASES)
def pair(request, tmp_path):
    """(our network, torchvision's, our names -> torchvision's), with the same weights, in float64."""
    name, theirs = request.param, drawn(CASES[request.param]())
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = load_pretrained(tmp_path / "weights.pth").astype(np.float64)
    assert ours.config == models.build(**ours.config).config and ours.config["name"] == name
    layout = next(each for each in LAYOUTS if each.writes_model(name))
    names = {own: layout.stored_name(own) for own in ours.state_dict()}
    state = theirs.state_dict()
    for own, tensor in [*ours.named_parameters(), *ours.named_buffers()]:  # the file has float32 numbers
        tensor.data = np.ascontiguousarray(ours_of(state[names[own]].numpy(), tensor.shape))
    for _, module in ours.named_modules():
        if isinstance(module, Dropout):
            module.rate = 0.0
    return ours, theirs, names


def images(size):
    return np.random.default_rng(1).standard_normal((2, *size, 3))


def logits_of(net, image):
    """torchvision's logits of all heads, (N, K, H, W)."""
    y = net(torch.from_numpy(image.transpose(0, 3, 1, 2)))
    return list(y.values()) if isinstance(y, dict) else [y[:, :, None, None]]


@pytest.mark.parametrize("size", [(64, 64), (97, 81), (65, 70)])
def test_logits(pair, size):
    ours, theirs, _ = pair
    with torch.no_grad():
        expected = logits_of(theirs.eval(), images(size))[0].numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours(Tensor(images(size))).numpy(), expected, rtol=0, atol=1e-10 * abs(expected).max())


def test_a_step_of_training(pair):
    ours, theirs, names = pair
    size = (65, 70)
    dense = "classifier.0.weight" not in theirs.state_dict()
    labels = np.random.default_rng(2).integers(0, 5, (2, *(size if dense else (1, 1)))).astype(np.uint8)
    if dense:
        labels[:, :5] = 255
    target = torch.from_numpy(labels.astype(np.int64))
    functional = torch.nn.functional
    heads = [functional.cross_entropy(y, target, ignore_index=255) for y in logits_of(theirs.train(), images(size))]
    expected = heads[0] + 0.5 * heads[1] if len(heads) > 1 else heads[0]
    expected.backward()
    image = Tensor(images(size))
    loss = ours.train().loss(image, labels) if dense else cross_entropy(ours.train()(image), labels)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-11)
    gradients = {own: p.grad for own, p in ours.named_parameters()}
    largest = max(abs(grad).max() for grad in gradients.values())
    theirs_by_name, state = dict(theirs.named_parameters()), theirs.state_dict()
    for own, grad in gradients.items():
        found = ours_of(theirs_by_name[names[own]].grad.numpy(), grad.shape)
        np.testing.assert_allclose(grad, found, rtol=1e-7, atol=1e-9 * largest, err_msg=own)
    for own, buffer in ours.named_buffers():
        np.testing.assert_allclose(buffer.data, state[names[own]].numpy(), rtol=1e-9, atol=1e-11, err_msg=own)


def test_torchvision_takes_what_is_written(pair, tmp_path):
    ours, theirs, _ = pair
    save_torchvision_npz(tmp_path / "weights.npz", ours)
    with np.load(tmp_path / "weights.npz") as file:
        written = {key: torch.from_numpy(file[key]) for key in file.files}
    before = theirs.state_dict()
    missing = theirs.load_state_dict(written, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys) and not missing.unexpected_keys
    for key in written:
        assert torch.equal(before[key], theirs.state_dict()[key])
