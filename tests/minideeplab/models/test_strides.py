"""A network at another output stride has the same weights, and looks at the same pixels."""

import numpy as np
import pytest

from minideeplab import Tensor, models, no_grad
from minideeplab.models import at_output_stride

IMAGE = np.random.default_rng(0).standard_normal((1, 65, 97, 3)).astype(np.float32)
SMALL = {"num_classes": 3, "width": 0.125, "head_width": 8}
AS_ATROUS = {"first_rate": "previous"}  # a convolution that gives up its stride keeps its own rate


def features(model):
    with no_grad():
        return model.backbone(Tensor(IMAGE))[0].numpy()[0]


@pytest.mark.parametrize("backbone", ["resnet50", "resnet50-beta", "xception41", "mobilenet_v2"])
def test_every_second_position_of_the_finer_map_is_the_coarser_map(backbone):
    """Atrous convolution instead of a stride: the same filters on the same pixels, at more places."""
    options = AS_ATROUS if backbone.startswith("resnet") else {}
    model = models.build("deeplabv3", backbone=backbone, output_stride=16, **SMALL, **options).eval()
    coarse, fine = features(model), features(at_output_stride(model, 8))
    assert fine.shape[:2] == (9, 13)
    np.testing.assert_allclose(fine[::2, ::2], coarse, rtol=1e-4, atol=1e-5 * abs(coarse).max())
    assert abs(fine[1::2, 1::2] - coarse[:-1, :-1]).max() > 1e-3 * abs(coarse).max()


def test_rates_double_and_weights_stay():
    model = models.build("deeplabv3plus", backbone="resnet50", output_stride=16, **SMALL).eval()
    finer = at_output_stride(model, 8)
    assert finer.rates == (12, 24, 36) and finer.output_stride == 8 and not finer.training
    assert finer.config == model.config | {"output_stride": 8, "multi_grid": [1, 2, 4]}
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(finer.state_dict()[key], array)
    back = at_output_stride(finer, 16)
    with no_grad():
        np.testing.assert_array_equal(back(Tensor(IMAGE)).numpy(), model(Tensor(IMAGE)).numpy())


def test_a_default_that_depends_on_the_stride_stays_that_of_training():
    model = models.build("deeplabv3", backbone="resnet50", output_stride=32, **SMALL, **AS_ATROUS).eval()
    finer = at_output_stride(model, 16)
    np.testing.assert_allclose(features(finer)[::2, ::2], features(model), rtol=1e-4, atol=1e-5)


def test_the_cascade_and_the_same_stride():
    model = models.build("deeplabv3-cascade", output_stride=32, num_classes=3, width=0.125).eval()
    assert at_output_stride(model, 32) is model
    assert at_output_stride(model, 8).rates[-3:] == tuple(4 * rate for rate in model.rates[-3:])
    unet = models.create("fcn-8s", width=0.125)
    unet.config = {"name": "fcn-8s"}
    assert at_output_stride(unet, unet.output_stride) is unet


def test_networks_that_cannot_be_changed():
    model = models.build("segnet", width=0.125)
    with pytest.raises(ValueError, match=r"segnet is built for output stride 32 alone; .* deeplabv3plus, deeplabv3, "):
        at_output_stride(model, 8)
    model = models.build("deeplabv3plus", output_stride=16, atrous_rates=(3, 6, 9), **SMALL)
    with pytest.raises(ValueError, match="are not whole at 32"):
        at_output_stride(model, 32)
    with pytest.raises(ValueError, match="output_stride must be 8, 16 or 32, got 4"):
        at_output_stride(model, 4)
