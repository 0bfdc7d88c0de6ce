"""The contract that all backbones fulfil, and the options that networks hand on to them."""

import inspect

import pytest

import kernels
from minideeplab import Tensor, models, no_grad
from minideeplab.models.backbones import BACKBONES, Backbone, backbone, own_options
from minideeplab.models.backbones.densenet import DENSENETS
from minideeplab.models.backbones.drn import DRNS
from minideeplab.models.backbones.resnet import ResNet
from minideeplab.models.backbones.vgg import VGGFeatures
from minideeplab.models.deeplabv3plus import DeepLabV3Plus

ANY_SIZE = ((33, 33), (40, 37), (64, 65))
STRIDES = dict.fromkeys(BACKBONES, (8, 16, 32))
STRIDES |= dict.fromkeys(DRNS, (8,)) | {name: (4,) for name in DENSENETS if "-bc-" in name}
CASES = [(f"{name} {stride}", lambda n=name, s=stride: backbone(n, output_stride=s), stride, ANY_SIZE)
         for name, strides in STRIDES.items() for stride in strides]  # fmt: skip
CASES += [
    ("vgg of fcn", lambda: VGGFeatures(((2, 2, 0),) * 5), 32, ANY_SIZE),
    ("vgg of v2", lambda: VGGFeatures((*((3, 2, 1),) * 3, (3, 1, 1), (3, 1, 1))), 8, ((33, 41), (65, 49))),
    ("vgg of v1", lambda: models.create("deeplabv1-largefov").backbone, 8, ((33, 41), (65, 49))),
]


@pytest.mark.parametrize(("make", "stride", "sizes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_contract(make, stride, sizes):
    """At full width, on arrays without numbers."""
    model = make().to("shapes").eval()
    assert isinstance(model, Backbone) and model.output_stride == stride
    for h, w in sizes:
        image = Tensor(kernels.load("shapes").empty((2, h, w, 3)))
        with no_grad():
            features, low_level = model(image)
            stages = model.stages_of(image)
        assert features.shape == stages[-1].shape == (2, -(-h // stride), -(-w // stride), model.channels)
        assert low_level.shape == (2, -(-h // 4), -(-w // 4), model.low_level_channels)
        rows = [stage.shape[1] for stage in stages]
        assert len(stages) > 1 and rows == sorted(rows, reverse=True)


@pytest.mark.parametrize("name", BACKBONES)
def test_constructors_share_three_arguments(name):
    arguments = list(inspect.signature(BACKBONES[name]).parameters)
    assert {"name", "output_stride", "width"} <= set(arguments) and own_options(name).keys() < set(arguments)
    with pytest.raises(ValueError, match=rf"{name}: output_stride must be .*, got 12"):
        backbone(name, output_stride=12)


def test_a_backbone_without_run_says_so():
    class Half(Backbone):
        pass

    with pytest.raises(NotImplementedError, match="Half has no `run`, which every backbone needs"):
        Half()(None)


# ---------------------------------------------------------------- options on their way


def test_flat_names_and_the_mapping_make_the_same_network():
    options = {"extra_relu": False, "low_level": "block1", "multi_grid": (1, 2, 4)}
    flat = models.create("deeplabv3plus", backbone="xception41", width=1 / 32, head_width=8, **options)
    mapped = DeepLabV3Plus("xception41", width=1 / 32, head_width=8, backbone_options=options)
    for net in (flat.backbone, mapped.backbone):
        assert net.low_level_channels == 128 // 32 and net.exit2.convs[2].depthwise.rate == 2 * 4
        assert net.middle.layers[0].convs[0].depthwise_norm.activation is None
    assert "backbone_options" not in models.options_of("deeplabv3plus")


def test_none_leaves_an_option_to_the_backbone():
    names = {option for name in BACKBONES for option in own_options(name)}
    for model in ("deeplabv3plus", "deeplabv3", "deeplabv3-cascade"):
        known = models.options_of(model)
        assert names <= known.keys()
        assert all(known[name] is None for name in names - {"multi_grid"})
    options = {"width": 1 / 32, "head_width": 8, **dict.fromkeys(names)}
    assert models.create("deeplabv3plus", **options).backbone.stages[3].layers[0].conv1.conv.rate == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deeplabv3plus", {"extra_relu": True}, "resnet18 has no option extra_relu; it has output_stride, width, "),
        ("deeplabv3", {"backbone": "xception41", "stem": "3x3", "strided": "1x1"}, "has no option stem, strided; it "),
        ("unet", {"decoder": True}, "unet has no option decoder; it has num_classes, padding, width"),
        ("deeplabv3plus", {"backbone_options": {}}, "deeplabv3plus has no option backbone_options; it has backbone, "),
    ],
)  # fmt: skip
def test_options_that_nothing_takes(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.create(name, **options)


def test_heads_are_separable_where_the_backbone_says_so():
    separable = {"xception41", "xception65", "xception71", "mobilenet_v2"}
    assert {name for name in BACKBONES if BACKBONES[name].separable_heads} == separable
    for name, separable in (("xception41", True), ("resnet18", False)):
        branch = models.create("deeplabv3plus", backbone=name, width=1 / 32, head_width=8).aspp.branches[1]
        assert hasattr(branch, "depthwise") is separable


@pytest.mark.parametrize(
    ("config", "extra_relu"),
    [
        ({"name": "deeplabv3plus", "backbone": "xception65"}, False),
        ({"name": "deeplabv3plus", "backbone": "xception65", "first_rate": None, "extra_relu": None}, None),
        ({"name": "deeplabv3plus", "backbone": "xception65", "first_rate": None, "extra_relu": True}, True),
        ({"name": "deeplabv3", "backbone": "xception41"}, False),
        ({"name": "deeplabv3", "backbone": "xception41", "first_rate": None}, None),  # as old as extra_relu
        ({"name": "deeplabv3plus", "backbone": "resnet18"}, None),
        ({"name": "unet"}, None),
        ({"name": "deeplabv3plus", "backbone": ["xception65"]}, None),
    ],
)
def test_older_configurations(config, extra_relu):
    found = models.older_configuration(config)
    assert found.get("extra_relu") is extra_relu
    assert {key: found[key] for key in config} == config


def test_a_file_of_v3_on_xception_from_before_loads():
    """It says `first_rate`, and nothing of the options of Xception."""
    config = {"name": "deeplabv3", "backbone": "xception41", "width": 1 / 32, "head_width": 8, "multi_grid": None}
    for said, extra_relu in (({}, None), ({"first_rate": None}, "relu")):
        model = models.build(**models.older_configuration(config | said))
        assert model.backbone.middle.layers[0].convs[0].depthwise_norm.activation == extra_relu


# ---------------------------------------------------------------- ResNet


def test_beta_says_stem_and_stride():
    beta = ResNet("resnet50-beta", width=1 / 32)
    asked = ResNet("resnet50", width=1 / 32, stem="3x3", strided="last")
    shapes = [{name: array.shape for name, array in model.state_dict().items()} for model in (beta, asked)]
    assert shapes[0] == shapes[1] and beta.last and asked.last
    assert ResNet("resnet50-beta", width=1 / 32, stem="3x3", strided="last").last
    assert not ResNet("resnet50", width=1 / 32).last


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50-beta", {"stem": "7x7"}, "resnet50-beta: stem must be 3x3, got '7x7'"),
        ("resnet101-beta", {"strided": "1x1"}, "resnet101-beta: strided must be last, got '1x1'"),
        ("resnet18", {"stem": "5x5"}, "resnet18: stem must be 7x7 or 3x3, got '5x5'"),
        ("resnet50", {"strided": "first"}, "resnet50: strided must be 3x3, 1x1 or last, got 'first'"),
        ("resnet50", {"first_rate": 2}, "resnet50: first_rate must be stage or previous, got 2"),
    ],
)
def test_what_contradicts_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(name, **options)
