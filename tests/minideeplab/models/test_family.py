"""Every network of the family, with few channels: sizes, derivatives, heads, what makes each what it is."""

import json

import numpy as np
import pytest
from op_cases import normal

import kernels
from minideeplab import Tensor, models, no_grad, ops
from minideeplab.autograd.gradcheck import check_direction
from minideeplab.models.backbones import backbone
from minideeplab.models.deeplabv2 import DeepLabV2
from minideeplab.models.deeplabv3 import DeepLabV3Cascade
from minideeplab.models.pspnet import PSPNet, PyramidPooling
from minideeplab.models.sppnet import SpatialPyramidPooling
from minideeplab.models.unet import UNet
from minideeplab.nn import Conv2d, ConvTranspose2d, SeparableConv2d, bilinear
from minideeplab.nn.losses import cross_entropy
from minideeplab.nn.optim import SGD

SEGMENTERS = [name for name in models.NAMES if name not in models.CLASSIFIERS]
DENSE = (
    "resnet18", "resnet34", "resnet50", "xception41", "drn-a-18", "drn-b-26", "drn-c-26", "drn-d-22", "densenet121",
    "densenet-bc-100-12", "mobilenet_v2", "mobilenet_v3_large", "vgg16", "spp-net",
)  # fmt: skip
NETWORKS = (*SEGMENTERS, *DENSE)


def tiny(name, **options):
    """The network with a few channels, three classes, and few layers where there is a choice."""
    known, chosen = models.options_of(name), {"num_classes": 3, "width": 1 / 32, **options}
    if "head_width" in known:
        chosen.setdefault("head_width", 8)
    if "dense" in known:
        chosen.setdefault("dense", True)
    return models.build(name, **chosen)


def images(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


def labels(*shape):
    drawn = np.random.default_rng(1).integers(0, 3, shape).astype(np.uint8)
    drawn[:, :2] = 255
    return drawn


# -------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(33, 33), (41, 64)])
def test_logits_have_the_size_of_the_image(name, size):
    model = tiny(name).eval()
    with no_grad():
        assert model(images(2, *size, 3)).shape == (2, *size, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_of_the_loss(name):
    shallow = {"deeplabv2-resnet101": "deeplabv2-aspp-s"}.get(name, name)  # the same heads; 101 layers are all kinks
    options = {"multi_scale": True} if shallow != name else {}
    model, target = tiny(shallow, **options).astype(np.float64), labels(2, 35, 33)
    for p in model.parameters():  # biases and scores that begin at zero would hide what stands behind them
        p.data = p.data + 0.02 * normal(*p.shape)
    x = images(2, 35, 33, 3, dtype=np.float64)
    check_direction(lambda: model.reseed(0).loss(x, target), model)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_gets_a_gradient_and_a_step_lowers_the_loss(name):
    """By lr |grad|^2, as long as the step is small."""
    model, x, target = tiny(name).astype(np.float64), images(2, 49, 49, 3, dtype=np.float64), labels(2, 49, 49)
    before = model.reseed(0).loss(x, target)
    before.backward()
    slope = 0.0
    for parameter, p in model.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad).all(), parameter
        slope += (p.grad**2).sum()
    SGD(model, lr=1e-8, weight_decay=0).step()
    fallen = before.item() - model.reseed(0).loss(x, target).item()
    np.testing.assert_allclose(fallen, 1e-8 * slope, rtol=0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_config_rebuilds_the_model(name):
    model = tiny(name, seed=4)
    again = models.build(**json.loads(json.dumps(model.config)))
    for mine, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("name", ["deeplabv1-largefov", "deeplabv2-aspp-s", "pspnet", "fcn-8s", "segnet", "drn-d-22"])
def test_inference_is_the_recorded_forward_pass(name):
    model = tiny(name).astype(np.float64).eval()
    x = images(1, 49, 37, 3, dtype=np.float64)
    recorded = model(x).numpy()
    with no_grad():
        np.testing.assert_allclose(model(x).numpy(), recorded, rtol=1e-9, atol=1e-9 * abs(recorded).max())


@pytest.mark.parametrize(
    "name",
    [
        "drn-a-18",
        "drn-b-26",
        "drn-c-26",
        "drn-c-58",
        "drn-d-54",
        "densenet121",
        "densenet-bc-100-12",
        "mobilenet_v3_large",
    ],
)
def test_inference_equals_the_recorded_forward_pass(name):
    """Of a backbone alone, both its outputs, with running statistics that are not those of the start."""
    model = backbone(name, width=1 / 6 if name == "densenet-bc-100-12" else 1 / 16).initialise(0).astype(np.float64)
    x = images(2, 40, 37, 3, dtype=np.float64)
    model.train()
    model(x)
    recorded = [y.numpy() for y in model.eval()(x)]
    with no_grad():
        folded = [y.numpy() for y in model(x)]
    for a, b in zip(recorded, folded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * abs(a).max())


def test_a_classifier_without_its_pooling_gives_the_same_mean():
    dense, pooled = tiny("resnet18"), tiny("resnet18", dense=False)
    x = images(1, 65, 65, 3)
    with no_grad():
        small = dense.eval().small_logits(x).numpy()
        np.testing.assert_allclose(pooled.eval()(x).numpy()[0, 0, 0], small.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------- what is particular to one


def rates_of(model):
    return [m.rate for _, m in model.named_modules() if isinstance(m, Conv2d) and m.weight.shape[0] == 3]


def test_the_cascade_doubles_its_rates():
    model = DeepLabV3Cascade("resnet50", output_stride=16, width=1 / 32)
    assert rates_of(model)[-12:] == [2, 4, 2, 4, 8, 4, 8, 16, 8, 16, 32, 16]  # multi-grid (1, 2, 1) times 2, 4, 8, 16
    strided = DeepLabV3Cascade("resnet50", output_stride=256, width=1 / 32, multi_grid=(1, 1, 1)).initialise(0).eval()
    assert set(rates_of(strided)) == {1}
    with no_grad():
        assert strided.small_logits(images(1, 513, 257, 3)).shape[1:3] == (3, 2)


def test_the_first_unit_of_torchvisions_stages_keeps_the_rate_before():
    model = tiny("torchvision-deeplabv3_resnet50")
    assert rates_of(model.backbone) == [1] * 3 + [1] * 4 + [1] + [2] * 5 + [2] + [4] * 2
    assert rates_of(tiny("deeplabv3", output_stride=8, multi_grid=(1, 1, 1)).backbone)[7:] == [2] * 6 + [4] * 3


def test_v1_is_trained_on_every_eighth_label():
    model, target = tiny("deeplabv1-largefov").eval(), labels(1, 41, 41)
    x = images(1, 41, 41, 3)
    other = target.copy()
    other[:, 1::8], other[:, :, 3::8] = 2, 1  # none of them is looked at
    assert model.loss(x, target).item() == model.loss(x, other).item()
    other[0, 24, 16] = (other[0, 24, 16] + 1) % 3
    assert model.loss(x, target).item() != model.loss(x, other).item()


def test_v2_takes_the_largest_score_of_three_scales():
    model = DeepLabV2("aspp-s", num_classes=3, multi_scale=True, width=1 / 32).initialise(0).eval()
    with no_grad():
        (_, fused), *scales = model.training_logits(images(1, 65, 65, 3))
    largest = np.max([each.numpy() for _, each in scales], axis=0)
    np.testing.assert_allclose(fused.numpy(), largest, rtol=1e-5, atol=1e-6)
    assert len(scales) == 3 and [weight for weight, _ in scales] == [1.0, 1.0, 1.0]


def test_auxiliary_heads_have_their_weights():
    for name, weight in (("pspnet", 0.4), ("torchvision-fcn_resnet50", 0.5)):
        model, x, target = tiny(name).eval(), images(1, 41, 41, 3), labels(1, 41, 41)
        with no_grad():
            (one, main), (second, early) = model.training_logits(x)
            assert (one, second) == (1.0, weight)
            full = model.loss(x, target).item()
            single = [cross_entropy(y, target).item() for y in (model._enlarged(each, x, x) for each in (main, early))]
            assert full == pytest.approx(single[0] + weight * single[1], rel=1e-5)
            model.auxiliary = None
            assert model.loss(x, target).item() == pytest.approx(single[0], rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.4, 0.9])
def test_the_weight_of_pspnets_auxiliary_loss(weight):
    """The loss is a line in the weight; its default, and what older files leave unsaid, is the paper's 0.4."""
    assert models.options_of("pspnet")["auxiliary_weight"] == 0.4
    x, target = images(1, 41, 41, 3), labels(1, 41, 41)
    with no_grad():
        at = [tiny("pspnet", auxiliary_weight=w).eval().loss(x, target).item() for w in (0.0, 0.4, weight)]
    assert at[2] == pytest.approx(at[0] + (at[1] - at[0]) * weight / 0.4, rel=1e-5)


@pytest.mark.parametrize("name", ["low_level_width", "auxiliary_weight"])
def test_a_configuration_from_before_an_option_means_its_default(name):
    model = "pspnet" if name == "auxiliary_weight" else "deeplabv3plus"
    now = models.build(model, width=1 / 32)
    older = {option: value for option, value in now.config.items() if option != name}
    assert name in now.config and models.build(**older).config == now.config


def test_the_decoders_design():
    """Channels of the 1x1 and number of 3x3 (v3+, tables 1 and 2); the default is 48 of 256, and two."""

    def decoder(**options):
        return models.create("deeplabv3plus", width=1 / 32, **options).decoder

    assert decoder().reduce.conv.weight.shape[-1] == 48 and decoder(head_width=64).reduce.conv.weight.shape[-1] == 12
    assert decoder(low_level_width=20, head_width=8).refine1.conv.weight.shape == (3, 3, 8 + 20, 8)
    for count in (1, 2, 3):
        convs = [m for _, m in decoder(refinements=count, head_width=8).named_modules() if isinstance(m, Conv2d)]
        assert sum(conv.weight.shape[0] == 3 for conv in convs) == count
    three = tiny("deeplabv3plus", refinements=3).eval()
    before = three(images(1, 33, 33, 3)).numpy()
    three.decoder.refine3.norm.beta.data[...] += 1
    assert abs(three(images(1, 33, 33, 3)).numpy() - before).max() > 1e-3  # it is in use


def test_the_order_of_the_decoders_inputs():
    """The same function where the weight's input channels change places, too."""
    usual, other = (tiny("deeplabv3plus", low_level_first=first).eval() for first in (False, True))
    state = usual.state_dict()
    low = state["decoder.reduce.conv.weight"].shape[-1]
    state["decoder.refine1.conv.weight"] = np.roll(state["decoder.refine1.conv.weight"], low, axis=2)
    x = images(1, 65, 65, 3)
    assert abs(other(x).numpy() - usual(x).numpy()).max() > 1e-4
    other.load_state_dict(state)
    np.testing.assert_allclose(other(x).numpy(), usual(x).numpy(), atol=1e-5)


def test_the_switches_of_xception():
    """The paper's ReLU after each depthwise 3x3, which its code has in the last block only; two low-level features."""
    relus = []
    for extra_relu in (None, False):
        net = models.create("deeplabv3plus", backbone="xception65", extra_relu=extra_relu).backbone
        separable = (m for _, m in net.named_modules() if isinstance(m, SeparableConv2d))
        relus.append([m.depthwise_norm.activation for m in separable])
    paper, code = relus
    assert all(paper) and code == [None] * (len(code) - 3) + ["relu"] * 3
    for low_level, channels in (("block2", 256), ("block1", 128)):
        net = models.create("deeplabv3plus", backbone="xception65", low_level=low_level, width=1 / 32)
        image = Tensor(kernels.load("shapes").empty((1, 513, 513, 3)))
        with no_grad():
            assert net.to("shapes").eval().backbone(image)[1].shape == (1, 129, 129, channels // 32)
    with pytest.raises(ValueError, match="xception41: low_level must be block1 or block2, got 'stem'"):
        models.create("deeplabv3plus", backbone="xception41", low_level="stem")


@pytest.mark.parametrize("pooling, pool", [("average", np.mean), ("max", np.max)])
def test_pyramid_pooling_without_reduction_holds_the_means_of_its_bins(pooling, pool):
    x = normal(1, 12, 12, 2)
    y = PyramidPooling(2, bins=(1, 2), pooling=pooling, reduce=False)(Tensor(x)).numpy()
    np.testing.assert_array_equal(y[..., :2], x)
    np.testing.assert_allclose(y[0, 5, 5, 2:4], pool(x, axis=(0, 1, 2)))
    np.testing.assert_allclose(y[0, [0, 0, -1], [0, -1, -1], 4:], [  # corners are aligned
        pool(x[0, :6, :6], axis=(0, 1)), pool(x[0, :6, 6:], axis=(0, 1)), pool(x[0, 6:, 6:], axis=(0, 1)),
    ])  # fmt: skip


def test_spp_by_both_rules():
    x = normal(1, 13, 13, 2)
    adaptive, window = (SpatialPyramidPooling((3, 2, 1), rule)(Tensor(x)).numpy() for rule in ("adaptive", "window"))
    assert adaptive.shape == window.shape == (1, 1, 1, 2 * 14)
    np.testing.assert_array_equal(window[0, 0, 0, :2], x[0, :5, :5].max(axis=(0, 1)))  # 5 x 5 at stride 4
    np.testing.assert_array_equal(window[0, 0, 0, 18:20], x[0, :7, :7].max(axis=(0, 1)))  # 7 x 7 at stride 6
    np.testing.assert_array_equal(adaptive[0, 0, 0, -2:], x.max(axis=(0, 1, 2)))
    with pytest.raises(ValueError, match=r"windows of 2x2 at stride 1x1 on a map of .* give 6x6 bins, not 4x4"):
        SpatialPyramidPooling((4,), "window")(Tensor(normal(1, 7, 7, 1)))
    with pytest.raises(ValueError, match="has no 4 x 4 windows"):
        SpatialPyramidPooling((4,), "window")(Tensor(normal(1, 3, 3, 1)))


def test_fcn_begins_as_bilinear_enlargement():
    """Inside, a linear ramp stays one; the scores of early layers are zero at first."""
    layer = ConvTranspose2d(2, 2, 16, 8, initialiser=bilinear)
    layer.weight.data = bilinear(None, layer.weight.shape)
    ramp = np.arange(6.0)[None, :, None, None] * np.ones((1, 6, 6, 2))
    y = layer(Tensor(ramp)).numpy()[0, :, 20, 0]
    np.testing.assert_allclose(np.diff(y)[8:40], 1 / 8)
    assert all((m.weight.data == 0).all() for m in tiny("fcn-8s").early_scores)


def test_unet_valid_is_the_papers_geometry():
    """572 -> 388 for the paper's tile: on 388 pixels our margin makes 572."""
    model = UNet(num_classes=2, padding="valid", width=1 / 64).initialise(0).eval()
    sizes = []

    def record(name, function, args, kwargs):
        result = function(*args, **kwargs)
        if name == "conv2d":
            sizes.append(result.shape[1])
        return result

    with no_grad(), kernels.watching("cpu", record):
        assert model(images(1, 388, 388, 3)).shape == (1, 388, 388, 2)
    down, up = [570, 568, 282, 280, 138, 136, 66, 64, 30, 28], [54, 52, 102, 100, 198, 196, 390, 388, 388]
    assert sizes == down + up


def test_unpooling_puts_maxima_back():
    x = Tensor(normal(2, 6, 4, 3))
    y, indices = ops.max_pool2d_with_indices(x, 2)
    back = ops.max_unpool2d(y, indices).numpy()
    assert (np.count_nonzero(back, axis=(1, 2)) == 6).all()
    np.testing.assert_array_equal(back[back != 0], x.numpy()[back != 0])
    with pytest.raises(ValueError, match="must be multiples of 2"):
        ops.max_pool2d_with_indices(Tensor(normal(1, 5, 4, 1)), 2)
    with pytest.raises(ValueError, match="the pooling gave"):
        ops.max_unpool2d(x, indices)


@pytest.mark.parametrize("stride, padding, k", [(1, 0, 3), (2, 0, 2), (2, 1, 4), (3, 2, 5)])
def test_transposed_convolution_is_the_adjoint(stride, padding, k):
    x, w = normal(2, 4, 5, 3), normal(k, k, 2, 3, seed=1)
    y = ops.conv_transpose2d(Tensor(x), Tensor(w), stride, padding).numpy()
    z = normal(*y.shape, seed=2)
    there = ops.conv2d(Tensor(z), Tensor(w), stride, 1, padding).numpy()
    np.testing.assert_allclose((y * z).sum(), (x * there).sum())


# -------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deeplabv3-cascade", {"blocks": 8}, "blocks must be 4 to 7, got 8"),
        ("deeplabv3-cascade", {"output_stride": 12}, "output_stride must be 8, 16, ... 256, got 12"),
        (
            "deeplabv3-cascade",
            {"backbone": "resnet18"},
            "backbone must be a ResNet with bottleneck units, .* got 'resnet18'",
        ),
        (
            "pspnet",
            {"backbone": "densenet121"},
            "backbone must be a ResNet with bottleneck units, .* got 'densenet121'",
        ),
        ("unet", {"padding": "mirror"}, "padding must be same or valid, got 'mirror'"),
        ("pspnet", {"auxiliary_weight": -0.1}, "auxiliary_weight must be a number, 0 or more, got -0.1"),
        ("deeplabv3plus", {"low_level_width": 0}, "low_level_width must be a whole number, 1 or more, got 0"),
        ("pspnet", {"pooling": "median"}, "pooling must be average or max, got 'median'"),
        ("spp-net", {"rule": "floor"}, "rule must be adaptive or window, got 'floor'"),
        ("deeplabv3plus", {"backbone": "drn-c-26"}, "drn-c-26: output_stride must be 8, got 16"),
    ],
)
def test_options_that_do_not_fit(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, **{"width": 1 / 64, **options})


def test_pspnet_pools_by_its_bins():
    assert PSPNet(bins=(1, 2), width=1 / 32).pyramid.channels == 64 + 2 * 32
