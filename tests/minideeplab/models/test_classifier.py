"""Classifiers at sizes other than those of their papers, against NumPy in float64 as torchvision defines them."""

import numpy as np
import pytest

from minideeplab import Tensor, models, no_grad
from minideeplab.cost import cost_of
from minideeplab.models.classifier import Classifier


def drawn(name, width):
    """A classifier in float64 whose arrays are all drawn, variances included; and its arrays."""
    model = models.build(name, num_classes=4, width=width).eval().astype(np.float64)
    generator = np.random.default_rng(3)
    for key, t in [*model.named_parameters(), *model.named_buffers()]:
        drawn = generator.uniform(0.5, 1.5, t.shape) if key.endswith(("gamma", "running_var")) else None
        scale = np.sqrt(2 / np.prod(t.shape[:-1])) if len(t.shape) == 4 else 0.2
        t.data = generator.standard_normal(t.shape) * scale if drawn is None else drawn
    return model, model.state_dict()


def conv(x, w, stride=1):
    """Zero padding of (k - 1) / 2, taps one by one."""
    k, (h, width) = w.shape[0], x.shape[:2]
    padded = np.pad(x, ((k // 2,) * 2, (k // 2,) * 2, (0, 0)))
    out_h, out_w = (h - 1) // stride + 1, (width - 1) // stride + 1
    y = np.zeros((out_h, out_w, w.shape[3]))
    for i, j in np.ndindex(k, k):
        y += padded[i : i + out_h * stride : stride, j : j + out_w * stride : stride][:out_h, :out_w] @ w[i, j]
    return y


def pool(x, reduce):
    """2x2 at stride 2; a last odd row or column is left out."""
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return reduce(x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1), axis=(1, 3))


def bins(x, n):
    """Means over rows and columns floor(i side / n) .. ceil((i + 1) side / n) of each of n x n bins."""
    spans = [[(i * side // n, -(-(i + 1) * side // n)) for i in range(n)] for side in x.shape[:2]]
    return np.array([[x[a:b, c:d].mean(axis=(0, 1)) for c, d in spans[1]] for a, b in spans[0]])


def vgg16(x, state):
    for i, count in enumerate((2, 2, 3, 3, 3)):
        for j in range(count):
            name = f"backbone.blocks.{i}.convs.{j}.conv"
            x = np.maximum(conv(x, state[f"{name}.weight"]) + state[f"{name}.bias"], 0)
        x = pool(x, np.max)
    x = bins(x, 7)
    for name in ("fc6.conv", "fc7.conv", "fc8"):
        weight = state[f"scores.{name}.weight"]
        x = x.ravel() @ weight.reshape(-1, weight.shape[3]) + state[f"scores.{name}.bias"]
        x = x if name == "fc8" else np.maximum(x, 0)
    return x


def densenet121(x, state):
    def norm(x, name):
        mean, var, gamma, beta = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "gamma", "beta"))
        return np.maximum(gamma * (x - mean) / np.sqrt(var + 1e-5) + beta, 0)

    x = norm(conv(x, state["backbone.stem.conv.weight"], 2), "backbone.stem.norm")
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    h, w = ((side - 1) // 2 + 1 for side in x.shape[:2])
    x = np.max([padded[i : i + 2 * h : 2, j : j + 2 * w : 2][:h, :w] for i in range(3) for j in range(3)], axis=0)
    for i, count in enumerate((6, 12, 24, 16)):
        for j in range(count):
            name = f"backbone.blocks.{i}.layers.{j}"
            y = conv(norm(x, f"{name}.norm"), state[f"{name}.bottleneck.conv.weight"])
            y = conv(norm(y, f"{name}.bottleneck.norm"), state[f"{name}.conv.weight"])
            x = np.concatenate([x, y], axis=2)
        if i < 3:
            name = f"backbone.transitions.{i}"
            x = pool(conv(norm(x, f"{name}.norm"), state[f"{name}.conv.weight"]), np.mean)
    x = norm(x, "backbone.norm").mean(axis=(0, 1))
    return x @ state["head.weight"][0, 0] + state["head.bias"]


@pytest.mark.parametrize("size", [(224, 224), (97, 150), (40, 301), (33, 33)])
@pytest.mark.parametrize(("name", "width", "reference"), [
    ("vgg16", 1 / 64, vgg16), ("densenet121", 1 / 32, densenet121),
])  # fmt: skip
def test_logits_are_those_of_torchvisions_form_at_any_size(name, width, reference, size):
    model, state = drawn(name, width)
    x = np.random.default_rng(0).standard_normal((2, *size, 3))
    with no_grad():
        logits = model(Tensor(x)).numpy()
    assert logits.shape == (2, 1, 1, 4)
    expected = np.array([reference(image, state) for image in x])
    np.testing.assert_allclose(logits[:, 0, 0], expected, rtol=0, atol=1e-10 * abs(expected).max())
    assert abs(expected[0] - expected[1]).max() > 1e-3 * abs(expected).max()


def test_every_classifier_has_one_base():
    for name in models.CLASSIFIERS:
        model = models.create(name, width=1 / 64)
        assert isinstance(model, Classifier) and not model.dense
        assert "forward" not in vars(type(model)) and "heads" not in vars(type(model))
        assert models.create(name, width=1 / 64, dense=True).dense


def test_both_forms_have_the_same_arrays():
    for name in ("resnet18", "drn-c-26", "densenet121", "mobilenet_v2", "vgg16"):
        whole, dense = (models.create(name, width=1 / 64, dense=dense).state_dict() for dense in (False, True))
        assert {key: array.shape for key, array in whole.items()} == {key: array.shape for key, array in dense.items()}


PRINTED = {"resnet18": 1.8, "resnet34": 3.6, "resnet50": 3.8, "resnet101": 7.6, "resnet152": 11.3}
COUNTED = {"resnet18": 1.81, "resnet34": 3.66, "resnet50": 3.86, "resnet101": 7.57, "resnet152": 11.28}


@pytest.mark.parametrize("name", PRINTED)
def test_multiply_adds_of_the_resnet_papers_table(name):
    """Table 1 of arXiv 1512.03385, whose stages have their stride in the first 1x1; digits are cut or rounded."""
    found = cost_of(models.create(name, strided="1x1"), 224).macs / 1e9
    assert round(found, 2) == COUNTED[name] and abs(found - PRINTED[name]) < 0.1


def test_where_the_stride_is_follows_the_model():
    model = models.build("resnet50", strided="1x1", width=1 / 32, num_classes=3)
    assert models.build(**model.config).backbone.stages[1].layers[0].conv1.conv.stride == 2
    before = {option: value for option, value in model.config.items() if option != "strided"}  # of an older file
    assert models.build(**before).backbone.stages[1].layers[0].conv1.conv.stride == 1
    with pytest.raises(ValueError, match="drn-a-18 has no option strided"):
        models.create("drn-a-18", strided="1x1")
    with pytest.raises(ValueError, match="strided must be 3x3, 1x1 or last"):
        models.create("resnet50", strided="5x5")
