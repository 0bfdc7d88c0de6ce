"""Weights as torchvision stores them: read back they give the same logits, and torchvision takes them."""

import dataclasses

import numpy as np
import pytest
from export_networks import narrow

from minideeplab.data import normalise
from minideeplab.errors import UsageError
from minideeplab.export.formats import SUFFIXES, format_of, write_weights
from minideeplab.export.onnx_file import logits_of
from minideeplab.weights import load_pretrained, pretrained
from minideeplab.weights.layouts import LAYOUTS

KINDS = ("torchvision", "safetensors", "npz")
NETWORKS = {
    "torchvision-deeplabv3_resnet50": {"head_width": 256},
    "torchvision-fcn_resnet50": {},
    "resnet18": {},
    "densenet121": {},
    "vgg16": {},
    "mobilenet_v2": {"width": 0.25},
    "mobilenet_v3_large": {"width": 0.25},
    "torchvision-deeplabv3_mobilenet_v3_large": {"width": 0.25},
    "torchvision-lraspp_mobilenet_v3_large": {"width": 0.25},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_read_back_it_gives_the_same_logits(tmp_path, name, kind):
    model, path = narrow(name, **NETWORKS[name]), tmp_path / f"weights{SUFFIXES[kind]}"
    assert write_weights(path, model, kind) == len(model.state_dict())
    found = load_pretrained(path)
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 48, 3), np.uint8)
    np.testing.assert_array_equal(logits_of(found, image), logits_of(model, image))


@pytest.mark.parametrize("name", ["deeplabv3plus", "resnet50-beta", "densenet-bc-100-12", "unet"])
def test_what_torchvision_has_not_is_refused_with_the_list(tmp_path, name):
    with pytest.raises(UsageError, match=f"--format npz: torchvision has no {name}; it has torchvision-fcn.*onnx"):
        write_weights(tmp_path / "weights.npz", narrow(name), "npz")
    assert not list(tmp_path.iterdir())


def test_arrays_that_do_not_tell_their_network_are_refused(tmp_path, monkeypatch):
    layout = next(layout for layout in LAYOUTS if layout.writes_model("resnet18"))
    wrong = dataclasses.replace(layout, describe=lambda shapes: ("resnet18", {"width": 0.5}))
    monkeypatch.setattr(pretrained, "LAYOUTS", (wrong,))
    with pytest.raises(UsageError, match=r"load_pretrained would read the arrays of resnet18 with \{'width': 0.5\}"):
        write_weights(tmp_path / "weights.npz", narrow("resnet18"), "npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2"])
def test_a_width_that_rounds_to_the_same_channels_is_written(tmp_path, name):
    model, path = narrow(name, width=0.07), tmp_path / "weights.npz"
    write_weights(path, model, "npz")
    found, image = load_pretrained(path), np.zeros((1, 40, 48, 3), np.uint8)
    assert found.config["width"] != 0.07
    np.testing.assert_array_equal(logits_of(found, image), logits_of(model, image))


def read_by_pytorch(path, kind):
    torch = pytest.importorskip("torch")
    if kind == "torchvision":
        return torch.load(path, weights_only=True)
    if kind == "npz":
        return {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    return pytest.importorskip("safetensors.torch").load_file(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet18", "torchvision"),
        ("resnet18", "safetensors"),
        ("resnet18", "npz"),
        ("densenet121", "torchvision"),
        ("torchvision-deeplabv3_resnet50", "torchvision"),
        ("torchvision-fcn_resnet50", "torchvision"),
    ],
)
def test_torchvision_takes_it_and_gives_the_same_logits(tmp_path, name, kind):
    """At full width, since torchvision has no other; strict, so no array is missing."""
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    options = {"head_width": 256} if "deeplabv3" in name else {}
    model, path = narrow(name, width=1.0, **options), tmp_path / f"weights{SUFFIXES[kind]}"
    write_weights(path, model, kind)
    _, _, segmenter = name.partition("torchvision-")
    if segmenter:
        make = getattr(torchvision.models.segmentation, segmenter)
        network = make(weights=None, weights_backbone=None, aux_loss=True, num_classes=3)
    else:
        network = getattr(torchvision.models, name)(weights=None, num_classes=3)
    network.load_state_dict(read_by_pytorch(path, kind), strict=True)
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with torch.no_grad():
        found = network.eval()(torch.from_numpy(normalise(image).transpose(0, 3, 1, 2).copy()))
    found, wanted = (found["out"] if segmenter else found).numpy(), logits_of(model, image)
    assert abs(found - wanted).max() < 1e-4 * abs(wanted).max()


def test_the_suffix_says_the_format_unless_asked():
    for kind, suffix in SUFFIXES.items():
        assert format_of(f"net{suffix}", None) == format_of(f"net{suffix.upper()}", kind) == kind
    assert format_of("net.pt", None) == "torchvision"
    with pytest.raises(UsageError, match=r"--out net.tflite: the suffix says the format: .onnx, .pth"):
        format_of("net.tflite", None)
    with pytest.raises(UsageError, match=r"--out net.onnx: a file of --format npz is called ...\.npz"):
        format_of("net.onnx", "npz")
