"""A trace as a picture: what stands in it."""

import numpy as np
import pytest

from minideeplab import Tensor, models, teach
from minideeplab.cost import trace

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def layers():
    model = models.build("resnet18", width=1 / 16, num_classes=5, dense=True)
    return trace(model, Tensor(np.random.default_rng(0).standard_normal((1, 65, 33, 3)).astype(np.float32)))


@pytest.fixture
def axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


def words(axes):
    return " ".join(text.get_text() for text in axes.texts)


def test_every_row_tells_name_shape_field_and_cost(layers, axes):
    chosen = layers[::5]
    assert teach.draw_trace(chosen, maps=2, axes=axes) is None
    for layer in chosen:
        assert layer.kind in words(axes) and "{} x {} x {}".format(*layer.output) in words(axes)
        assert str(layer.receptive_field) in words(axes)
    assert len(axes.images) == sum(min(2, layer.output[2]) for layer in chosen)
    widths = np.array([patch.get_width() for patch in axes.patches if patch.get_height() == 0.2])
    macs = np.array([layer.macs for layer in chosen])
    np.testing.assert_allclose(widths / widths.max(), macs / macs.max())  # the bars are in proportion


def test_captions_an_image_and_layers_without_values(layers, axes):
    counted = trace(models.create("resnet18", width=1 / 16).to("shapes"), _shapes())
    teach.draw_trace({"the stem": counted[0]}, image=np.zeros((65, 33, 3), np.uint8), axes=axes)
    assert "the stem" in words(axes) and len(axes.images) == 1  # the image itself


def _shapes():
    import kernels

    return Tensor(kernels.load("shapes").empty((1, 65, 33, 3), np.float32))


def test_no_layer_is_an_error():
    with pytest.raises(ValueError, match="no layer"):
        teach.draw_trace([])
